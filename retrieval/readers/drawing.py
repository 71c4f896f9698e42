"""One page of a PDF as a picture, its side margins cut off and a quote on it marked.

Pixels are RGB, eight bits each, rows from the top. Run in a worker process (`ReaderPool.draw`): PDFium is native code
over files of strangers.
"""

import re
from ctypes import byref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import UnreadableDocument
from retrieval.readers.page import MOST_PIXELS, PageAsked, PagePicture

_LARGEST = 6.0
"""Pixels to a point (1/72 inch) at most: a page of a stamp's size is not blown up to nothing but edges."""
_LOOK = 0.25
"""Pixels to a point where margins are looked for."""
_SPARE = 9.0
"""Points left of a margin."""
_TINT = (255, 236, 120)
_FRAME = (214, 96, 0)
_FRAME_PIXELS = 2
_CONTEXT = (60, 24, 8, 0)
"""Characters before the quote, blanks aside, by which one of its occurrences on the page is told from the others."""
_LEAST = 12
"""Characters of a quote at least, blanks aside, that must stand on the page where not all of it does."""
_LABEL = re.compile(r"(?:^|; )[^:;\n]{1,80}: | \| ", re.MULTILINE)
"""What `retrieval.readers.tables` writes between the cells of a row, and no page has."""
_BLANK = "\ufffe\u00ad"
"""PDFium's mark for a hyphen at a line's end, and a soft hyphen: the extraction has taken both out."""


def draw_page(path: Path, asked: PageAsked) -> PagePicture:
    """Draw one page.

    :raises UnreadableDocument: the file or the page is broken or not there; the message names the file.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except (pypdfium2.PdfiumError, OSError) as error:
        raise UnreadableDocument(f"{path}: it cannot be drawn: {str(error).rstrip('.')}.") from error
    try:
        if not 1 <= asked.page <= len(document):
            raise UnreadableDocument(f"{path}: it has no page {asked.page}.")
        page = document[asked.page - 1]
        return _drawn(page, asked)
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument(f"{path}: page {asked.page} cannot be drawn: {str(error).rstrip('.')}.") from error
    finally:
        document.close()


def _drawn(page: Any, asked: PageAsked) -> PagePicture:
    wide, high = page.get_size()
    if not (wide > 0 and high > 0):
        raise UnreadableDocument(f"Page {asked.page} has no size.")
    left, right = _margins(page, wide, high)
    across = wide - left - right
    scale = min(asked.width / across, (MOST_PIXELS / (across * high)) ** 0.5, _LARGEST)
    bitmap = page.render(scale=scale, crop=(left, 0, right, 0), rev_byteorder=True)
    pixels = np.ascontiguousarray(bitmap.to_numpy()[:, :, :3])  # [H, W, RGB]
    mask = np.zeros(pixels.shape[:2], bool)
    for box in _boxes(page, asked):
        _fill(mask, bitmap.get_posconv(page), box)
    rows = np.flatnonzero(mask.any(axis=1))
    _mark(pixels, mask)
    return PagePicture(
        pixels.shape[1], pixels.shape[0], pixels.tobytes(), (int(rows[0]), int(rows[-1])) if rows.size else None
    )


def _margins(page: Any, wide: float, high: float) -> tuple[float, float]:
    """Points at the left and the right of the page on which nothing stands."""
    look = min(_LOOK, (MOST_PIXELS / 16 / (wide * high)) ** 0.5)
    small = page.render(scale=look, rev_byteorder=True).to_numpy()  # [H, W, RGB]
    ink = np.flatnonzero((small < 245).any(axis=(0, 2)))
    if not ink.size:
        return 0.0, 0.0
    return (
        max(float(ink[0]) / look - _SPARE, 0.0),
        max(wide - float(ink[-1] + 1) / look - _SPARE, 0.0),
    )


def _boxes(page: Any, asked: PageAsked) -> list[tuple[float, float, float, float]]:
    """Boxes (left, bottom, right, top) in points around each line of the quote; none where it is not on the page."""
    from pypdfium2 import raw

    text = page.get_textpage()
    try:
        codes = [raw.FPDFText_GetUnicode(text.raw, index) for index in range(text.count_chars())]
        kept = [index for index, code in enumerate(codes) if code and not _is_blank(chr(code))]
        found = _find("".join(chr(codes[index]) for index in kept), asked)
        boxes: list[tuple[float, float, float, float]] = []
        for index in kept[found[0] : found[1]]:
            box = raw.FS_RECTF()
            if not raw.FPDFText_GetLooseCharBox(text.raw, index, byref(box)):
                continue
            if boxes and _on_line(boxes[-1], box):
                one = boxes[-1]
                boxes[-1] = (one[0], min(one[1], box.bottom), max(one[2], box.right), max(one[3], box.top))
            else:
                boxes.append((box.left, box.bottom, box.right, box.top))
        return boxes
    finally:
        text.close()


def _is_blank(char: str) -> bool:
    return char.isspace() or char in _BLANK


def _on_line(line: tuple[float, float, float, float], box: Any) -> bool:
    """Whether a character goes on the line: to the right of it, at its height, no column apart."""
    middle, height = (box.bottom + box.top) / 2, line[3] - line[1]
    return bool(line[1] <= middle <= line[3] and -height < box.left - line[2] < 3 * height)


def _find(page: str, asked: PageAsked) -> tuple[int, int]:
    """Where the quote stands in the page's characters without blanks: start and end; (0, 0) for nowhere.

    Of a table's row the cells are sought, one after the other. A quote that goes on over the page's end stands there
    with its beginning.
    """
    quote, before = _dense(asked.quote), _dense(asked.before)
    if not quote:
        return 0, 0
    for length in _CONTEXT:
        start = before[len(before) - min(length, len(before)) :]
        if (at := page.find(start + quote)) >= 0:
            return at + len(start), at + len(start) + len(quote)
    cells = _dense(_LABEL.sub("", asked.quote))
    if cells and (at := page.find(cells)) >= 0:
        return at, at + len(cells)
    least, most = 0, len(quote)  # a beginning of `least` characters is there, one of `most` is not
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if quote[:middle] in page else (least, middle)
    if least < min(_LEAST, len(quote)):
        return 0, 0
    at = page.rfind(quote[:least])
    return at, at + least


def _dense(text: str) -> str:
    return "".join(char for char in text if not _is_blank(char))


def _fill(mask: NDArray[np.bool_], converter: Any, box: tuple[float, float, float, float]) -> None:
    (left, bottom), (right, top) = converter.to_bitmap(*box[:2]), converter.to_bitmap(*box[2:])
    high, wide = mask.shape
    rows = slice(max(min(top, bottom) - 1, 0), min(max(top, bottom) + 2, high))
    mask[rows, max(min(left, right) - _FRAME_PIXELS, 0) : min(max(left, right) + _FRAME_PIXELS + 1, wide)] = True


def _mark(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    """Tint what is marked, as a marker pen does, and draw a frame around all of it."""
    inner = mask.copy()
    for _ in range(_FRAME_PIXELS):
        shrunk = inner.copy()
        shrunk[1:] &= inner[:-1]
        shrunk[:-1] &= inner[1:]
        shrunk[:, 1:] &= inner[:, :-1]
        shrunk[:, :-1] &= inner[:, 1:]
        inner = shrunk
    pixels[inner] = np.minimum(pixels[inner], np.array(_TINT, np.uint8))
    pixels[mask & ~inner] = _FRAME
