"""PDF: pages, paragraphs, headings, and what cannot be read."""

import re
from pathlib import Path

import pytest
from reportlab.lib import colors
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

from retrieval.errors import UnreadableDocument
from retrieval.readers import Extraction, locate, read

_LONG = (
    "The ferry crosses the sound four times a day between the old quay and the lighthouse island, and carries no more "
    "than ninety passengers. In winter it sails twice. Dogs travel free of charge when they are kept on a short lead."
)
_SECOND = (
    "Tickets are sold on board, never at the quay, and are valid for one return within seven days of the crossing."
)


def page_of(extraction: Extraction, words: str) -> int | None:
    start = extraction.text.index(words)
    return locate(extraction.spans, start, start + len(words))[0]


def make_pdf(path: Path) -> None:
    styles = getSampleStyleSheet()
    story = [
        Paragraph("Ferry handbook", styles["Heading1"]),
        Paragraph(_LONG, styles["BodyText"]),
        Paragraph(_SECOND, styles["BodyText"]),
        PageBreak(),
        Paragraph("Winter service", styles["Heading2"]),
        Paragraph("The boat is painted in February. " * 6, styles["BodyText"]),
        Spacer(1, 20),
        Table([["Pier", "Depth", "Opened"], ["North", "4 m", "1902"], ["Sør Ålesund", "6 m", "1911"]], colWidths=150),
    ]
    SimpleDocTemplate(str(path), title="Handbook", author="A. Pilot").build(story)


def test_lines_of_a_paragraph_are_joined_and_paragraphs_kept_apart(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a.pdf")
    found = read(tmp_path / "a.pdf")
    assert found.text.startswith(f"Ferry handbook\n\n{_LONG}\n\n{_SECOND}\n\nWinter service\n\nThe boat")
    assert (found.pages, found.title, found.metadata["author"]) == (2, "Handbook", "A. Pilot")


def test_pages_and_headings_reach_the_spans(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a.pdf")
    found = read(tmp_path / "a.pdf")
    assert page_of(found, "no more than ninety passengers") == 1
    assert page_of(found, "painted in February") == 2
    assert page_of(found, "Pier: Sør Ålesund") == 2
    headings = [found.text[span.start : span.end] for span in found.spans if span.kind == "heading"]
    assert headings == ["Ferry handbook", "Winter service"]
    start = found.text.index("painted")
    assert locate(found.spans, start, start + 7)[1].section == "Ferry handbook › Winter service"


def test_bullets_begin_lines_and_their_continuations_do_not(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"))
    lines = [
        "• The first point is long enough to run over the whole of its line",
        "and ends here.",
        "• The second point.",
    ]
    for index, line in enumerate(lines):
        canvas.drawString(72 if line.startswith("•") else 80, 700 - 14 * index, line)
    canvas.save()
    assert read(tmp_path / "a.pdf").text == f"{lines[0]} {lines[1]}\n{lines[2]}"


def test_no_word_of_pdfiums_own_plain_text_is_lost(tmp_path: Path) -> None:
    import pypdfium2

    make_pdf(tmp_path / "a.pdf")
    document = pypdfium2.PdfDocument(tmp_path / "a.pdf")
    plain = " ".join(document[index].get_textpage().get_text_range() for index in range(len(document)))
    document.close()
    text = read(tmp_path / "a.pdf").text
    labels = r"(Pier|Depth|Opened): |[;|]"  # what names the columns in each row of the table
    assert re.sub(labels, " ", text).split() == plain.split()


def test_words_broken_at_a_line_end_are_joined(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.drawString(72, 700, "The timetable of the boat is printed on yellow paper and dis-")
    canvas.drawString(72, 686, "tributed to all the houses along the sound before the season.")
    canvas.save()
    assert "paper and distributed to all" in read(tmp_path / "a.pdf").text


def test_bookmarks_are_the_sections_where_there_are_any(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"))
    for level, title in ((0, "Part one"), (1, "Chapter two"), (0, "Unseen")):
        canvas.bookmarkPage(title)
        canvas.addOutlineEntry(title, title, level)
        canvas.drawString(72, 700, title if title != "Unseen" else "A page whose title is a picture")
        canvas.drawString(72, 640, f"Words of {title}.")
        canvas.showPage()
    canvas.save()
    found = read(tmp_path / "a.pdf")
    sections = {found.text[span.start : span.end]: (span.page, span.locator.section) for span in found.spans}
    assert sections["Words of Part one."] == (1, "Part one")
    assert sections["Words of Chapter two."] == (2, "Part one › Chapter two")
    assert sections["Words of Unseen."] == (3, "Unseen")


def test_an_empty_page_keeps_the_numbers_of_those_after_it(tmp_path: Path) -> None:
    canvas = Canvas(str(tmp_path / "a.pdf"))
    for words in ("First.", "", "Third."):
        canvas.drawString(72, 700, words)
        canvas.showPage()
    canvas.save()
    found = read(tmp_path / "a.pdf")
    assert found.pages == 3
    assert [(span.page, found.text[span.start : span.end]) for span in found.spans] == [(1, "First."), (3, "Third.")]


def test_an_encrypted_pdf_is_refused_and_one_that_needs_no_password_read(tmp_path: Path) -> None:
    for name, password in (("locked", "secret"), ("open", "")):
        canvas = Canvas(
            str(tmp_path / f"{name}.pdf"), encrypt=StandardEncryption(password, ownerPassword="owner", canPrint=0)
        )
        canvas.drawString(72, 700, "Words.")
        canvas.save()
    with pytest.raises(UnreadableDocument, match=r"locked\.pdf: it is encrypted with a password"):
        read(tmp_path / "locked.pdf")
    assert read(tmp_path / "open.pdf").text == "Words."


def test_a_scan_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.setFillColor(colors.black)
    canvas.rect(100, 100, 200, 200, fill=1)
    canvas.save()
    with pytest.raises(UnreadableDocument, match=r"a\.pdf: it is a picture.*tesseract.*Install it"):
        read(tmp_path / "a.pdf")


def test_broken_and_empty_pdfs_are_refused(tmp_path: Path) -> None:
    make_pdf(tmp_path / "whole.pdf")
    data = (tmp_path / "whole.pdf").read_bytes()
    for name, content in (("junk", b"not a pdf"), ("header", data[:100]), ("head", b"%PDF-1.4\n%%EOF")):
        (tmp_path / f"{name}.pdf").write_bytes(content)
        with pytest.raises(UnreadableDocument, match=f"{name}.pdf"):
            read(tmp_path / f"{name}.pdf")
    (tmp_path / "empty.pdf").touch()
    with pytest.raises(UnreadableDocument, match="is empty"):
        read(tmp_path / "empty.pdf")
