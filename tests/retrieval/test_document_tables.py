"""Tables of documents, pages and mails are tables too: columns with types, rows with their place, names to ask by."""

import io
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from openpyxl import Workbook

from app.answer import Ask
from app.shelf import Shelf
from app.tables.reply import reply, within
from app.turn import Turn
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.readers import Extraction, locate, read
from retrieval.settings import RetrievalSettings
from retrieval.tables.grid import tables_of
from tests.fakes import FakeEmbedder

FEES = [("Berth", "Fee EUR"), ("North", "120.50"), ("South", "80.00"), ("East", "95.00")]


def add_table(document: Any, rows: list[tuple[str, ...]]) -> None:
    table = document.add_table(0, len(rows[0]))
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text


def make_docx(path: Path, year: str, fees: list[tuple[str, ...]]) -> None:
    document = Document()
    document.add_heading("Harbour", 1)
    document.add_paragraph(f"Table 1: Fees of {year}", style="Caption")
    document.add_paragraph("")
    add_table(document, fees)
    document.add_paragraph("Between the tables.")
    add_table(document, [("Boat", "Length m"), ("Gull", "9.4"), ("Whale", "12.1")])
    document.save(str(path))


def html(rows: list[tuple[str, ...]], caption: str = "") -> str:
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<caption>{caption}</caption>' if caption else ''}{lines}</table>"


def found(extraction: Extraction) -> list[tuple[str | None, str, list[str]]]:
    return [(one.sheet, one.cells, [column.kind for column in one.columns]) for one in tables_of(extraction)]


def test_tables_of_a_word_document_are_called_for_their_caption_or_the_heading_above(tmp_path: Path) -> None:
    make_docx(tmp_path / "a.docx", "2024", FEES)
    extraction = read(tmp_path / "a.docx")
    assert found(extraction) == [
        ("Table 1: Fees of 2024", "A1:B4", ["text", "number"]),
        ("Harbour", "A1:B3", ["text", "number"]),
    ]
    assert "Berth | Fee EUR\nBerth: North; Fee EUR: 120.50\nBerth: South" in extraction.text
    start = extraction.text.index("120.50")
    place = locate(extraction.spans, start, start + 6)[1]
    assert (place.section, place.sheet, place.cells) == ("Harbour", "Table 1: Fees of 2024", "B2")


def test_tables_of_a_page_are_parted_even_where_they_follow_one_another(tmp_path: Path) -> None:
    page = html(FEES, "Fees of 2025") + html(FEES, "Fees of 2025") + html([("a", "b"), ("c", "d")])
    (tmp_path / "a.html").write_text(f"<html><body>{page}</body></html>")
    assert found(read(tmp_path / "a.html"))[:2] == [
        ("Fees of 2025", "A1:B4", ["text", "number"]),
        ("Fees of 2025 2", "A1:B4", ["text", "number"]),
    ]


def mail(path: Path, *attachments: tuple[str, bytes]) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "anna@example.org", "The figures"
    message.set_content("Please find the figures attached.")
    for name, data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    path.write_bytes(bytes(message))


def test_tables_attached_to_a_mail_are_read_and_broken_ones_named(tmp_path: Path) -> None:
    book, buffer = Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Crew"
    for row in (["Name", "Days"], ["Bo", 12], ["Eva", 9]):
        sheet.append(row)
    book.save(buffer)
    csv = "\n".join(",".join(row) for row in FEES).encode()
    mail(
        tmp_path / "a.eml", ("../fees.csv", csv), ("crew.xlsx", buffer.getvalue()), ("bad.xlsx", b"PK"), ("x.bin", b"1")
    )
    extraction = read(tmp_path / "a.eml")
    assert [(name, cells) for name, cells, _ in found(extraction)] == [
        ("fees.csv", "A1:B4"),
        ("crew.xlsx › Crew", "A1:B3"),
    ]
    assert "Berth: North; Fee EUR: 120.50" in extraction.text
    assert "bad.xlsx was not read: it is broken" in extraction.text
    assert str(Path("/tmp")) not in extraction.text
    start = extraction.text.index("Days: 12")
    assert locate(extraction.spans, start, start + 8)[1].section == "crew.xlsx"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    make_docx(tmp_path / "old.docx", "2024", FEES)
    make_docx(tmp_path / "new.docx", "2025", [FEES[0], ("North", "130.00"), ("South", "85.00"), ("East", "99.00")])
    found = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(found, [tmp_path / "old.docx", tmp_path / "new.docx"])
    yield found
    found.close()


def test_the_words_of_a_question_choose_among_tables_of_one_shape(library: Library) -> None:
    def said(question: str) -> Turn:
        ask = Ask(question=question, scope=("main",))
        turn = Turn(ask=ask, shelf=Shelf(library, ()), epoch=library.epoch(), standalone=question)
        assert reply(turn, library, within(ask, question, library))
        return turn

    turn = said("What is the highest fee of 2025?")
    assert turn.text.startswith("North: 130.00 EUR [1]"), turn.text
    assert (turn.citations[0].locator.sheet, turn.citations[0].locator.cells) == ("Table 1: Fees of 2025", "B2")
    assert turn.citations[0].quote == "Berth: North; Fee EUR: 130.00"
    turn = said("What is the highest fee?")
    assert turn.abstained and "Table 1: Fees of 2025 in new.docx; Table 1: Fees of 2024 in old.docx" in turn.text
