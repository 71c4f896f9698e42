"""Where in its document something stands, in words. Used in prompts and on the screen alike."""

from retrieval.types import Locator


def within(page: int | None, locator: Locator) -> str:
    """`page 12, Ventilation › Filters` or `sheet Costs, cells B4:D9`; empty where only the line is known."""
    parts = [
        f"page {page}" if page is not None else "",
        f"slide {locator.slide}" if locator.slide is not None else "",
        f"sheet {locator.sheet}" if locator.sheet else "",
        f"cells {locator.cells}" if locator.cells else "",
        locator.section or "",
    ]
    return ", ".join(part for part in parts if part)
