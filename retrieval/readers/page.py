"""What is asked about the look of a PDF's page, and what comes of it; `retrieval.readers.drawing` does it."""

from dataclasses import dataclass

MOST_PIXELS = 4_000_000
"""A page longer or wider than this allows is drawn smaller."""


@dataclass(frozen=True, slots=True)
class PageAsked:
    """What of a file is to be drawn."""

    page: int
    """from 1"""
    width: int
    """Pixels across; fewer where the page is so long that it would take more than `MOST_PIXELS`."""
    quote: str = ""
    before: str = ""
    """The text in front of the quote, as it was extracted."""


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A page as it is looked at."""

    width: int
    height: int
    rgb: bytes
    marked: tuple[int, int] | None
    """First and last row of pixels of the quote, None where its words were not found on the page."""
