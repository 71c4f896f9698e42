"""Spreadsheets as tables: types of columns, rows with their place in the text, and read-only queries over them."""

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.cipher import Key
from retrieval.errors import LibraryChanged, QueryRefused, UnreadableDocument
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.readers.registry import read
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading, writing
from retrieval.tables.grid import Table, tables_of
from retrieval.tables.run import Sheet, table_name
from retrieval.tables.values import Value, typed, without_unit
from tests.fakes import FakeEmbedder
from tests.retrieval.libraries import opened
from tests.retrieval.test_readers_office import odf

HARBOUR = (
    "Boat;Länge;Gebühr;Anteil;Bezahlt;Seit\n"
    "Möwe;9,40;1.234,50 €;12,5 %;ja;03.05.2024\n"
    "Wal;12,10;980,00 €;40 %;nein;17.11.2023\n"
    "Robbe;7,00;k.A.;47,5 %;ja;01.02.2025\n"
    "Summe;;2.214,50 €;100 %;;\n"
)


def column(*cells: str, name: str = "X") -> tuple[str, str, list[Value]]:
    found, values = typed(name, 1, cells, None)
    return found.kind, found.unit, values


def tables(folder: Path, name: str, content: str) -> list[Table]:
    (folder / name).write_text(content, "utf-8")
    return list(tables_of(read(folder / name)))


@pytest.mark.parametrize(
    ("cells", "kind", "unit", "values"),
    [
        (("$1,234.50", "$-3", "($20.00)"), "number", "$", [1234.5, -3, -20.0]),
        (("1.234,5", "12,25", "-7"), "number", "", [1234.5, 12.25, -7]),
        (("1 234 567", "12"), "number", "", [1234567, 12]),
        (("12%", "7.5 %", "n/a"), "number", "%", [12, 7.5, None]),
        (("10 kg", "12.5 kg", "–"), "number", "kg", [10, 12.5, None]),
        (("007", "012"), "text", "", ["007", "012"]),
        (("3 €", "4 £"), "text", "", ["3 €", "4 £"]),
        (("1.2.3", "4"), "text", "", ["1.2.3", "4"]),
        (("25/12/2024", "01/02/2024"), "date", "", ["2024-12-25", "2024-02-01"]),
        (("03/04/2024", "01/02/2024"), "text", "", ["03/04/2024", "01/02/2024"]),
        (("12 March 2025", "2. Mai 2024", "Mar 2023"), "date", "", ["2025-03-12", "2024-05-02", "2023-03"]),
        (("2024-05-01 08:30", "2024-05-02"), "date", "", ["2024-05-01 08:30", "2024-05-02"]),
        (("Yes", "no", ""), "boolean", "", [1, 0, None]),
        (("4111111111111111", "12"), "text", "", ["4111111111111111", "12"]),
        (("9" * 5000, "12"), "text", "", ["9" * 5000, "12"]),
        (("pier", "12", "quay"), "text", "", ["pier", "12", "quay"]),
    ],
)
def test_a_column_is_what_its_cells_are(cells: tuple[str, ...], kind: str, unit: str, values: list[Value]) -> None:
    assert column(*cells) == (kind, unit, values)


def test_a_few_cells_that_say_nothing_yet_do_not_make_a_column_text() -> None:
    kind, _, values = column(*map(str, range(20)), "after the audit")
    assert kind == "number" and values[-1] is None
    assert column("1", "2", "after the audit")[0] == "text"


def test_years_are_days_where_the_header_says_so_and_units_are_read_from_headers() -> None:
    assert column("2023", "2024", name="Year")[0] == "date"
    assert column("2023", "2024", name="Units sold")[0] == "number"
    assert column("3", "4", name="Price (EUR)")[1] == "EUR"
    assert without_unit("Dissolved oxygen mg/l") == "Dissolved oxygen"
    assert without_unit("E. coli per 100 ml") == "E. coli"
    assert without_unit("Berth") == "Berth"


def test_a_german_sheet_is_read_as_it_was_meant_and_its_sum_is_no_row(tmp_path: Path) -> None:
    (table,) = tables(tmp_path, "hafen.csv", HARBOUR)
    assert [c.kind for c in table.columns] == ["text", "number", "number", "number", "boolean", "date"]
    assert [c.unit for c in table.columns] == ["", "", "€", "%", "", ""]
    assert [row.values for row in table.rows] == [
        ("Möwe", 9.4, 1234.5, 12.5, 1, "2024-05-03"),
        ("Wal", 12.1, 980.0, 40, 0, "2023-11-17"),
        ("Robbe", 7.0, None, 47.5, 1, "2025-02-01"),
    ]
    text = read(tmp_path / "hafen.csv").text
    assert text[table.rows[1].start : table.rows[1].end].startswith("Boat: Wal; Länge: 12,10; Gebühr: 980,00 €")
    assert table.cells == "A1:F5" and [row.number for row in table.rows] == [2, 3, 4]


