"""OpenDocument text, sheets and slides: headings as sections, lists, tables, notes; tracked deletions left out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import UnreadableDocument
from retrieval.readers.archive import open_archive, parse_xml, part
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.tables import Row, add_grid, add_plain_table

_NS = "urn:oasis:names:tc:opendocument:xmlns:"
_TEXT, _TABLE, _OFFICE, _DRAW = (f"{{{_NS}{name}:1.0}}" for name in ("text", "table", "office", "drawing"))
_META = f"{{{_NS}meta:1.0}}"
_PRESENTATION = f"{{{_NS}presentation:1.0}}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_MANIFEST = f"{{{_NS}manifest:1.0}}"
_MAX_REPEAT = 1000
"""Sheets pad their used range with a repeat count of up to a million empty cells."""
_MAX_REPEATED = 100_000
"""Filled cells of one sheet that may stand there by a repeat count alone: a file of 1 kB can ask for any number."""


def read_odf(path: Path) -> Extraction:
    """Raises UnreadableDocument when it is broken or encrypted."""
    with open_archive(path) as archive:
        names = archive.namelist()
        if "META-INF/manifest.xml" in names:
            manifest = parse_xml(part(archive, "META-INF/manifest.xml"), recover=True)
            if manifest.find(f".//{_MANIFEST}encryption-data") is not None:
                raise UnreadableDocument("It is encrypted with a password.", "Save a copy without one.")
        content = parse_xml(part(archive, "content.xml"))
        metadata = parse_xml(part(archive, "meta.xml")) if "meta.xml" in names else None
        kind = part(archive, "mimetype").decode("ascii", "replace").strip() if "mimetype" in names else ""
    builder = Builder()
    title = ""
    if metadata is not None:
        title = metadata.findtext(f".//{_DC}title") or ""
        builder.metadata = {
            "author": metadata.findtext(f".//{_META}initial-creator") or metadata.findtext(f".//{_DC}creator") or "",
            "subject": metadata.findtext(f".//{_DC}subject") or "",
            "modified": metadata.findtext(f".//{_DC}date") or "",
        }
    body = content.find(f"{_OFFICE}body")
    for root in body if body is not None else ():
        if root.tag == f"{_OFFICE}spreadsheet":
            title = title or path.stem  # the first sheet's name says little
            _add_sheets(builder, root)
        elif root.tag == f"{_OFFICE}presentation":
            _add_slides(builder, root)
        else:
            _add_blocks(builder, root)
    return builder.build(kind or "application/vnd.oasis.opendocument.text", title=title)


def _add_blocks(builder: Builder, parent: Any, *, in_list: bool = False) -> None:
    for node in parent:
        tag = node.tag
        if tag == f"{_TEXT}h":
            level = node.get(f"{_TEXT}outline-level", "1")
            if text := _string(node):
                builder.heading(int(level) if level.isdigit() else 1, text)
        elif tag == f"{_TEXT}p":
            text = _string(node)
            if node.get(f"{_TEXT}style-name") == "Title":
                builder.title = builder.title or text
                builder.add(text, "heading")
            elif in_list:
                builder.add(f"- {text}" if text else "", "list", separator="\n")
            else:
                builder.add(text)
            for note in node.iter(f"{_TEXT}note-body"):
                builder.add(" ".join(_string(paragraph) for paragraph in note.iter(f"{_TEXT}p")), "note")
            for box in node.iter(f"{_DRAW}text-box"):
                _add_blocks(builder, box)
        elif tag == f"{_TEXT}list":
            for item in node:
                # A numbered heading is written as a list item that holds a heading.
                _add_blocks(builder, item, in_list=True)
        elif tag == f"{_TABLE}table":
            add_plain_table(builder, [cells for _, cells in _rows(node)])
        elif tag not in (f"{_TEXT}tracked-changes", f"{_OFFICE}forms", f"{_TEXT}sequence-decls", f"{_OFFICE}scripts"):
            _add_blocks(builder, node, in_list=in_list)


def _add_sheets(builder: Builder, root: Any) -> None:
    for table in root.iterchildren(f"{_TABLE}table"):
        builder.sheet = table.get(f"{_TABLE}name")
        rows = list(_rows(table))
        if any(any(cells) for _, cells in rows):
            builder.add(builder.sheet or "", "heading")
            add_grid(builder, rows)


def _add_slides(builder: Builder, root: Any) -> None:
    for number, page in enumerate(root.iterchildren(f"{_DRAW}page"), 1):
        builder.slide = number
        builder.enter(1, "")
        for frame in page:
            if frame.tag == f"{_PRESENTATION}notes":
                notes = "\n".join(text for node in frame.iter(f"{_TEXT}p") if (text := _string(node)))
                builder.add(f"Notes: {notes}" if notes else "", "note")
            elif frame.get(f"{_PRESENTATION}class") == "title":
                if text := " ".join(_string(node) for node in frame.iter(f"{_TEXT}p")).strip():
                    builder.heading(1, text)
            else:
                _add_blocks(builder, [frame])


def _rows(table: Any) -> Iterator[Row]:
    number, repeated = 1, 0
    for row in table.iter(f"{_TABLE}table-row"):
        if next(row.iterancestors(f"{_TABLE}table")) is not table:
            continue
        cells: list[str] = []
        for cell in row:
            if cell.tag not in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
                continue
            text = " ".join(value for node in cell.iter(f"{_TEXT}p") if (value := _string(node)))
            cells.extend([text] * min(_count(cell, "number-columns-repeated"), _MAX_REPEAT))
        while cells and not cells[-1]:
            cells.pop()
        repeat = _count(row, "number-rows-repeated")
        kept = min(repeat, _MAX_REPEAT) if cells else 0
        repeated += max(kept - 1, 0) * len(cells)
        if repeated > _MAX_REPEATED:
            raise UnreadableDocument(f"A sheet repeats more than {_MAX_REPEATED:,} filled cells.")
        for offset in range(kept):
            yield number + offset, cells
        number += repeat


def _count(node: Any, name: str) -> int:
    value = node.get(f"{_TABLE}{name}", "1")
    return int(value) if value.isdigit() else 1


def _string(node: Any) -> str:
    return "".join(_strings(node)).strip()


def _strings(node: Any) -> Iterator[str]:
    """Text of a paragraph; white space collapses unless it has an element of its own."""
    yield " ".join(f"|{node.text}|".split())[1:-1] if node.text else ""
    for child in node:
        tag = child.tag
        if tag == f"{_TEXT}s":
            count = child.get(f"{_TEXT}c", "1")
            yield " " * (min(int(count), 1000) if count.isdigit() else 1)
        elif tag == f"{_TEXT}tab":
            yield "\t"
        elif tag == f"{_TEXT}line-break":
            yield "\n"
        elif tag not in (f"{_TEXT}note", f"{_OFFICE}annotation", f"{_DRAW}text-box", f"{_DRAW}frame") and isinstance(
            tag, str
        ):
            yield from _strings(child)
        if child.tail:
            yield " ".join(f"|{child.tail}|".split())[1:-1]
