"""What rows and words make of an answer, without a screen."""

from dataclasses import replace

import pytest
from chat_fakes import answer, citation

from app.answer import Ask, LeftOut, Used, Window
from retrieval.types import Locator
from tui.plain_words import answer_lines, window_lines
from tui.rows import answer_row
from tui.widgets.window import gauge, meter
from tui.words import citation_place, held_words, listed_place, size


def test_the_share_of_kept_drafts_is_told_where_there_were_any() -> None:
    plain = answer(Ask("How many?")).to_json()
    assert answer_row(plain).acceptance is None
    assert answer_row(plain | {"usage": {"drafted": 40, "accepted": 30}}).acceptance == 0.75


def test_a_source_is_listed_with_what_became_of_its_file() -> None:
    told = answer(Ask("How many?")).to_json()
    told["citations"][0]["on_disk"] = "changed"
    row = answer_row(told)
    assert "page 12, Lifting gear (changed on disk since it was read): “" in answer_lines(row)[1]
    assert [listed_place(one).partition(" (")[2] for one in row.citations] == [
        "changed on disk since it was read)",
        "",
        "",
    ]


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


def test_an_answer_without_a_window_has_no_share_of_one() -> None:
    window = Window(0, Used(), (LeftOut("3 documents", "too many"),))
    assert gauge(window) == "" and gauge(replace(window, window=4096)) == "window ░░░░ 0% of 4.1K"
    assert "not used for this answer" in str(meter(window)) and "3 documents" in str(meter(window))
    said = window_lines(replace(answer_row(answer(Ask("How many?")).to_json()), window=window))
    assert said == ["The window was not used for this answer.", "Left out: 3 documents (too many)"]