def test_an_unlabelled_last_row_that_is_the_sum_of_the_others_is_left_out(tmp_path: Path) -> None:
    (table,) = tables(tmp_path, "a.csv", "Item,Count\nrope,3\nbuoy,4\nnet,5\n,12\n")
    assert [row.values for row in table.rows] == [("rope", 3), ("buoy", 4), ("net", 5)]
    (table,) = tables(tmp_path, "b.csv", "Item,Count\nrope,3\nbuoy,4\nnet,5\n,11\n")
    assert table.rows[-1].values == (None, 11)


def test_sheets_and_blank_rows_part_tables_and_notes_above_a_header_are_none(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    costs = book.active
    assert costs is not None
    costs.title = "Costs"
    for row in (
        ["Costs of the yard"],
        ["Part", "Price"],
        ["keel", 1200.5],
        ["mast", 900],
        [],
        ["Crew", "Age"],
        ["Ana", 40],
    ):
        costs.append(row)
    book.create_sheet("Empty")
    book.save(tmp_path / "yard.xlsx")
    found = list(tables_of(read(tmp_path / "yard.xlsx")))
    assert [(t.sheet, t.cells, [c.name for c in t.columns]) for t in found] == [
        ("Costs", "A2:B4", ["Part", "Price"]),
        ("Costs", "A6:B7", ["Crew", "Age"]),
    ]
    assert [row.values for row in found[0].rows] == [("keel", 1200.5), ("mast", 900)]


def test_names_that_sqlite_keeps_to_itself_are_other_names(tmp_path: Path) -> None:
    (table,) = tables(tmp_path, "sqlite_x.csv", "rowid,Rowid,A\n7,8,x\n9,10,y\n")
    assert [column.name for column in table.columns] == ["rowid (A)", "Rowid (B)", "A"]
    with Sheet(table_name("sqlite_x"), table.columns, table.rows) as sheet:
        assert sheet.ask('SELECT rowid, "rowid (A)" FROM "table sqlite_x"') == [(2, 7), (3, 9)]


def test_whatever_cells_hold_makes_tables_that_can_be_asked(tmp_path: Path) -> None:
    draw = random.Random(7)
    pieces = [
        "",
        "1",
        "1,5",
        "1.234",
        "-",
        "(3)",
        "€ 4",
        "5 kg",
        "07",
        "x",
        "2024-02-30",
        "31/12/24",
        "yes",
        "'",
        '"a"',
        "²",
        "٣",
        "1e9",
    ]
    for number in range(40):
        width = draw.randint(1, 5)
        rows = [
            [draw.choice(pieces) + draw.choice(["", "", " ", "z"]) for _ in range(width)]
            for _ in range(draw.randint(2, 9))
        ]
        with (tmp_path / "fuzz.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([[f"H{n} (kg)" for n in range(width)], *rows])
        try:
            found = list(tables_of(read(tmp_path / "fuzz.csv")))
        except UnreadableDocument:
            continue  # only empty cells
        for table in found:
            with Sheet(f"t{number}", table.columns, table.rows) as sheet:
                assert sheet.ask(f"SELECT count(*) FROM t{number}") == [(len(table.rows),)]


def test_ods_is_a_table_too(tmp_path: Path) -> None:
    def row(*cells: str) -> str:
        held = "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in cells)
        return f"<table:table-row>{held}</table:table-row>"

    rows = row("Boot", "Gebühr", "Anteil") + row("Wal", "1.234,50 €", "12,5 %") + row("Möwe", "98,00 €", "87,5 %")
    odf(
        tmp_path / "a.ods",
        f'<office:spreadsheet><table:table table:name="Hafen">{rows}</table:table></office:spreadsheet>',
    )
    (table,) = tables_of(read(tmp_path / "a.ods"))
    assert (table.sheet, table.cells) == ("Hafen", "A1:C3")
    assert [row.values for row in table.rows] == [("Wal", 1234.5, 12.5), ("Möwe", 98.0, 87.5)]


# ---- in the library ------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    (tmp_path / "hafen.csv").write_text(HARBOUR, "utf-8")
    (tmp_path / "note.txt").write_text("No table here.")
    found = opened(tmp_path)
    ingest(found, [tmp_path / "hafen.csv", tmp_path / "note.txt"])
    yield found
    found.close()


def count(library: Library) -> tuple[int, int]:
    with reading(library.engine) as db:
        return tuple(db.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() for name in ("tables", "table_rows"))  # type: ignore[return-value]


def test_tables_come_with_their_document_and_go_with_it(library: Library, tmp_path: Path) -> None:
    (table,) = library.tables(["main"])
    assert table.path.endswith("hafen.csv") and table.row_count == 3 and table.columns[2].unit == "€"
    assert [row.values[0] for row in library.table_rows(table.id)] == ["Möwe", "Wal", "Robbe"]
    assert not library.tables(["other"]) and not library.tables(["main"], [library.document("note.txt").id])
    (tmp_path / "hafen.csv").write_text(HARBOUR.replace("Wal", "Delfin"), "utf-8")
    ingest(library, [tmp_path / "hafen.csv"])
    (again,) = library.tables(["main"])
    assert [row.values[0] for row in library.table_rows(again.id)] == ["Möwe", "Delfin", "Robbe"]
    library.remove("hafen.csv")
    library.scrub()
    assert count(library) == (0, 0)
    assert b"Robbe" not in b"".join(file.read_bytes() for file in library.folder.glob("library.db*"))


def test_tables_of_an_encrypted_library_are_encrypted(tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3", reason="the extra encryption is not installed")
    (tmp_path / "hafen.csv").write_text(HARBOUR, "utf-8")
    key = Key(bytes(range(32)))
    made = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder, key)
    ingest(made, [tmp_path / "hafen.csv"])
    (table,) = made.tables(["main"])
    assert made.table_rows(table.id)[2].values[0] == "Robbe" and made.check() == []
    made.close()
    files = [file for folder in ("data", "cache") for file in (tmp_path / folder).rglob("*") if file.is_file()]
    assert files and not any(b"Robbe" in file.read_bytes() for file in files)


def test_a_batch_sees_the_tables_of_its_epoch(library: Library, tmp_path: Path) -> None:
    epoch = library.epoch()
    (tmp_path / "late.csv").write_text("Boat,Length\nTern,4\n")
    ingest(library, [tmp_path / "late.csv"])
    assert len(library.tables(["main"])) == 2 and len(library.tables(["main"], epoch=epoch)) == 1
    library.remove("late.csv")
    with pytest.raises(LibraryChanged):
        library.tables(["main"], epoch=epoch)


def test_a_library_of_an_earlier_version_gets_its_tables_when_they_are_asked_for(library: Library) -> None:
    with writing(library.engine) as db:
        db.exec_driver_sql("DELETE FROM tables")
        db.exec_driver_sql("DELETE FROM meta WHERE key = 'tables'")
    assert library.check() == []
    assert len(library.tables(["main"])) == 1 and count(library) == (1, 3)


def test_the_doctor_finds_a_changed_value_and_makes_the_table_anew(library: Library) -> None:
    assert library.check() == []
    with writing(library.engine) as db:
        db.exec_driver_sql("UPDATE table_rows SET cells = replace(cells, '980.0', '98.0')")
    (problem,) = library.check()
    assert "hafen.csv" in problem and "not what its text says" in problem
    before = [table.id for table in library.tables(["main"])]
    assert "made anew" in library.check(fix=True)[0] and library.check() == []
    (table,) = library.tables(["main"])
    assert table.id not in before and library.table_rows(table.id)[1].values[2] == 980.0


# ---- queries -------------------------------------------------------------------------------------


@pytest.fixture
def sheet(tmp_path: Path) -> Iterator[Sheet]:
    (table,) = tables(tmp_path, "hafen.csv", HARBOUR)
    with Sheet("hafen", table.columns, table.rows) as made:
        yield made


def test_a_query_counts_and_sums_over_typed_columns(sheet: Sheet) -> None:
    assert sheet.ask('SELECT sum("Gebühr"), count(*) FROM "hafen"') == [(2214.5, 3)]
    assert sheet.ask("SELECT rowid FROM hafen WHERE \"Seit\" >= '2024' AND \"Seit\" < '2025'") == [(2,)]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM hafen",
        "UPDATE hafen SET Boat = ''",
        "ATTACH 'x.db' AS x",
        "PRAGMA query_only = OFF",
        "SELECT load_extension('x')",
        "SELECT writefile('x', 'y')",
        "SELECT 1; SELECT 2",
        "SELECT randomblob(1000000000)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    ],
)
def test_what_is_no_plain_question_is_refused(
    sheet: Sheet, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryRefused):
        sheet.ask(query)
    assert sheet.ask("SELECT count(*) FROM hafen") == [(3,)] and not (tmp_path / "x.db").exists()


def test_a_query_without_end_or_with_too_many_rows_is_ended(tmp_path: Path) -> None:
    (table,) = tables(tmp_path, "n.csv", "A,B\n" + "".join(f"x{n},{n}\n" for n in range(1200)))
    with Sheet("n", table.columns, table.rows) as sheet:
        with pytest.raises(QueryRefused, match="interrupted"):
            sheet.ask("SELECT count(*) FROM n a, n b, n c")
        with pytest.raises(QueryRefused, match="1000 rows"):
            sheet.ask("SELECT * FROM n")
