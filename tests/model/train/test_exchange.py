"""Words exchanged in questions and passages: what was asked for, what the passage says, and what no longer answers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from model.train.contexts import Contexts
from model.train.exchange import Exchange, asks_for, holds, replaced
from model.train.rows import Builder, _Gold

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
YEARS = [(f"When was mill {number} built?", str(1800 + number)) for number in range(9)]
PEOPLE = [(f"Who owned the mill of Place{number}?", f"Person{'abcdefghi'[number]}") for number in range(9)]
NOUNS = [
    (f"Who owned the {noun} in town?", "Ada")
    for noun in ["bakery", "tannery", "brewery", "foundry", "library", "grocery", "mint", "smithy"]
]
EXCHANGE = Exchange([*YEARS, *PEOPLE, *NOUNS])


def drawn(draw: Callable[[Random], T | None]) -> set[T]:
    """What sixty seeds give."""
    return {found for seed in range(60) if (found := draw(Random(seed))) is not None}


def test_another_answer_is_of_the_same_kind() -> None:
    years = drawn(lambda random: EXCHANGE.answer("When was the church built?", "1850", random))
    assert len(years) > 4
    assert years <= {answer for _, answer in YEARS}
    people = drawn(lambda random: EXCHANGE.answer("Who owned the church?", "Bea", random))
    assert len(people) > 4
    assert people <= {answer for _, answer in PEOPLE} | {"Ada"}


@pytest.mark.parametrize("answer", ["because it rained", "the old miller", ""])
def test_words_that_are_no_name_or_number_are_not_exchanged(answer: str) -> None:
    assert EXCHANGE.answer("When was the church built?", answer, Random(1)) is None


def test_the_same_answer_is_not_another_one() -> None:
    assert "1803" not in drawn(lambda random: EXCHANGE.answer("When was it built?", "1803", random))


def test_another_subject_stands_where_the_first_did() -> None:
    pairs = drawn(lambda random: EXCHANGE.subject("Who owned the bakery in town?", random))
    assert {old for old, _ in pairs} == {"bakery"}
    assert len({new for _, new in pairs}) > 3
    places = drawn(lambda random: EXCHANGE.subject("Who sold the mill of Leeds?", random))
    assert ("Leeds", "Place3") in places


def test_the_kind_of_thing_asked_for_is_a_subject() -> None:
    exchange = Exchange([(f"Which {kind} does go there?", "Ada") for kind in ("tram", "train", "ferry", "coach") * 3])
    assert {old for old, _ in drawn(lambda random: exchange.subject("Which airline does fly there?", random))} == {
        "airline"
    }
    for verb in ("What does it cost?", "What happened was sad?", "What caused the fire?"):
        assert not drawn(lambda random, verb=verb: exchange.subject(verb, random))  # type: ignore[misc]
    assert asks_for("Which airline does fly there?", "airline")
    assert not asks_for("Who owns the airline?", "airline")


class _Always(Exchange):
    """Exchanges the last word of every question."""

    def __init__(self) -> None:
        super().__init__([])

    def subject(self, question: str, random: Random) -> tuple[str, str] | None:
        return question.rstrip("?").split()[-1], "Xyzzy"


def test_what_has_an_answer_is_renamed_in_the_passage_as_well(corpus: Path) -> None:
    builder = Builder(corpus, corpus / "00.txt.xz")
    builder.exchange = _Always()
    found = [row for seed in range(600) if (row := builder._real(Random(seed))) is not None]
    renamed = [row for row in found if "xyzzy" in row.question.lower()]
    assert any(row.gold for row in renamed) and any(not row.gold for row in renamed)
    for row in renamed:
        there = any("Xyzzy" in passage for passage in row.passages)
        assert there or not row.gold


def test_whole_words_are_replaced() -> None:
    assert replaced("The mill, the miller and the mill.", "mill", "inn") == "The inn, the miller and the inn."
    assert holds("(Mill)", "mill")
    assert replaced("The Mill.", "mill", "inn") == "The inn."
    assert not holds("miller", "mill")


def test_contexts_that_share_rare_words_come_first() -> None:
    contexts = Contexts()
    for number in range(40):
        contexts.add([f"The harbour of town{number} is deep."], str(number))
    contexts.add(["A ferry leaves the harbour."], "ferry")
    assert contexts.similar("When does the ferry leave the harbour?")[0] == 40
    assert contexts.similar("Zzzz?") == []
    number = contexts.add(["It rains.", "The ferry is red.", "It snows."], "more")
    assert contexts.nearest(number, "What colour has the ferry?") == 1


def test_contexts_come_in_the_same_order_in_every_process() -> None:
    program = """
from model.train.contexts import Contexts
contexts = Contexts()
for word in ("ferry", "harbour", "boat", "captain", "island", "storm"):
    contexts.add([f"A {word} is there."], word)
print(contexts.similar("Which captain left the harbour by ferry or boat for the island in a storm?"))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_no_passage_contradicts_what_was_exchanged(corpus: Path) -> None:
    builder = Builder(corpus, corpus / "00.txt.xz")
    sentences = ["The bakery belonged to Bea.", "Bea sold it.", "It burned."]
    context = builder.real.add(sentences, "town")
    for other in ("ADA kept the bakery.", "The mill was Bea's."):
        builder.real.add([other], "town")
    gold = _Gold(sentences, 0, "Bea", ("Ada",))
    drawn_rows = [
        builder._assemble(builder.real, "Who owned the bakery?", context, gold, Random(one)) for one in range(300)
    ]
    found = [row for row in drawn_rows if row is not None]
    assert any(row.gold for row in found) and any(not row.gold for row in found)
    for row in found:
        others = [passage for number, passage in enumerate(row.passages, 1) if number != row.gold]
        assert not any("ADA" in passage or (row.gold and "Bea" in passage) for passage in others)


def test_a_passage_on_both_subjects_is_not_said_to_lack_the_other(corpus: Path) -> None:
    builder = Builder(corpus, corpus / "00.txt.xz")
    builder.exchange = EXCHANGE
    sentences = ["The bakery, the tannery, the brewery and the foundry in town belonged to Ada."]
    context = builder.real.add(sentences, "bakery")
    gold = _Gold(sentences, 0, "Ada")
    asked = []
    for seed in range(300):
        row = builder._assemble(builder.real, "Who owned the bakery in town?", context, gold, Random(seed))
        if row is not None and not row.gold and any("Ada" in one for one in row.passages):
            asked.append(row.question)
    assert asked
    assert not any(one in question for question in asked for one in ("bakery", "tannery", "brewery", "foundry"))


def test_rows_ask_for_other_subjects(corpus: Path) -> None:
    builder = Builder(corpus, corpus / "00.txt.xz")
    builder.exchange = EXCHANGE
    sentences = ["The bakery in town belonged to Ada.", "It burned."]
    context = builder.real.add(sentences, "bakery")
    found = []
    for seed in range(400):
        row = builder._assemble(
            builder.real, "Who owned the bakery in town?", context, _Gold(sentences, 0, "Ada"), Random(seed)
        )
        if row is not None:
            found.append(row)
    answered = [row for row in found if row.gold]
    assert answered
    assert all("bakery" in row.question and "Ada" in row.passages[row.gold - 1] for row in answered)
    before_it = [row for row in found if not row.gold and any("Ada" in one for one in row.passages)]
    assert before_it
    assert all("bakery" not in row.question for row in before_it)
