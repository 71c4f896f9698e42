"""Pages as pictures: the quote marked in its place, bounded, and from the very file that was read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from reportlab.pdfgen.canvas import Canvas

from retrieval.errors import UnreadableDocument
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.page_picture import page_picture
from retrieval.readers import PageAsked, PagePicture, read
from retrieval.readers.drawing import draw_page
from retrieval.readers.page import MOST_PIXELS
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder

LINES = (
    "The winch holds four tons.",
    "Grease it in May.",
    "The crane is old.",
    "Grease it in May, too, and in",
    "June.",
)
TOP, STEP, SIZE = 700, 40, 20
"""Points from the page's lower edge to the first line, between lines, of the letters."""


def make_pdf(file: Path, size: tuple[float, float] = (595, 842)) -> Path:
    canvas = Canvas(str(file), pagesize=size)
    canvas.setFont("Helvetica", SIZE)
    for number, line in enumerate(LINES):
        canvas.drawString(100, TOP - STEP * number, line)
    canvas.showPage()
    canvas.setFont("Helvetica", SIZE)
    canvas.drawString(100, TOP, "July, if it was wet.")
    canvas.save()
    return file


def pixels(picture: PagePicture) -> NDArray[np.uint8]:
    return np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)


def marked_lines(picture: PagePicture) -> set[int]:
    """The numbers of the lines that have a marker's yellow on them."""
    yellow = (pixels(picture)[:, :, 2] < 160) & (pixels(picture)[:, :, 1] > 200)
    scale = picture.height / 842
    middles = [round((842 - (TOP - STEP * number) - SIZE / 4) * scale) for number in range(len(LINES))]
    return {number for number, middle in enumerate(middles) if yellow[middle].sum() > 30}


def test_the_quote_is_marked_where_it_stands(tmp_path: Path) -> None:
    file = make_pdf(tmp_path / "a.pdf")
    picture = draw_page(file, PageAsked(1, 600, "The crane is old."))
    assert picture.width == pytest.approx(600, abs=1) and marked_lines(picture) == {2}
    assert picture.marked is not None
    middle = (842 - TOP + 2 * STEP - SIZE / 4) * picture.height / 842
    assert picture.marked[0] < middle < picture.marked[1]
    text = pixels(picture)[picture.marked[0] : picture.marked[1]]
    assert text.min() < 60, "the words stay legible under the marker"


def test_of_a_quote_that_stands_there_twice_the_one_is_marked_that_the_text_before_tells(tmp_path: Path) -> None:
    file = make_pdf(tmp_path / "a.pdf")
    assert marked_lines(draw_page(file, PageAsked(1, 600, "Grease it in May"))) == {1}
    told = PageAsked(
        1, 600, "Grease it in May", before="The winch holds four tons.\n\nGrease it in May.\nThe crane is old. "
    )
    assert marked_lines(draw_page(file, told)) == {3}


def test_of_a_quote_that_goes_on_overleaf_its_beginning_is_marked_and_of_strange_words_nothing(tmp_path: Path) -> None:
    file = make_pdf(tmp_path / "a.pdf")
    over = draw_page(file, PageAsked(1, 600, "Grease it in May, too, and in June.\nJuly, if it was wet."))
    assert marked_lines(over) == {3, 4}
    for words in ("", "The mast is new and tall.", "Grease the mast, and what stands on it."):
        strange = draw_page(file, PageAsked(1, 600, words))
        assert strange.marked is None and marked_lines(strange) == set()


def test_of_a_row_of_a_table_the_cells_are_marked(tmp_path: Path) -> None:
    file = make_pdf(tmp_path / "a.pdf")
    row = "Thing: The crane; State: is old."  # as its row would be read, were the line one of a table
    assert marked_lines(draw_page(file, PageAsked(1, 600, row))) == {2}


def test_margins_are_cut_off(tmp_path: Path) -> None:
    whole = pixels(draw_page(make_pdf(tmp_path / "a.pdf"), PageAsked(1, 600)))
    ink = np.flatnonzero((whole < 128).any(axis=(0, 2)))
    assert ink[0] < 40 and ink[-1] > 560, "100 points of margin would be as many pixels"


@pytest.mark.parametrize("size", [(595, 14000), (14000, 20), (3, 3)])
def test_no_page_takes_more_pixels_than_are_allowed(tmp_path: Path, size: tuple[float, float]) -> None:
    picture = draw_page(make_pdf(tmp_path / "a.pdf", size), PageAsked(1, 20_000))
    assert 0 < picture.width * picture.height <= MOST_PIXELS * 1.01


def test_damaged_files_and_pages_that_are_not_there_are_named(tmp_path: Path) -> None:
    whole = make_pdf(tmp_path / "whole.pdf")
    with pytest.raises(UnreadableDocument, match=r"whole.pdf: it has no page 3"):
        draw_page(whole, PageAsked(3, 600))
    (tmp_path / "broken.pdf").write_bytes(whole.read_bytes()[:200])
    with pytest.raises(UnreadableDocument, match=r"broken.pdf"):
        draw_page(tmp_path / "broken.pdf", PageAsked(1, 600))


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    embedder = FakeEmbedder()
    found = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), lambda: embedder)
    yield found
    found.close()


def test_a_page_comes_from_the_file_that_was_read_or_not_at_all(library: Library, tmp_path: Path) -> None:
    file = make_pdf(tmp_path / "a.pdf")
    ingest(library, [file])
    id = library.documents()[0].id
    assert read(file).text == library.text(id)
    assert marked_lines(page_picture(library, id, PageAsked(1, 600, "The crane is old."))) == {2}
    file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(UnreadableDocument, match=r"a.pdf was changed since it was read"):
        page_picture(library, id, PageAsked(1, 600))
    file.unlink()
    with pytest.raises(UnreadableDocument, match=r"a.pdf: No such file"):
        page_picture(library, id, PageAsked(1, 600))
