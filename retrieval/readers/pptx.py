"""PPTX by slide: the title as section, text in the order of the shapes, tables, chart data, speaker notes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from retrieval.readers.archive import open_archive, refuse_entities
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.ooxml import core_properties
from retrieval.readers.tables import add_plain_table, flat

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

_TITLE_CHARACTERS = 100


def read_pptx(path: Path) -> Extraction:
    """Raises UnreadableDocument when it is broken or encrypted."""
    import pptx

    with open_archive(path) as archive:
        refuse_entities(archive)
        presentation = pptx.Presentation(str(path))
        builder = Builder()
        title, builder.metadata = core_properties(archive)
        slides = list(presentation.slides)
        for number, slide in enumerate(slides, 1):
            builder.slide = number
            top = slide.shapes.title
            heading = flat(top.text_frame.text) if top is not None and top.has_text_frame else ""
            builder.enter(1, heading or _first_words(slide.shapes))
            builder.add(heading, "heading")
            title_id = None if top is None else top.shape_id
            _add_shapes(builder, (shape for shape in slide.shapes if shape.shape_id != title_id))
            if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
                builder.add(f"Notes: {notes.text.strip()}" if notes.text.strip() else "", "note")
        return builder.build(MEDIA_TYPE, title=title)


def _first_words(shapes: Iterable[Any]) -> str:
    """What a slide without a title placeholder begins with, where that is short enough to be its title."""
    texts = (flat(shape.text_frame.text) for shape in shapes if shape.has_text_frame)
    first = next((text for text in texts if text), "")
    return first if len(first) <= _TITLE_CHARACTERS else ""


def _add_shapes(builder: Builder, shapes: Iterable[Any]) -> None:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            _add_shapes(builder, shape.shapes)
        elif getattr(shape, "has_table", False):
            rows = [[cell.text for cell in row.cells] for row in shape.table.rows]
            add_plain_table(builder, rows, has_header=shape.table.first_row or None)
        elif getattr(shape, "has_chart", False):
            _add_chart(builder, shape.chart)
        elif shape.has_text_frame:
            for index, paragraph in enumerate(shape.text_frame.paragraphs):
                builder.add(paragraph.text.strip(), separator="\n" if index else "\n\n")


def _add_chart(builder: Builder, chart: Any) -> None:
    if chart.has_title and chart.chart_title.has_text_frame:
        builder.add(chart.chart_title.text_frame.text)
    for plot in chart.plots:
        series = list(plot.series)
        categories = [str(category) for category in plot.categories]
        rows = [["", *(one.name or "" for one in series)]]
        for index, category in enumerate(categories):
            values = [one.values[index] if index < len(one.values) else None for one in series]
            rows.append([category, *("" if value is None else f"{value:g}" for value in values)])
        add_plain_table(builder, rows, has_header=True)
