"""What a span may not be parted from."""

from dataclasses import replace

import pytest

from app.chooser import written
from app.qualifiers import limited, turned
from app.spans import choose
from app.units import Text
from tests.app.fakes_engine import embed


def place(text: str, words: str) -> tuple[int, int]:
    at = text.index(words)
    return at, at + len(words)


@pytest.mark.parametrize(
    ("text", "span", "whole"),
    [
        ("Deliveries must arrive no later than 10:00 on weekdays.", "10:00", "no later than 10:00"),
        ("Give not less than six months of notice.", "six months", "not less than six months"),
        ("Children of 14 or older may sail.", "14", "14 or older"),
        ("The ferry leaves at 10:00.", "10:00", "10:00"),
    ],
)
def test_a_limit_stays_with_its_value(text: str, span: str, whole: str) -> None:
    assert text[slice(*limited(text, (0, len(text)), place(text, span)))] == whole


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("Rent may never be paid in cash.", "cash", True),
        ("No dogs are allowed.", "dogs", True),
        ("Business class isn't paid on overnight flights.", "overnight flights", True),
        ("The fee is 5 euros unless you are a member.", "5 euros", True),
        ("They chose Penrose because Delta could not start before spring.", "spring", True),
        ("They chose Penrose because Delta could not start before spring.", "Penrose", False),
        ("Hosting goes to Calder, not to Hostmere.", "Calder", False),
        ("Hosting goes to Calder, not to Hostmere.", "Hostmere", True),
        ("It is not only cheap and was built in 1921.", "1921", False),
        ("Berth no. 5 is free.", "free", False),
        ("Hens may be kept, but no more than six.", "no more than six", False),
    ],
)
def test_a_span_is_turned_by_what_denies_its_clause_or_makes_its_sentence_conditional(
    text: str, span: str, expected: bool
) -> None:
    assert turned(text, (0, len(text)), place(text, span)) == expected


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("When may the tenant light the stove?", "The tenant may not light the stove until 1 May."),
        ("Until when may the tenant not light the stove?", "1 May"),
    ],
)
def test_the_sentence_is_said_where_the_span_alone_would_say_the_opposite(question: str, said: str) -> None:
    text = "The tenant may not light the stove until 1 May."
    choice = choose(question, [Text(text)], embed)
    assert choice is not None
    assert written(text, replace(choice, span=place(text, "1 May"), kind="date")) == said
