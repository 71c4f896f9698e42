"""Which lines only name what stands below them, and how a text that was handed over is cut at them."""

import pytest

from app.outline import name_of, only_names
from app.sentences import sentences
from app.shelf import Shelf
from tests.app.fakes_engine import FakeLibrary

LEASE = """RESIDENTIAL LEASE
14 Quay Lane, Flat 2

1. RENT
The rent is 900 a month, due on the first day of every month without any demand.

Pets
One cat may live in the flat if the landlord has agreed to it in writing before.

Contact
Phone: 020 5550 117
E-mail: post@quay.example
"""
MANUAL = """# Pump manual

| Part | Size | Torque |
|------|------|--------|
| Bolt | M8   | 20 Nm  |

- Grease: once a year
- Filter

Revenue rose 14%

Costs fell 3%
"""


def named(text: str, opens: bool = True) -> list[str]:
    return [text[slice(*unit)] for unit in sentences(text) if only_names(text, unit, opens)]


def test_titles_headings_and_column_names_are_told_from_how_they_are_set() -> None:
    assert named(LEASE) == ["RESIDENTIAL LEASE", "14 Quay Lane, Flat 2", "1. RENT", "Pets", "Contact"]
    assert named(MANUAL) == ["# Pump manual", "| Part | Size | Torque |"]


def test_a_first_line_is_a_title_only_where_the_document_begins() -> None:
    text = "The cranes\nA list\n\nmore of it"
    unit = (0, len("The cranes"))
    assert only_names(text, unit, opens=True) and not only_names(text, unit)


@pytest.mark.parametrize(
    "text",
    [
        "Revenue rose 14%\n\nCosts fell 3%",  # slides: short lines are what is said
        "I AM ALLERGIC TO NUTS",
        "Weight: 3.4 kg\n\nThe pump is heavy.",
        "It was late.\n\nThe pump is heavy.",
        "- Filter\n\nThe pump is heavy.",
        "between Holm and Berg\n\nThe pump is heavy.",
    ],
)
def test_what_says_something_is_no_heading(text: str) -> None:
    assert named(text, opens=False) == []


def test_the_name_of_a_heading_has_neither_marks_nor_number() -> None:
    for line, name in [("## 2. Rent", "Rent"), ("3.1. RENT", "RENT"), ("14 Quay Lane", "14 Quay Lane")]:
        assert name_of(line, (0, len(line))) == name


def test_a_text_that_was_handed_over_is_cut_at_its_headings_and_keeps_their_names() -> None:
    passages = Shelf(FakeLibrary(), (("stdin", LEASE),)).whole("a1")
    assert [(one.locator.section, one.text.splitlines()[-1][:9]) for one in passages] == [
        ("RESIDENTIAL LEASE 14 Quay Lane, Flat 2 › RENT", "The rent "),
        ("RESIDENTIAL LEASE 14 Quay Lane, Flat 2 › Pets", "One cat m"),
        ("RESIDENTIAL LEASE 14 Quay Lane, Flat 2 › Contact", "E-mail: p"),
    ]
    assert all(LEASE[one.start : one.end] == one.text for one in passages)
