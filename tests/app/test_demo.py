"""How the demonstration judges: the words, the document, the place, and the text that stands there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.answer import Answer
from app.demo import Judged, Report, _within, judge, read_questions, sample
from retrieval.types import Locator
from tests.app.fakes import make_answer

ROW = {
    "id": "a",
    "question": "How many?",
    "expect": ["40", "forty"],
    "document": "a.md",
    "locator": {"section": "Stock"},
}


class Texts:
    """A library that holds one text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self, document: str) -> str:
        return self._text


LIBRARY: Any = Texts("0123456789Forty.")


def verdict(row: dict[str, Any], answer: Answer, library: Any = LIBRARY) -> Judged:
    return judge(row, answer, library, 0.0)


def test_right_words_with_a_true_citation_count() -> None:
    judged = verdict(ROW, make_answer("q", "There are  Forty."))
    assert judged.right and judged.source == "a.md:3 § Stock"


def test_anything_less_does_not_count() -> None:
    right = make_answer("q", "Forty.")
    (citation,) = right.citations
    wrong = {
        "other words": replace(right, answer="Fifty."),
        "refused": make_answer("q", abstained=True),
        "no citation": replace(right, citations=()),
        "repaired": replace(right, citations=(replace(citation, status="repaired"),)),
        "other document": replace(right, citations=(replace(citation, path="/docs/b.md"),)),
        "other section": replace(right, citations=(replace(citation, locator=Locator(section="Stocks")),)),
        "other offsets": replace(right, citations=(replace(citation, start=0, end=6),)),
    }
    for name, answer in wrong.items():
        judged = verdict(ROW, answer)
        assert not judged.right and judged.why, name


def test_an_unanswerable_question_must_be_refused() -> None:
    row = {"id": "u", "question": "Why?", "unanswerable": True}
    assert verdict(row, make_answer("Why?", abstained=True)).right
    assert not verdict(row, make_answer("Why?")).right


@pytest.mark.parametrize(
    ("cell", "cells", "inside"),
    [("C6", "C6", True), ("C6", "A6:F6", True), ("C6", "A1:B9", False), ("AA2", "Z1:AB3", True), ("C6", "", False)],
)
def test_cells_contain_cells(cell: str, cells: str, inside: bool) -> None:
    assert _within(cell, cells) is inside


def report(right: int, refused: int, remembered: bool) -> Report:
    def item(kind: Any, good: bool) -> Judged:
        return Judged("i", kind, "q", "a", good, "", "", 0.0)

    judged = [item("question", n < right) for n in range(20)] + [item("unanswerable", n < refused) for n in range(5)]
    return Report({}, 14, 90, 1.0, (*judged, item("memory", remembered)), 1.0, 1.0, 1.0)


def test_the_bars() -> None:
    assert report(16, 4, True).passed
    assert not report(15, 5, True).passed
    assert not report(20, 3, True).passed
    assert not report(20, 5, False).passed
    assert report(16, 4, True).to_json()["totals"]["question"] == {"right": 16, "asked": 20}


def test_the_shipped_questions_are_whole() -> None:
    folder = sample()
    rows = read_questions(folder / "questions.jsonl")
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    answerable = [row for row in rows if "document" in row]
    assert len(answerable) == 20 and sum(bool(row.get("unanswerable")) for row in rows) == 5
    assert any("tell" in row for row in rows) and any(row.get("uses_memory") for row in rows)
    assert {row["document"] for row in answerable} <= names
    places = {key for row in answerable for key in row.get("locator", {})}
    assert {"page", "cells", "section"} <= places
    assert len({row["id"] for row in rows}) == len(rows)


def test_no_question_stands_in_the_code() -> None:
    root = Path(__file__).parents[2]
    code = "\n".join(
        path.read_text("utf-8")
        for room in ("app", "model", "retrieval", "memory", "tui")
        for path in (root / room).rglob("*")
        if path.suffix in (".py", ".json", ".jsonl", ".jinja", ".md")
    )
    for row in read_questions(sample() / "questions.jsonl"):
        if "question" in row:
            assert row["question"] not in code
