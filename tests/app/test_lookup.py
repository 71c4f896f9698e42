"""The cell of a table that a question names, however the table is set."""

import pytest

from app.answer_types import wanted
from app.chooser import written
from app.lookup import is_about, is_part, look_up
from app.rows import is_column_names, rows
from app.spans import choose
from app.units import Text
from tests.app.fakes_engine import embed

LABELLED = (
    "item | serial | room | assigned to | price eur\n"
    "item: Label printer; serial: QP77; room: 204; assigned to: Oskar Lind; price eur: 245\n"
    "item: Forklift; room: 110; assigned to: Ines Duarte; price eur: 18900\n"
    "item: Tablet; serial: TB61; price eur: 529\nitem: Family; room: 1; price eur: 37; remarks: serial on the room\n"
    "item: Scale; serial: A1; room: 2; price eur: 9\nitem: Lamp; serial: A2; room: 2; price eur: 9"
)
SEPARATED = (
    "item,serial,room,assigned to,price eur\nLabel printer,QP77,204,Oskar Lind,245\n"
    'Forklift,,110,Ines Duarte,18900\nTablet,TB61,"",,529\n'
)
BARRED = (
    "| item | serial | room | assigned to | price eur |\n|---|:---:|---|---|---|\n"
    "| Label printer | QP77 | 204 | Oskar Lind | 245 |\n| Forklift |  | 110 | Ines Duarte | 18900 |\n"
    "| Tablet | TB61 | | | 529 |\n\nThe tablet was repaired."
)


@pytest.mark.parametrize("text", [LABELLED, SEPARATED, BARRED])
@pytest.mark.parametrize(
    ("question", "column", "value"),
    [
        ("What is the serial number of the label printer?", "serial", "QP77"),
        ("Who is the forklift assigned to?", "assigned to", "Ines Duarte"),
        ("How much did the tablet cost?", "price eur", "529"),
        ("What is the serial number of the forklift?", "serial", None),
        ("In which room is the tablet?", "room", None),
    ],
)
def test_the_cell_of_row_and_column_is_found_or_known_to_be_empty(
    text: str, question: str, column: str, value: str | None
) -> None:
    cell = look_up(question, wanted(question), [Text("Nothing of it."), Text(text)])
    assert cell is not None and (cell.text, cell.column) == (1, column)
    assert (text[slice(*cell.value)] if cell.value else None) == value


@pytest.mark.parametrize(
    "question",
    [
        "What is the colour of the tablet?",  # no such column
        "How much does the tablet weigh?",
        "What is the serial number of the crane?",  # no such row
        "What is the serial number of the Lumo forklift?",  # a name that is nowhere
        "Which serial number is assigned?",
        "What is the phone number of whoever repaired the tablet for Oskar Lind last week?",
    ],
)
def test_nothing_is_looked_up_where_row_or_column_are_not_plain(question: str) -> None:
    assert look_up(question, wanted(question), [Text(LABELLED)]) is None


def test_the_name_of_a_column_that_is_a_word_of_another_value_still_names_it() -> None:
    cell = look_up("What room has the family?", wanted("What"), [Text(LABELLED)])
    assert cell is not None and cell.column == "room" and cell.value is not None


@pytest.mark.parametrize(
    ("question", "named", "part"),
    [
        ("What is the average price?", "stock", True),
        ("What do the items cost in total?", "stock", True),
        ("What is the average price?", "Average prices by item", False),
        ("What is the highest price?", "stock", False),
    ],
)
def test_a_row_is_a_part_of_what_an_average_or_a_sum_is_asked_of(question: str, named: str, part: bool) -> None:
    row = next(place for place in (one.place for one in rows(LABELLED)) if LABELLED.startswith("item: Lamp", place[0]))
    assert is_part(question, LABELLED, row, named) is part
    assert not is_part(question, "The price is 9.", (0, 15), named)


def test_a_row_is_about_what_stands_in_its_values() -> None:
    row = rows(LABELLED)[0].place
    assert is_about(LABELLED, row, {"label"}) and not is_about(LABELLED, row, {"serial", "pric"})
    assert is_about("Serial numbers are long.", (0, 24), {"crane"})


def test_the_meaning_of_a_code_stands_behind_it() -> None:
    text = "Errors\n- F01: no water comes in\n- F02: water does not run off"
    cell = look_up("What does F02 mean?", wanted("What does F02 mean?"), [Text(text)])
    assert cell is not None and cell.value is not None and text[slice(*cell.value)] == "water does not run off"
    for question in ("What does F03 mean?", "How much does part F02 cost?", "What does F02 and F01 mean?"):
        assert look_up(question, wanted(question), [Text(text)]) is None


def test_only_a_column_whose_value_is_there_is_sure() -> None:
    found = choose("What is the serial number of the label printer?", [Text(LABELLED)], embed)
    empty = choose("What is the serial number of the forklift?", [Text(LABELLED)], embed)
    assert found is not None and found.confidence > 0.9 and written(LABELLED, found) == "serial: QP77"
    assert empty is not None and empty.confidence == 0.0 and empty.cell is not None


def test_a_column_that_is_empty_in_a_whole_passage_is_known_from_another_of_the_same_document() -> None:
    texts = [
        Text("item: Tablet; room: 7\nitem: Scale; room: 8", "stock"),
        Text("item: Pump; room: 9; owner: Bo", "stock"),
    ]
    cell = look_up("Who is the owner of the tablet?", wanted("Who"), texts)
    assert cell is not None and cell.value is None and cell.column == "owner"
    assert look_up("Who is the owner of the tablet?", wanted("Who"), [texts[0], Text(texts[1].text, "other")]) is None


@pytest.mark.parametrize("text", [LABELLED, SEPARATED, BARRED])
def test_the_names_of_columns_are_no_row(text: str) -> None:
    first = text.splitlines()[0]
    assert is_column_names(text, (0, len(first)))
    assert [len(row.values) for row in rows(text)][:3] == [5, 4, 3]
