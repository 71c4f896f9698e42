"""Lines that are one paragraph, and lines that stand alone."""

import pytest

from app.paragraphs import records, value_start
from app.sentences import sentences


def units(text: str) -> list[str]:
    return [text[slice(*unit)] for unit in sentences(text)]


def test_a_heading_over_wrapped_lines_is_a_unit_of_its_own() -> None:
    text = (
        "3. RENT\nThe monthly rent is 1,850, due on the first day of each month. It is never\npaid in cash, but by "
        "standing order."
    )
    assert units(text) == [
        "3. RENT",
        "The monthly rent is 1,850, due on the first day of each month.",
        "It is never\npaid in cash, but by standing order.",
    ]


def test_a_name_at_the_beginning_of_a_wrapped_line_parts_nothing() -> None:
    text = "This lease is made between Doris Feldman, who lets the flat, and Kwame Asante and\nLily Asante on 3 May."
    assert units(text) == [text]


def test_fields_below_each_other_are_units_of_their_own() -> None:
    text = (
        "Landlord: Gwilym and Nerys Pritchard\nTenant: Joanna Sable\nProperty: Orchard Cottage, Llanfair Lane, by the "
        "chapel"
    )
    assert units(text) == text.splitlines()


def test_the_number_of_a_heading_ends_no_sentence() -> None:
    assert units("## 1. Accounts\n\nThere were none.") == ["## 1. Accounts", "There were none."]


@pytest.mark.parametrize("separator", [",", ";"])
def test_separated_values_are_rows(separator: str) -> None:
    text = "name,office,salary\nAna Ribeiro,Lisbon,58200\nDr. Bram de Wit,Utrecht,\n".replace(",", separator)
    assert units(text) == text.splitlines()
    assert [text[slice(*one)].rstrip() for one in records(text)] == text.splitlines()


def test_sentences_with_commas_are_no_rows() -> None:
    text = "Ana, Bram and Chidi came, late.\nThey ate, drank, and left.\nIt rained, then froze, then thawed.\n"
    assert records(text) == []


def test_the_value_of_a_field_begins_after_its_name() -> None:
    fields = [
        "Rent: 900 a month",
        "Date of issue:  3 May",
        "At 4:51 it left.",
        "The rent is 900.",
        "See 4.2: the roof.",
    ]
    assert [one[value_start(one, (0, len(one))) :] for one in fields] == ["900 a month", "3 May", *fields[2:]]
