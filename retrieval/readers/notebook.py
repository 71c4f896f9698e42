"""Jupyter notebooks: Markdown cells with their sections, code cells, and the text of short outputs."""

import json
from pathlib import Path
from typing import Any

from retrieval.errors import UnreadableDocument
from retrieval.readers.encoding import read_text
from retrieval.readers.extraction import SECTION_SEPARATOR, Builder, Extraction, clean
from retrieval.readers.text import sectioned

_MAX_OUTPUT = 2000


def read_notebook(path: Path) -> Extraction:
    """Raises UnreadableDocument when it is not a notebook."""
    try:
        notebook = json.loads(read_text(path).lstrip("\ufeff"))
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        builder = Builder()
        for cell in cells:
            _add_cell(builder, cell)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableDocument(f"It is not a notebook, or is broken: {error}.") from error
    return builder.build("application/x-ipynb+json")


def _add_cell(builder: Builder, cell: dict[str, Any]) -> None:
    source = _joined(cell.get("source", cell.get("input", "")))
    match cell.get("cell_type"):
        case "markdown":
            _add_markdown(builder, clean(source))
        case "heading":
            builder.heading(int(cell.get("level", 1)), source)
        case "code":
            builder.add(source, "code")
            for output in cell.get("outputs", ()):
                data = output.get("data", output)
                text = _joined(output.get("text") or data.get("text/plain") or "").strip("\n")
                builder.add(text if len(text) <= _MAX_OUTPUT else text[:_MAX_OUTPUT] + " …", "note")
        case _:
            builder.add(source)


def _add_markdown(builder: Builder, source: str) -> None:
    page = sectioned(source, "text/markdown")
    for span in page.spans:
        text = page.text[span.start : span.end]
        if span.kind == "heading":
            marks = len(text.lstrip()) - len(text.lstrip().lstrip("#"))
            level = marks or (1 if text.rstrip().endswith("=") else 2)
            title = (span.locator.section or "").rsplit(SECTION_SEPARATOR, 1)[-1]
            builder.enter(level, title)
            builder.title = builder.title or title
        builder.add(text, span.kind)


def _joined(source: Any) -> str:
    return "".join(str(line) for line in source) if isinstance(source, list) else str(source)
