"""Office formats: what a file was given comes back at its cells, slides and sections."""

import zipfile
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

import openpyxl
import pytest

from retrieval.errors import UnreadableDocument
from retrieval.readers import Extraction, Span, locate, read

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def span_of(extraction: Extraction, words: str) -> Span:
    """The span that holds these words; they must stand in exactly one."""
    holding = [span for span in extraction.spans if words in extraction.text[span.start : span.end]]
    assert len(holding) == 1, (words, extraction.text)
    return holding[0]


def text_of(extraction: Extraction, span: Span) -> str:
    return extraction.text[span.start : span.end]


def check_order(extraction: Extraction) -> None:
    at = 0
    for span in extraction.spans:
        assert at <= span.start < span.end <= len(extraction.text)
        assert not extraction.text[at : span.start].strip(" \n;|"), "only separators stand between spans"
        at = span.end
    assert at == len(extraction.text)


# --- DOCX


def make_docx(path: Path) -> None:
    import docx

    document = docx.Document()
    document.core_properties.title = "Harbour rules"
    document.core_properties.author = "A. Pilot"
    document.add_heading("Harbour", 1)
    document.add_paragraph("Café tables stand on the quay. 🛥 moor here.")
    document.add_heading("Fees", 2)
    document.add_paragraph("Pay at the office.", style="List Bullet")
    table = document.add_table(rows=3, cols=2)
    for row, values in enumerate([("Berth", "Fee"), ("North", "12 EUR"), ("South", "9 EUR")]):
        for column, value in enumerate(values):
            table.cell(row, column).text = value
    document.add_heading("Opening", 1)
    document.add_paragraph("Open from May.")
    document.save(str(path))


def test_docx_gives_sections_lists_and_tables_row_by_row(tmp_path: Path) -> None:
    make_docx(tmp_path / "a.docx")
    found = read(tmp_path / "a.docx")
    check_order(found)
    assert (found.title, found.metadata["author"]) == ("Harbour rules", "A. Pilot")
    assert text_of(found, span_of(found, "Café")) == "Café tables stand on the quay. 🛥 moor here."
    assert span_of(found, "Café").locator.section == "Harbour"
    assert span_of(found, "Pay at").locator.section == "Harbour › Fees"
    assert text_of(found, span_of(found, "Pay at")) == "- Pay at the office."
    assert "Berth: North; Fee: 12 EUR" in found.text.split("\n")
    assert text_of(found, span_of(found, "Fee: 12 EUR")) == "Fee: 12 EUR"
    assert span_of(found, "Fee: 12 EUR").locator.cells == "B2"
    assert span_of(found, "North").kind == "table"
    assert span_of(found, "Open from").locator.section == "Opening"


