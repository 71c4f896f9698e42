"""Questions that a text asks and answers itself."""

import pytest

from app.chooser import written
from app.questions import answering, bare
from app.spans import choose
from app.units import Text
from tests.app.fakes_engine import embed


def pairs(text: str) -> list[tuple[str, str | None]]:
    """What `text` says, each with the question that it answers."""
    return [(text[slice(*unit)], None if asked is None else bare(text, asked)) for unit, asked in answering(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Question: How much is the ferry?\nAnswer: 4 euro.\nQuestion: Who runs it?\nAnswer: The town.",
        "Q: How much is the ferry?\nA: 4 euro.\n\nQ: Who runs it?\n\nA: The town.",
        "Q1: How much is the ferry? A1: 4 euro.\nQ2: Who runs it? A2: The town.",
        "Q1. How much is the ferry?\nA1. 4 euro.\nQ2. Who runs it?\nA2. The town.",
        "**Q:** How much is the ferry?\n**A:** 4 euro.\n\n**Q:** Who runs it?\n**A:** The town.",
        "## How much is the ferry?\n\n4 euro.\n\n## Who runs it?\n\nThe town.",
        "1. How much is the ferry?\n4 euro.\n2. Who runs it?\nThe town.",
        "**How much is the ferry?**\n4 euro.\n\n**Who runs it?**\nThe town.",
        "- How much is the ferry?\n\n  4 euro.\n\n- Who runs it?\n\n  The town.",
    ],
)
def test_what_follows_a_question_is_its_answer(text: str) -> None:
    assert pairs(text) == [("4 euro.", "How much is the ferry?"), ("The town.", "Who runs it?")]


def test_an_answer_ends_with_its_paragraph_or_before_a_heading() -> None:
    text = (
        "Is it deep?\n\nTwo metres. Only at high water.\n\nThe pier is long.\n\n## Dogs allowed?\n## Prices\n\n7 euro."
    )
    assert pairs(text) == [
        ("Two metres.", "Is it deep?"),
        ("Only at high water.", "Is it deep?"),
        ("The pier is long.", None),
        ("## Dogs allowed?", None),  # nothing answers it
        ("## Prices", None),
        ("7 euro.", None),
    ]


def test_a_question_inside_a_line_is_a_sentence_like_others() -> None:
    text = "The chair spoke. May the pool open early? He said no."
    assert pairs(text) == [("The chair spoke.", None), ("May the pool open early?", None), ("He said no.", None)]


@pytest.mark.parametrize(
    ("question", "said"),
    [("How much is the ferry?", "4 euro"), ("Who runs the ferry?", "Olmsted"), ("How deep is the pool?", "2.1 metres")],
)
def test_a_list_of_questions_is_answered_by_what_follows_the_one_asked(question: str, said: str) -> None:
    text = (
        "Question: How much is the ferry?\nAnswer: 4 euro.\n\nQuestion: Who runs the ferry?\nAnswer: Olmsted does.\n\n"
        "Question: How deep is the pool?\nAnswer: 2.1 metres."
    )
    choice = choose(question, [Text(text)], embed)
    assert choice is not None and said in written(text, choice)
    assert not text[slice(*choice.unit.range)].startswith("Answer")
