"""Tables of PDFs: cells by what is drawn and by where they stand, and what only looks like one."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from reportlab.lib import colors
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table

from retrieval.readers import Extraction, locate, read
from retrieval.tables.grid import tables_of

BODY = getSampleStyleSheet()["BodyText"]
THIN = (0.5, colors.black)
GRID = [("GRID", (0, 0), (-1, -1), *THIN)]
PIERS = [["Pier", "Depth", "Opened"], ["North", "4 m", "1902"], ["South", "6 m", "1911"], ["East", "", "1950"]]
PIERS_TEXT = (
    "Pier | Depth | Opened\n"
    "Pier: North; Depth: 4 m; Opened: 1902\n"
    "Pier: South; Depth: 6 m; Opened: 1911\n"
    "Pier: East; Opened: 1950"
)


def built(file: Path, *story: Flowable) -> Extraction:
    SimpleDocTemplate(str(file)).build(list(story))
    return read(file)


def drawn(file: Path, rows: Sequence[Sequence[str]], lefts: Sequence[float], step: float = 14) -> Extraction:
    """The texts of each row at these places."""
    canvas = Canvas(str(file))
    canvas.setFont("Helvetica", 10)
    for number, row in enumerate(rows):
        for left, text in zip(lefts, row, strict=True):
            canvas.drawString(left, 700 - step * number, text)
    canvas.save()
    return read(file)


LOOKS = {
    "plain": [],
    "grid": GRID,
    "lines between columns only": [
        ("BOX", (0, 0), (-1, -1), *THIN),
        ("LINEBELOW", (0, 0), (-1, 0), *THIN),
        ("LINEAFTER", (0, 0), (1, -1), *THIN),
    ],
    "three lines across": [
        ("LINEABOVE", (0, 0), (-1, 0), *THIN),
        ("LINEBELOW", (0, 0), (-1, 0), *THIN),
        ("LINEBELOW", (0, -1), (-1, -1), *THIN),
    ],
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_table_has_its_rows_and_cells_whatever_is_drawn_around_them(tmp_path: Path, look: str) -> None:
    found = built(tmp_path / "a.pdf", Paragraph("Of the piers.", BODY), Table(PIERS, colWidths=70, style=LOOKS[look]))
    assert found.text == f"Of the piers.\n\n{PIERS_TEXT}"
    assert [(table.cells, [column.kind for column in table.columns]) for table in tables_of(found)] == [
        ("A1:C4", ["text", "number", "number"])
    ]


def test_a_cell_is_cited_by_page_and_caption_and_place(tmp_path: Path) -> None:
    found = built(tmp_path / "a.pdf", Paragraph("Table 3: Our piers", BODY), Table(PIERS, colWidths=70))
    start = found.text.index("1911")
    page, place = locate(found.spans, start, start + 4)
    assert (page, place.sheet, place.cells) == (1, "Table 3: Our piers", "C3")


def test_in_a_ruled_table_the_lines_of_a_cell_belong_together(tmp_path: Path) -> None:
    long = Paragraph("orange, with a white band around its middle part, and a lamp on top", BODY)
    rows = [["Item", "Colour", "Price"], ["Buoy", long, "38.00"], ["Rope", "brown", "4.20"]]
    found = built(
        tmp_path / "a.pdf", Table(rows, colWidths=[60, 120, 60], style=GRID), Paragraph("All in euros.", BODY)
    )
    assert found.text.split("\n") == [
        "Item | Colour | Price",
        f"Item: Buoy; Colour: {long.text}; Price: 38.00",
        "Item: Rope; Colour: brown; Price: 4.20",
        "",
        "All in euros.",
    ]


def test_merged_cells_stand_where_they_begin(tmp_path: Path) -> None:
    rows = [["Region", "Town", "Souls"], ["North", "Aby", "120"], ["", "Bro", "75"], ["Sum", "", "195"]]
    style = [*GRID, ("SPAN", (0, 1), (0, 2)), ("SPAN", (0, 3), (1, 3))]
    found = built(tmp_path / "a.pdf", Table(rows, colWidths=60, style=style))
    # A cell over several rows is as high as they are, so that its text may come later than theirs.
    assert "Region: North; Town: Aby; Souls: 120\nTown: Bro; Souls: 75\nRegion: Sum; Souls: 195" in found.text


def test_without_rules_a_cell_goes_on_below_and_a_narrow_gap_parts_cells_that_are_flush(tmp_path: Path) -> None:
    rows = [
        ("Item", "Colour", "Price"),
        ("Buoy", "orange with", "38.00"),
        ("", "a band", ""),
        ("A longer rope", "brown", "4.20"),
        ("Lamp", "", "19.50"),
    ]
    assert drawn(tmp_path / "a.pdf", rows, (72, 138, 300)).text.split("\n") == [
        "Item | Colour | Price",
        "Item: Buoy; Colour: orange with a band; Price: 38.00",
        "Item: A longer rope; Colour: brown; Price: 4.20",
        "Item: Lamp; Price: 19.50",
    ]


def test_words_side_by_side_without_a_value_have_no_header(tmp_path: Path) -> None:
    found = drawn(tmp_path / "a.pdf", [("oak", "ash"), ("elm", "yew"), ("fir", "box")], (72, 200))
    assert found.text == "oak | ash\nelm | yew\nfir | box"


PROSE = "The ferry crosses the sound four times a day and carries no more than ninety passengers in all"


@pytest.mark.parametrize(
    ("rows", "lefts"),
    [
        ([(PROSE[n : n + 46], PROSE[n + 20 : n + 66]) for n in range(0, 30, 6)], (60, 320)),
        ([("1", f"See {PROSE}."), ("2", "Ibid."), ("3", "The log of 1902.")], (72, 110)),
        ([("•", "One point."), ("•", "Another."), ("•", "A third.")], (72, 110)),
        ([("Name:", "Anna Holm"), ("Born:", "1990"), ("Town:", "Aby")], (72, 150)),
        ([("Harbour office", "Page 3"), ("Open from", "8 to 12")], (72, 300)),
    ],
    ids=["columns of prose", "footnotes", "a list", "labels", "two lines"],
)
def test_what_only_stands_side_by_side_is_no_table(
    tmp_path: Path, rows: Sequence[Sequence[str]], lefts: Sequence[float]
) -> None:
    found = drawn(tmp_path / "a.pdf", rows, lefts)
    assert {span.kind for span in found.spans} <= {"text", "list"}
    assert found.text.split() == " ".join(text for row in rows for text in row).split()


def test_a_frame_around_prose_and_the_lines_of_a_chart_are_no_tables(tmp_path: Path) -> None:
    prose = [[Paragraph(PROSE * 6, BODY), Paragraph(PROSE * 6, BODY)] for _ in range(2)]
    framed = built(tmp_path / "a.pdf", Table(prose, colWidths=200, style=GRID))
    chart = built(tmp_path / "b.pdf", Table([[""] * 5] * 3 + [["", "", "Sales", "", ""]], style=GRID), Spacer(1, 9))
    assert {span.kind for span in (*framed.spans, *chart.spans)} == {"text"}


def test_a_long_page_of_labels_is_read_line_by_line(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"), pagesize=(600, 14_000))
    for number in range(1000):
        canvas.drawString(72, 13_990 - 14 * number, f"Name{number}:")
        canvas.drawString(200, 13_990 - 14 * number, f"Anna{number}")
    canvas.save()
    began = time.monotonic()
    assert read(tmp_path / "a.pdf").text.splitlines()[999] == "Name999: Anna999"
    assert time.monotonic() - began < 5  # each row tried as the first of a table took 20 s


def test_a_drawing_with_many_lines_and_words_is_read_at_once(tmp_path: Path) -> None:
    canvas, rng = Canvas(str(tmp_path / "a.pdf"), pagesize=(5000, 5000)), random.Random(1)
    for _ in range(900):
        x, y, length = rng.uniform(20, 3000), rng.uniform(20, 3000), rng.uniform(100, 2000)
        canvas.line(x, y, x + length, y)
        canvas.line(y, x, y, x + length)
    for number in range(1000):
        canvas.drawString(rng.uniform(20, 5000), rng.uniform(20, 5000), f"w{number}")
    canvas.save()
    began = time.monotonic()
    assert set(read(tmp_path / "a.pdf").text.split()) >= {f"w{number}" for number in range(1000)}
    assert time.monotonic() - began < 5  # each line looked at for each word and column took 9 s
