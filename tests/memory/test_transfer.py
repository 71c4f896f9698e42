"""A store exported and imported is the store that it was, numbers included; and into another it fits itself."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memory.store import MemoryStore
from memory.types import Source

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def live(store: MemoryStore) -> int:
    """A session with a told fact, its correction and a follow-up; returns the turn of the fact."""
    said = "Remember that my office is in B12. I walked along the shore with Anna all day."
    session = store.start_session(now=NOW)
    turn = store.begin_turn(session, said, now=NOW)
    [fact] = store.observe(turn, said, recalled=[], cited=[], scope="main", now=NOW)
    result = {"question": said, "answer": "Noted.", "session": session, "turn": turn, "memories": []}
    store.finish_turn(turn, "Noted.", json.dumps(result), True)
    asked = store.begin_turn(session, "Where is my office?", now=NOW + timedelta(minutes=1))
    recalled = store.recall("Where is my office?", scopes=["main"])
    store.observe(asked, "Where is my office?", recalled=recalled, cited=[fact.id], scope="main", now=NOW)
    store.feedback(asked, "correct", "My office is in C3", now=NOW + timedelta(minutes=2))
    store.add("my office is in C3", source=Source("command"))
    store.pin(fact.id)
    store.forget(store.add("I like fish", kind="preference", source=Source("command"), now=NOW).id)
    return turn


def test_an_empty_store_becomes_what_was_exported_in_any_order_of_lines(
    store: MemoryStore, opener: Callable[..., MemoryStore], tmp_path: Path
) -> None:
    turn = live(store)
    lines = [json.dumps(row) for row in store.export()]
    assert {json.loads(line).get("table") for line in lines} >= {None, "sessions", "turns", "exposures", "feedback"}
    other = opener(folder=tmp_path / "other")
    report = other.import_(lines[::-1])
    assert (report.added, report.bad, report.others >= 5) == (4, (), True)
    assert [json.dumps(row) for row in other.export()] == lines
    assert other.import_(lines) == type(report)(0, 4, (), 0, 0)
    assert [json.dumps(row) for row in other.export()] == lines
    assert other.why(1) == store.why(1) and other.why(1)["said"]["question"].startswith("Remember that")
    assert other.check() == [] and [hit.turn.id for hit in other.search_turns("shore")] == [turn]
    fresh = other.add("My dog is called Rex", source=Source("command"))
    assert fresh.id == max(json.loads(line).get("id") or 0 for line in lines) + 1


def test_in_a_store_that_has_others_rows_get_fresh_numbers_and_references_follow(
    store: MemoryStore, opener: Callable[..., MemoryStore], tmp_path: Path
) -> None:
    live(store)
    other = opener(folder=tmp_path / "other")
    own = other.begin_turn(other.start_session(), "Hello")
    kept = other.add("My dog is called Rex", source=Source("command"))
    other.import_(store.export())
    assert other.get(kept.id).text == "My dog is called Rex" and other.turn(own).question == "Hello"
    [fact] = [one for one in other.list() if one.text == "my office is in B12"]
    [later] = [one for one in other.list() if one.text == "My office is in C3"]
    assert fact.id != 1 and fact.superseded_by == later.id and fact.source.turn == 2
    why = other.why(fact.id)
    assert why["said"]["question"].startswith("Remember that") and [one["turn"] for one in why["exposures"]] == [3]
    result = json.loads(other.turn(2).answer_json)
    assert (result["session"], result["turn"]) == (2, 2)
    assert other.check() == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"table": "users", "row": {}}, "table: 'users'"),
        ({"table": "turns", "row": 5}, "row: is no object"),
        ({"table": "sessions", "row": {"id": 1, "scope": "main", "title": 3, "started": "x"}}, "title: 3"),
        ({"table": "sessions", "row": {"id": 1, "scope": "main", "started": "x"}}, "title: is missing"),
        ({"text": "x", "confirmations": "many"}, "confirmations: 'many'"),
        ({"text": "x", "source": {"how": "magic"}}, "source.how"),
        ({"text": "x", "id": 2**63}, "id: "),
        ({"text": "x", "confirmations": 2**63}, "confirmations: is too large"),
        (
            {"table": "sessions", "row": {"id": 1, "scope": "main", "title": "\ud800", "started": "x"}},
            "title: holds half",
        ),
        (5, "the row"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_in(store: MemoryStore, line: object, reason: str) -> None:
    report = store.import_([json.dumps(line), '{"text": "A plain statement"}'])
    assert report.added == 1 and report.bad[0].line == 1 and report.bad[0].reason.startswith(reason)


def test_a_line_of_brackets_without_end_is_named_and_the_rest_goes_in(store: MemoryStore) -> None:
    report = store.import_(['{"text": ' + "[" * 100_000, '{"text": "A plain statement"}'])
    assert report.added == 1 and report.bad[0].line == 1 and "too deeply" in report.bad[0].reason
