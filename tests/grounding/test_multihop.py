"""The set of two-step questions: its gold stands in its documents, and its measure tells right from wrong. Answers:
measure.py."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.steps import plan
from tests.grounding.everyday.measure import plain
from tests.grounding.multihop.measure import HERE, SETS, Question, proven, questions, verdict


def test_every_gold_answer_and_every_name_on_the_way_stands_in_a_document() -> None:
    texts = [file.read_text("utf-8").replace(",", " , ") for name in SETS for file in sorted((HERE / name).iterdir())]
    for one in [one for name in SETS for one in questions(name)]:
        for said in (*one.gold, *one.parts, *one.via):
            assert any(plain(said) in plain(text) for text in texts), (one.text, said)
        assert bool(one.gold or one.parts) == (one.kind != "missing")


def test_the_set_is_as_large_as_it_says() -> None:
    two = [one for name in SETS for one in questions(name) if one.kind == "two"]
    assert len(two) >= 25 and sum(one.kind == "two" for one in questions("held_out")) >= len(two) / 4
    assert sum(one.kind == "one" for name in SETS for one in questions(name)) >= 10


def test_the_tuned_questions_of_two_steps_are_taken_apart_and_hardly_one_of_the_others() -> None:
    tuned = questions("tuned")
    assert all(plan(one.text) for one in tuned if one.kind == "two")
    assert sum(plan(one.text) is not None for one in tuned if one.kind == "one") <= 1


@pytest.mark.parametrize(
    ("said", "quotes", "expected", "proof"),
    [
        ("1931 [1]\n\nWho wrote it? Edith Marlow [2]", ["born in 1931", "by Edith Marlow"], "right", True),
        ("1931 [1]", ["born in 1931"], "right", False),
        ("1967 [1]\n\nWho wrote it? Born 1931 [2]", ["in 1967", "1931 Edith Marlow"], "wrong", True),
    ],
)
def test_the_first_line_is_what_is_said_and_the_citations_prove_the_way(
    said: str, quotes: list[str], expected: str, proof: bool
) -> None:
    cited = [SimpleNamespace(quote=quote, status="verified") for quote in quotes]
    answer: Any = SimpleNamespace(answer=said, abstained=False, citations=cited)
    one = Question("?", "two", ("1931",), (), ("Edith Marlow",))
    assert (verdict(one, answer), proven(one, answer)) == (expected, proof)
