"""Pages of a PDF that are pictures: drawn, and their text recognised."""

from collections.abc import Sequence
from typing import Any

from retrieval.errors import OcrMissing, UnreadableDocument
from retrieval.readers.ocr import Recognised, Scans

_DOTS_PER_INCH = 300
_MOST_DOTS = 40_000_000
"""A page of A3 at 300 dots per inch has 17 million; of a larger one, fewer per inch are drawn."""


def recognise_pages(
    document: Any, indexes: Sequence[int], scans: Scans
) -> tuple[dict[int, Recognised], dict[int, UnreadableDocument]]:
    """What was recognised on these pages, and why others could not be read; neither for those without text."""
    pictures = [index for index in indexes if _holds_anything(document, index)]
    found: dict[int, Recognised] = {}
    unread: dict[int, UnreadableDocument] = {}
    for index in pictures:
        try:
            found.update((index, page) for page in scans.recognise(_drawn(document, index)))
        except OcrMissing as error:
            return found, dict.fromkeys(pictures, error)
        except UnreadableDocument as error:
            unread[index] = error
    return found, unread


def _holds_anything(document: Any, index: int) -> bool:
    from pypdfium2 import raw

    page = document[index]
    try:
        return bool(raw.FPDFPage_CountObjects(page.raw) > 0)
    finally:
        page.close()


def _drawn(document: Any, index: int) -> bytes:
    """The page as a grey picture (PGM).

    :raises UnreadableDocument: it cannot be drawn.
    """
    import pypdfium2

    page = document[index]
    try:
        width, height = page.get_size()
        scale = min(_DOTS_PER_INCH / 72, (_MOST_DOTS / max(width * height, 1.0)) ** 0.5)
        bitmap = page.render(scale=scale, grayscale=True)
    except pypdfium2.PdfiumError as error:
        raise UnreadableDocument(f"It cannot be drawn: {str(error).rstrip('.')}.") from error
    finally:
        page.close()
    try:
        rows, wide = memoryview(bitmap.buffer).cast("B"), bitmap.width
        lines = (rows[at : at + wide] for at in range(0, bitmap.height * bitmap.stride, bitmap.stride))
        return b"P5 %d %d 255\n" % (wide, bitmap.height) + b"".join(lines)
    finally:
        bitmap.close()
