"""Documents as text with positions: one reader per family of formats, run in worker processes with limits."""

from retrieval.readers.extraction import VERSION, Extraction, Span, locate
from retrieval.readers.page import PageAsked, PagePicture
from retrieval.readers.registry import is_picture, read, supported
from retrieval.readers.worker import Limits, ReaderPool

__all__ = [
    "VERSION",
    "Extraction",
    "Limits",
    "PageAsked",
    "PagePicture",
    "ReaderPool",
    "Span",
    "is_picture",
    "locate",
    "read",
    "supported",
]