def docx_with_body(path: Path, body: str, **parts: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>')
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", content)
        relations = "".join(f'<Relationship Id="{name}" Type="x/{name}" Target="{name}.xml"/>' for name in parts)
        dangling = '<Relationship Id="gone" Type="x/image" Target="#gone"/>'
        archive.writestr("word/_rels/document.xml.rels", f"<Relationships>{relations}{dangling}</Relationships>")


def test_docx_takes_insertions_footnotes_and_content_controls_but_no_deletions(tmp_path: Path) -> None:
    body = (
        "<w:p><w:r><w:t>The toll is </w:t></w:r><w:del><w:r><w:delText>three</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>four</w:t></w:r></w:ins><w:r><w:t> coins.</w:t></w:r></w:p>"
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>Inside a control.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    notes = (
        f'<w:footnotes xmlns:w="{_W}"><w:footnote w:id="0" w:type="separator"><w:p/></w:footnote>'
        '<w:footnote w:id="2"><w:p><w:r><w:t>Since 1902.</w:t></w:r></w:p></w:footnote></w:footnotes>'
    )
    docx_with_body(tmp_path / "a.docx", body, footnotes=notes)
    found = read(tmp_path / "a.docx")
    assert found.text == "The toll is four coins.\n\nInside a control.\n\n[2] Since 1902."
    assert span_of(found, "1902").locator.section == "Footnotes"


# --- PPTX


def test_pptx_gives_slides_titles_tables_and_notes(tmp_path: Path) -> None:
    import pptx
    from pptx.util import Inches

    presentation = pptx.Presentation()
    for title, words, notes in (("Plan", "Build a pier.\nPaint it.", "Say it slowly."), ("Cost", "See the table.", "")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = words
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    table = presentation.slides[1].shapes.add_table(2, 2, Inches(1), Inches(1), Inches(4), Inches(2)).table
    for row, values in enumerate([("Item", "Price"), ("Planks", "400")]):
        for column, value in enumerate(values):
            table.cell(row, column).text = value
    presentation.save(str(tmp_path / "a.pptx"))

    found = read(tmp_path / "a.pptx")
    check_order(found)
    assert found.title == "Plan"
    pier = span_of(found, "Build a pier.")
    assert (pier.locator.slide, pier.locator.section) == (1, "Plan")
    assert text_of(found, span_of(found, "slowly")) == "Notes: Say it slowly."
    assert span_of(found, "slowly").locator.slide == 1
    planks = span_of(found, "Planks")
    assert (planks.locator.slide, planks.locator.section) == (2, "Cost")
    assert "Item: Planks; Price: 400" in found.text.split("\n")
    assert text_of(found, span_of(found, "Price: 400")) == "Price: 400"
    assert span_of(found, "Price: 400").locator.cells == "B2"


# --- XLSX


def test_xlsx_gives_every_value_its_cell_and_header(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Boats"
    sheet.append(["Name", "Length", "Built", "Load"])
    sheet.append(["Ada", 12.5, date(1987, 4, 1), 0.1 + 0.2])
    sheet.append(["Bée", 9, None, 0.375])
    sheet["D3"].number_format = "0.0%"
    other = book.create_sheet("Fees & dues")
    other["B3"], other["C3"] = "Berth", "Fee"
    other["B4"], other["C4"] = "North", 12
    book.save(tmp_path / "a.xlsx")

    found = read(tmp_path / "a.xlsx")
    check_order(found)
    assert "Name: Ada; Length: 12.5; Built: 1987-04-01; Load: 0.3\nName: Bée; Length: 9; Load: 37.5%" in found.text
    for words, place, cell in (
        ("Length: 12.5", "Boats", "B2"),
        ("Bée", "Boats", "A3"),
        ("37.5%", "Boats", "D3"),
        ("Fee: 12", "Fees & dues", "C4"),
    ):
        locator = span_of(found, words).locator
        assert (locator.sheet, locator.cells) == (place, cell)


def test_a_range_over_several_cells_is_located_as_their_box(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["Name", "Length", "Fee"], ["Ada", 12, 5], ["Bo", 9, 4]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    found = read(tmp_path / "a.xlsx")

    def cells(start: str, end: str) -> str | None:
        return locate(found.spans, found.text.index(start), found.text.index(end) + len(end))[1].cells

    assert cells("Length: 12", "Fee: 5") == "B2:C2"
    assert cells("Name: Ada", "Length: 9") == "A2:C3"
    assert cells("12", "12") == "B2"


def test_years_as_headers_and_notes_above_a_table_do_not_hide_its_header(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["Takings, in thousands"], ["Quay", "2023", "2024"], ["North", 14, 15]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert "Quay: North; 2023: 14; 2024: 15" in read(tmp_path / "a.xlsx").text


def test_tables_side_by_side_have_their_own_headers(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (
        ["Boat", "Length", None, None, None],
        ["Ada", 12, None, "Quay", "Takings"],
        ["Bo", 9, None, "North", 14],
    ):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    found = read(tmp_path / "a.xlsx")
    assert "Boat: Bo; Length: 9; Quay: North; Takings: 14" in found.text
    assert span_of(found, "Takings: 14").locator.cells == "E3"


def test_a_formula_shows_its_value_or_itself_where_none_was_computed(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Sum", "=1+2"])
    book.save(tmp_path / "a.xlsx")
    assert "=1+2" in read(tmp_path / "a.xlsx").text
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            data = (
                old.read(name)
                .replace(b"<v></v>", b"<v>3</v>")
                .replace(b"<v />", b"<v>3</v>")
                .replace(b"<v/>", b"<v>3</v>")
            )
            new.writestr(name, data)
    found = read(tmp_path / "b.xlsx")
    assert "Sum | 3" in found.text
    assert "=1+2" not in found.text


def test_a_file_without_properties_is_given_none(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["Words", "here"])
    book.save(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as new:
        for name in old.namelist():
            if name != "docProps/core.xml":
                new.writestr(name, old.read(name))
    assert read(tmp_path / "b.xlsx").metadata == {}


def test_a_sheet_without_values_is_empty(tmp_path: Path) -> None:
    openpyxl.Workbook().save(tmp_path / "a.xlsx")
    with pytest.raises(UnreadableDocument, match="holds no text"):
        read(tmp_path / "a.xlsx")


# --- ODT, ODS


def odf(path: Path, body: str, *, manifest: str = "") -> None:
    names = "".join(
        f' xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"'
        for short, long in {"office": "office", "text": "text", "table": "table", "draw": "drawing"}.items()
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "mimetype", f"application/vnd.oasis.opendocument.{'text' if path.suffix == '.odt' else 'spreadsheet'}"
        )
        archive.writestr(
            "content.xml",
            f"<office:document-content{names}><office:body>{body}</office:body></office:document-content>",
        )
        if manifest:
            archive.writestr("META-INF/manifest.xml", manifest)


def test_odt_gives_sections_lists_tables_and_keeps_marked_spaces(tmp_path: Path) -> None:
    odf(
        tmp_path / "a.odt",
        "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="1">Wharf</text:h><text:p>Two<text:s text:c="2"/>spaces,\n  one '
        "<text:span>bold</text:span> word."
        "</text:p><text:h text:outline-level='2'>Rules</text:h><text:list><text:list-item>"
        "<text:p>No fires.</text:p></text:list-item>"
        "</text:list><table:table><table:table-row><table:table-cell><text:p>Pier</text:p></table:table-cell><table:table-cell>"
        "<text:p>Depth</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell><text:p>East</text:p>"
        "</table:table-cell><table:table-cell><text:p>4 m</text:p></table:table-cell></table:table-row>"
        "</table:table></office:text>",
    )
    found = read(tmp_path / "a.odt")
    check_order(found)
    assert "deleted" not in found.text
    assert text_of(found, span_of(found, "Two")) == "Two  spaces, one bold word."
    assert span_of(found, "No fires").locator.section == "Wharf › Rules"
    assert "Pier: East; Depth: 4 m" in found.text.split("\n")
    assert text_of(found, span_of(found, "Depth: 4 m")) == "Depth: 4 m"
    assert span_of(found, "Depth: 4 m").locator.cells == "B2"


def test_ods_gives_cells_past_repeated_empty_ones(tmp_path: Path) -> None:
    def cell(text: str) -> str:
        return f"<table:table-cell><text:p>{escape(text)}</text:p></table:table-cell>"

    odf(
        tmp_path / "a.ods",
        '<office:spreadsheet><table:table table:name="Tide">'
        '<table:table-row table:number-rows-repeated="3"><table:table-cell/>'
        f'</table:table-row><table:table-row><table:table-cell table:number-columns-repeated="2"/>{cell("high & low")}'
        '</table:table-row><table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row>'
        "</table:table>"
        "</office:spreadsheet>",
    )
    locator = span_of(read(tmp_path / "a.ods"), "high & low").locator
    assert (locator.sheet, locator.cells) == ("Tide", "C4")


def test_an_encrypted_odt_is_refused(tmp_path: Path) -> None:
    manifest = (
        '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:file-entry><m:encryption-data/>'
        "</m:file-entry></m:manifest>"
    )
    odf(tmp_path / "a.odt", "", manifest=manifest)
    with pytest.raises(UnreadableDocument, match="encrypted"):
        read(tmp_path / "a.odt")


# --- containers that are broken or dangerous


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "odt", "epub"])
def test_broken_containers_are_refused_with_the_file_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    for content in (b"not a zip", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(UnreadableDocument, match=f"a.{suffix}: it is broken or cut short"):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "no document in here")
    with pytest.raises(UnreadableDocument, match=f"a.{suffix}"):
        read(path)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_truncated_docx_is_refused(tmp_path: Path, keep: float) -> None:
    make_docx(tmp_path / "a.docx")
    data = (tmp_path / "a.docx").read_bytes()
    (tmp_path / "a.docx").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UnreadableDocument, match="broken"):
        read(tmp_path / "a.docx")


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    make_docx(tmp_path / "a.docx")
    with zipfile.ZipFile(tmp_path / "a.docx") as archive:
        at = archive.getinfo("word/document.xml").header_offset + 200
    data = bytearray((tmp_path / "a.docx").read_bytes())
    data[at : at + 60] = bytes(60)
    (tmp_path / "a.docx").write_bytes(data)
    with pytest.raises(UnreadableDocument, match=r"document\.xml.*damaged"):
        read(tmp_path / "a.docx")


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx"])
def test_an_encrypted_office_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))
    with pytest.raises(UnreadableDocument, match="encrypted"):
        read(tmp_path / f"a.{suffix}")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 30_000_000)
    with pytest.raises(UnreadableDocument, match="unpacks to 28 MiB"):
        read(tmp_path / "a.docx")


def test_xml_entities_are_not_expanded(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("word/document.xml", f'{laughs}<w:document xmlns:w="{_W}"/>')
    with pytest.raises(UnreadableDocument, match="entities"):
        read(tmp_path / "a.docx")
    odf(tmp_path / "a.odt", "")
    with zipfile.ZipFile(tmp_path / "a.odt") as archive:
        content = archive.read("content.xml").decode()
    with zipfile.ZipFile(tmp_path / "b.odt", "w") as archive:
        body = "<office:text><text:p>Safe &b;&f;words</text:p></office:text>"
        archive.writestr("content.xml", laughs + content.replace("</office:body>", body + "</office:body>"))
    text = read(tmp_path / "b.odt").text
    assert "ha" not in text
    assert "root" not in text
    assert "words" in text
