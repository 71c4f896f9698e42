"""What rows and words make of an answer, without a screen."""

import pytest
from chat_fakes import answer, citation

from app.answer import Ask
from retrieval.types import Locator
from tui.rows import answer_row
from tui.words import citation_place


def test_only_written_answers_have_a_rate() -> None:
    chosen = answer(Ask("How many?")).to_json()
    assert answer_row(chosen).rate is None  # its tokens were scored
    assert answer_row(chosen | {"confidence": None}).rate == pytest.approx(52 / 0.6)


@pytest.mark.parametrize(
    ("section", "place"),
    [
        ("Handbook › Lifting gear", "Lifting gear"),
        ("Handbook", "line 10"),
        ("Lifting gear", "Lifting gear"),
        (None, "line 10"),
    ],
)
def test_a_place_does_not_repeat_the_title_beside_it(section: str | None, place: str) -> None:
    assert citation_place(citation(1, "verified", "Handbook", "Once a year.", None, Locator(section=section))) == place
