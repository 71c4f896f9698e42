"""A model that reads messages: what it may mark, what is refused, and that each turn is read once."""

import json
from datetime import UTC, datetime

import pytest

from memory.reading import SCHEMA, marked
from memory.store import MemoryStore
from memory.types import Source
from tests.app.fakes_engine import FakeEngine

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SAID = "So the kids need lunch by seven on schooldays. Our harbour flat floods each spring! What should I cook?"


def answering(*statements: tuple[str, str]) -> str:
    return json.dumps({"statements": [{"words": words, "kind": kind} for words, kind in statements]})


def test_what_is_marked_stands_in_the_message_character_by_character() -> None:
    answer = answering(("the kids need lunch by seven on schooldays.", "fact"), ("Our harbour flat floods", "fact"))
    found = marked(SAID, lambda *_: answer, NOW)
    assert [one.text for one in found] == ["the kids need lunch by seven on schooldays", "Our harbour flat floods"]
    assert all(SAID[one.start : one.end] == one.text for one in found)


@pytest.mark.parametrize(
    "statement",
    [
        ("The user has kids", "fact"),  # its own words
        ("by seven on schooldays. Our harbour flat", "fact"),  # across sentences
        ("the kids need lunch", "secret"),  # no such kind
        ("", "fact"),
    ],
)
def test_words_of_its_own_are_refused(statement: tuple[str, str]) -> None:
    assert marked(SAID, lambda *_: answering(statement), NOW) == []


@pytest.mark.parametrize("answer", ["", "I cannot", "[]", "{}", '{"statements": [1]}', '{"statements": null}'])
def test_an_answer_of_another_form_is_nothing(answer: str) -> None:
    assert marked(SAID, lambda *_: answer, NOW) == []


def test_code_quotations_and_what_the_rules_found_are_left_alone() -> None:
    said = "```\nour pin was chosen by me\n``` My office is in B12."
    answer = answering(("our pin was chosen by me", "fact"), ("office is in B12", "fact"))
    assert marked(said, lambda *_: answer, NOW) == []


def test_each_turn_is_read_once_and_the_message_alone_is_shown(store: MemoryStore) -> None:
    session = store.start_session("home", now=NOW)
    turn = store.begin_turn(session, SAID, now=NOW)
    store.finish_turn(turn, "Porridge, as the harbour flat is dry.", "{}", True)
    store.begin_turn(session, "Thanks!", now=NOW)
    shown: list[tuple[str, str, str]] = []

    def complete(*asked: str) -> str:
        shown.append((asked[0], asked[1], asked[2]))
        return answering(("Our harbour flat floods each spring", "fact"))

    [would] = store.read_turns(complete, 10, dry_run=True)
    assert would.text == "Our harbour flat floods each spring" and store.list() == []
    shown.clear()
    [kept] = store.read_turns(complete, 10)
    start = SAID.index("Our")
    assert (kept.text, kept.scope) == ("Our harbour flat floods each spring", "home")
    assert kept.source == Source("extracted", session, turn, start, start + len(kept.text))
    assert kept.valid_from == "2026-11-23T12:00:00.000Z"
    assert [(message, schema) for _, message, schema in shown] == [(SAID, SCHEMA)]
    assert store.read_turns(complete, 10) == []
    assert len(shown) == 1


def test_no_more_calls_than_allowed(store: MemoryStore) -> None:
    session = store.start_session(now=NOW)
    for number in range(5):
        store.begin_turn(session, f"We keep {number} hens behind the shed", now=NOW)
    calls: list[str] = []
    store.read_turns(lambda _told, message, _schema: calls.append(message) or "{}", 2)
    assert calls == ["We keep 4 hens behind the shed", "We keep 3 hens behind the shed"]


def test_an_engine_reads_held_to_the_schema() -> None:
    from app.reading import reader

    engine = FakeEngine(answering(("Our harbour flat floods", "fact")))
    assert [one.text for one in marked(SAID, reader(engine), NOW)] == ["Our harbour flat floods"]
    [request] = engine.requests
    assert request.constraint is not None
    plain = FakeEngine("<think>hm</think>" + answering(("Our harbour flat floods", "fact")), capabilities=("chat",))
    assert [one.text for one in marked(SAID, reader(plain), NOW)] == ["Our harbour flat floods"]
    assert SCHEMA in str(plain.requests[0].prompt)
