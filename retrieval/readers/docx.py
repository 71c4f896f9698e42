"""DOCX: headings as sections, lists, tables row by row, footnotes at the end; tracked deletions left out."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from retrieval.errors import UnreadableDocument
from retrieval.readers.archive import open_archive, parse_xml, part, refuse_entities
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.ooxml import core_properties
from retrieval.readers.tables import add_plain_table, flat

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING = re.compile(r"(?:heading|titre|überschrift|título|titolo|kop|rubrik)\s*(\d)", re.IGNORECASE)
_CAPTION_STYLE = re.compile(r"caption|beschriftung|légende|epígrafe|didascalia|bijschrift", re.IGNORECASE)
_CAPTION = re.compile(r"(?:table|tabelle|tableau|tabla|tabella|tabel|表)\s*\d+\b", re.IGNORECASE)


def read_docx(path: Path) -> Extraction:
    """Its parts are read directly: python-docx refuses files with one dangling link, and leaves insertions out.

    Raises UnreadableDocument when it is broken or encrypted.
    """
    with open_archive(path) as archive:
        refuse_entities(archive)
        main = _related(archive, "", "officeDocument") or "word/document.xml"
        styles = _related(archive, main, "styles")
        notes = [(kind, _related(archive, main, kind)) for kind in ("footnotes", "endnotes")]
        builder = Builder()
        title, builder.metadata = core_properties(archive)
        body = parse_xml(part(archive, main)).find(f"{_W}body")
        if body is None:
            raise UnreadableDocument("It is not a Word document: it has no body.")
        levels = _heading_levels(parse_xml(part(archive, styles))) if styles else {}
        _add_blocks(builder, body, levels)
        for kind, name in notes:
            if name:
                builder.enter(1, kind.capitalize())
                _add_notes(builder, parse_xml(part(archive, name)))
    return builder.build(MEDIA_TYPE, title=title)


def _related(archive: ZipFile, source: str, kind: str) -> str | None:
    """The part that `source` (the package itself: "") points to with a relation of this kind, if it is there."""
    folder, name = posixpath.split(source)
    relations = posixpath.join(folder, "_rels", f"{name}.rels")
    names = set(archive.namelist())
    if relations not in names:
        return None
    for relation in parse_xml(part(archive, relations), recover=True):
        target = posixpath.normpath(posixpath.join(folder, relation.get("Target", ""))).lstrip("/")
        if relation.get("Type", "").endswith(f"/{kind}") and target in names:
            return target
    return None


def _heading_levels(root: Any) -> dict[str, int]:
    """The heading level of each paragraph style, by style id; 0 is the document's title."""
    styles = {style.get(f"{_W}styleId"): style for style in root.iterchildren(f"{_W}style")}
    levels = {name: _style_level(style, styles) for name, style in styles.items()}
    return {name: level for name, level in levels.items() if level is not None}


def _style_level(style: Any, styles: dict[str, Any]) -> int | None:
    """From the style's own outline level or name, else from the style that it is based on."""
    for _ in range(10):  # a damaged file can hold a cycle
        name = style.find(f"{_W}name")
        label = "" if name is None else name.get(f"{_W}val", "")
        outline = _outline_level(style)
        if outline is not None:
            return outline
        if match := _HEADING.match(label):
            return int(match.group(1))
        if label.lower() == "title":
            return 0
        parent = style.find(f"{_W}basedOn")
        if parent is None or parent.get(f"{_W}val") not in styles:
            return None
        style = styles[parent.get(f"{_W}val")]
    return None


def _outline_level(node: Any) -> int | None:
    """From 1; Word writes 0 to 8, and 9 for body text."""
    outline = node.find(f"{_W}pPr/{_W}outlineLvl")
    value = "9" if outline is None else outline.get(f"{_W}val", "9")
    return int(value) + 1 if value in "012345678" else None


def _add_blocks(builder: Builder, parent: Any, levels: dict[str, int]) -> None:
    caption = ""
    for node in parent:
        if node.tag == f"{_W}p":
            _add_paragraph(builder, node, levels)
            caption = caption if (found := _caption(node)) is None else found
        elif node.tag == f"{_W}tbl":
            add_plain_table(builder, [_cells(row) for row in _table_rows(node)], name=caption)
            caption = ""
        elif node.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}smartTag", f"{_W}customXml"):
            _add_blocks(builder, node, levels)


def _add_paragraph(builder: Builder, node: Any, levels: dict[str, int]) -> None:
    text = "".join(_strings(node)).strip()
    style = node.find(f"{_W}pPr/{_W}pStyle")
    name = "" if style is None else style.get(f"{_W}val", "")
    own = _outline_level(node)
    level = levels.get(name) if own is None else own
    if text and level == 0:
        builder.title = builder.title or text
        builder.add(flat(text), "heading")
    elif text and level is not None:
        builder.heading(level, text)
    elif node.find(f"{_W}pPr/{_W}numPr") is not None or name.lower().startswith("list"):
        builder.add(f"- {text}" if text else "", "list", separator="\n")
    else:
        builder.add(text)
    for box in node.iter(f"{_W}txbxContent"):
        if not any(up.tag == _FALLBACK for up in box.iterancestors()):
            _add_blocks(builder, box, levels)


def _caption(node: Any) -> str | None:
    """The text of a paragraph that is set as a caption or begins like one; None for an empty paragraph."""
    text = flat("".join(_strings(node)))
    style = node.find(f"{_W}pPr/{_W}pStyle")
    name = "" if style is None else style.get(f"{_W}val", "")
    return None if not text else text if _CAPTION_STYLE.match(name) or _CAPTION.match(text) else ""


def _strings(node: Any) -> Iterator[str]:
    """Text as it would be printed: insertions in, deletions, field codes and text boxes out."""
    for child in node:
        tag = child.tag
        if tag in (f"{_W}t", _MATH):
            yield child.text or ""
        elif tag == f"{_W}tab":
            yield "\t"
        elif tag in (f"{_W}br", f"{_W}cr"):
            yield "\n"
        elif tag == f"{_W}noBreakHyphen":
            yield "-"
        elif tag not in (f"{_W}pPr", f"{_W}rPr", f"{_W}del", f"{_W}moveFrom", f"{_W}txbxContent", _FALLBACK):
            yield from _strings(child)


def _table_rows(table: Any) -> Iterator[Any]:
    for row in table:
        if row.tag == f"{_W}tr":
            yield row
        elif row.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml"):
            yield from _table_rows(row)


def _cells(row: Any) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{_W}tc"):
        if next(cell.iterancestors(f"{_W}tr")) is not row:
            continue  # a cell of a table inside a cell: its text comes with the outer one
        merge = cell.find(f"{_W}tcPr/{_W}vMerge")
        goes_on = merge is not None and merge.get(f"{_W}val", "continue") == "continue"
        texts = ["".join(_strings(paragraph)).strip() for paragraph in cell.iter(f"{_W}p")]
        cells.append("" if goes_on else " ".join(text for text in texts if text))
        span = cell.find(f"{_W}tcPr/{_W}gridSpan")
        width = "1" if span is None else span.get(f"{_W}val", "1")
        cells.extend([""] * (min(int(width), 100) - 1 if width.isdigit() else 0))
    return cells


def _add_notes(builder: Builder, notes: Any) -> None:
    for note in notes:
        # The first two are the separator lines that Word draws, marked by a type.
        if note.get(f"{_W}type") is None:
            text = " ".join("".join(_strings(paragraph)).strip() for paragraph in note.iter(f"{_W}p")).strip()
            builder.add(f"[{note.get(f'{_W}id')}] {text}" if text else "", "note")
