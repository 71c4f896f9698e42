"""Pictures of pages (PNG, JPEG, TIFF): their text as it is recognised, page by page."""

from pathlib import Path

from retrieval.errors import NoText
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.ocr import Scans
from retrieval.scans import OCR, told

_KINDS = {".png": "png", ".tif": "tiff", ".tiff": "tiff"}


def read_image(path: Path, scans: Scans) -> Extraction:
    """A photograph without text is no document, and skipped like other files that are none.

    :raises OcrMissing: there is no tesseract.
    :raises UnreadableDocument: it is broken, or takes too long.
    :raises NoText: it holds no text.
    """
    pages = scans.recognise(path)
    if not pages:
        raise NoText("It is a picture without text.")
    builder = Builder()
    for page in pages:
        builder.page = page.number
        for paragraph in page.paragraphs:
            builder.add(paragraph)
    builder.metadata = {OCR: told({page.number: page.certainty for page in pages})}
    return builder.build(f"image/{_KINDS.get(path.suffix.lower(), 'jpeg')}", pages=pages[-1].number)
