"""What rows and words make of an answer, without a screen."""

import pytest
from chat_fakes import answer, citation

from app.answer import Ask
from retrieval.types import Locator
from tui.rows import answer_row
from tui.words import citation_place, held_words, size


def test_the_share_of_kept_drafts_is_told_where_there_were_any() -> None:
    plain = answer(Ask("How many?")).to_json()
    assert answer_row(plain).acceptance is None
    assert answer_row(plain | {"usage": {"drafted": 40, "accepted": 30}}).acceptance == 0.75


def test_sizes_have_three_digits_at_most() -> None:
    told = {950: "950 B", 999_600: "1.0 MB", 12_345: "12.3 KB", 812_000_000: "812 MB", 3.2e15: "3200 TB"}
    assert {number: size(number) for number in told} == told
    assert held_words(812_000_000, 14 * 10**9) == "812 MB RAM, 14.0 GB GPU" and held_words(None, 0) == ""


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
