"""The everyday set: its gold stands in its documents, and its measure tells right from wrong. Answers: measure.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.grounding.everyday.measure import HERE, SETS, Question, plain, questions, verdict


@pytest.mark.parametrize("name", SETS)
def test_every_gold_answer_stands_in_its_document(name: str) -> None:
    asked = questions(name)
    for one in asked:
        text = one.document.read_text("utf-8")
        text = plain(text.replace(",", " , ") if one.document.suffix == ".csv" else text)
        assert not one.gold or any(plain(gold) in text for gold in one.gold), one.text
        assert all(plain(word) in text for word in one.avoid), one.text
    assert {one.document for one in asked} == set((HERE / name).iterdir())


def test_the_set_is_large_and_a_fifth_of_it_cannot_be_answered() -> None:
    asked = [one for name in SETS for one in questions(name)]
    assert len(asked) >= 100 and sum(not one.gold for one in asked) >= len(asked) // 5
    assert len(questions("held_out")) >= len(asked) // 4


@pytest.mark.parametrize(
    ("said", "abstained", "expected"),
    [
        ("No dogs are allowed. [1]", False, "right"),
        ("Notice is given. [1]", False, "wrong"),  # "no" is a word, not a beginning
        ("No dogs, but cats. [1]", False, "wrong"),
        ("no " * 50, False, "wrong"),
        ("The documents do not say.", True, "refused"),
    ],
)
def test_an_answer_is_right_with_the_gold_and_without_its_neighbours(said: str, abstained: bool, expected: str) -> None:
    answer: Any = SimpleNamespace(answer=said, abstained=abstained)
    assert verdict(Question(Path("x"), "?", ("no",), ("cats",)), answer) == expected


def test_what_the_documents_do_not_say_is_rightly_refused_and_never_right() -> None:
    refused: Any = SimpleNamespace(answer="The documents do not say.", abstained=True)
    asserted: Any = SimpleNamespace(answer="14 [1]", abstained=False)
    one = Question(Path("x"), "?", (), ())
    assert (verdict(one, refused), verdict(one, asserted)) == ("rightly refused", "wrong")
