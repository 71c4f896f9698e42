"""Builds the binary documents of the sample library in data/sample/tarnwick from the sources beside this file.

    python tests/data/build_sample.py

The sources are Markdown in a small subset: `#`, `##`, `###` headings, paragraphs, and `---` for a page break. The text
formats of the library (Markdown, HTML, mail, CSV) have no source but themselves.
"""

from datetime import datetime
from pathlib import Path

SOURCES = Path(__file__).parent / "sample_sources"
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "tarnwick"
WRITTEN = datetime(2026, 1, 15)

PDF = ("annual-report-2025", "harbour-byelaws", "boatyard-lease")
DOCX = ("lighthouse-survey", "minutes-2025-09-17")

SUMMER = [
    ("Departs Tarnwick", "Arrives Stag Island", "Departs Stag Island", "Arrives Tarnwick", "Days", "Vessel"),
    ("06:40", "07:15", "07:25", "08:00", "Monday to Friday", "Sandpiper"),
    ("08:30", "09:05", "09:20", "09:55", "daily", "Sandpiper"),
    ("10:15", "10:50", "11:10", "11:45", "daily", "Sandpiper"),
    ("12:30", "13:05", "13:30", "14:05", "daily", "Sandpiper"),
    ("14:45", "15:20", "15:40", "16:15", "daily", "Sandpiper"),
    ("16:45", "17:20", "17:35", "18:10", "daily", "Sandpiper"),
    ("18:40", "19:15", "19:25", "20:00", "daily", "Sandpiper"),
    ("21:15", "21:50", "22:00", "22:35", "Fridays", "Dunlin"),
]
WINTER = [
    ("Departs Tarnwick", "Arrives Stag Island", "Departs Stag Island", "Arrives Tarnwick", "Days", "Vessel"),
    ("07:10", "07:45", "07:55", "08:30", "Monday to Friday", "Sandpiper"),
    ("09:40", "10:15", "10:30", "11:05", "daily", "Sandpiper"),
    ("13:15", "13:50", "14:10", "14:45", "daily", "Sandpiper"),
    ("16:05", "16:40", "16:50", "17:25", "daily except Sunday", "Dunlin"),
]
FARES = [
    ("Ticket", "Single GBP", "Return GBP", "Remarks"),
    ("Adult", 8.50, 14.50, "valid for the day of issue"),
    ("Child 5 to 15", 4.00, 7.00, "under five free"),
    ("Student or over 65", 6.50, 11.00, "with card"),
    ("Bicycle", 3.00, 5.00, "twelve places, Sandpiper only"),
    ("Family, two adults and three children", 22.00, 37.50, "return only at weekends"),
    ("Ten crossings", None, 68.00, "transferable"),
    ("Freight, per 100 kg", 5.20, None, "to be on the quay 40 minutes before"),
    ("Islander", 0, 0, "free since 1934"),
]


def blocks(source: str) -> list[tuple[str, str]]:
    """(style, text) pairs: `h1`, `h2`, `h3`, `p`, `break`."""
    result: list[tuple[str, str]] = []
    for line in (SOURCES / f"{source}.md").read_text(encoding="utf-8").splitlines():
        if line == "---":
            result.append(("break", ""))
        elif line.startswith("#"):
            marks, _, text = line.partition(" ")
            result.append((f"h{len(marks)}", text))
        elif line.strip():
            result.append(("p", line))
    return result


def build_pdf(source: str) -> None:
    from reportlab.lib.pagesizes import A5
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer

    sheet = getSampleStyleSheet()
    styles = {"h1": sheet["Title"], "h2": sheet["Heading2"], "h3": sheet["Heading3"], "p": sheet["BodyText"]}
    story: list[object] = []
    content = blocks(source)
    for style, text in content:
        if style == "break":
            story.append(PageBreak())
        else:
            story += [Paragraph(text, styles[style]), Spacer(1, 4)]
    document = SimpleDocTemplate(
        str(SAMPLE / f"{source}.pdf"), pagesize=A5, title=content[0][1], author="Tarnwick Harbour Trust", invariant=1
    )
    document.build(story)


def build_docx(source: str) -> None:
    from docx import Document

    document = Document()
    content = blocks(source)
    for style, text in content:
        if style == "p":
            document.add_paragraph(text)
        else:
            document.add_heading(text, level=int(style[1]) - 1)
    properties = document.core_properties
    properties.title, properties.author = content[0][1], "Tarnwick Harbour Trust"
    properties.created = properties.modified = WRITTEN
    document.save(str(SAMPLE / f"{source}.docx"))


def build_xlsx() -> None:
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    book.properties.title, book.properties.creator = "Ferry timetable and fares 2026", "Tarnwick Harbour Trust"
    book.remove(book.active)
    for name, rows in (("Summer", SUMMER), ("Winter", WINTER), ("Fares", FARES)):
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for column in sheet.columns:
            width = max(len(str(cell.value or "")) for cell in column)
            sheet.column_dimensions[column[0].column_letter].width = width + 2
    book.save(SAMPLE / "ferry-timetable-2026.xlsx")


def main() -> None:
    SAMPLE.mkdir(parents=True, exist_ok=True)
    for source in PDF:
        build_pdf(source)
    for source in DOCX:
        build_docx(source)
    build_xlsx()


if __name__ == "__main__":
    main()
