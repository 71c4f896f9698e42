"""A passage as scripts and tools get it."""

from dataclasses import asdict
from typing import Any

from retrieval.types import Locator, Passage


def locator_json(locator: Locator) -> dict[str, Any]:
    """A locator in the shape of schema 1; a page that was recognised from a picture adds how certain that was."""
    row = asdict(locator)
    return row if locator.ocr is not None else {name: value for name, value in row.items() if name != "ocr"}


def passage_json(passage: Passage) -> dict[str, Any]:
    """A passage in the shape of `loci search --json`."""
    row = {name: getattr(passage, name) for name in ("document", "path", "title", "page", "line", "start", "end")}
    also = {"also": list(passage.also)} if passage.also else {}  # the shape of schema 1 for all that stands once
    return (
        row
        | also
        | {
            "locator": locator_json(passage.locator),
            "text": passage.text,
            "text_sha256": passage.text_sha256,
            "score": passage.score,
            "scores": {"dense": passage.dense, "lexical": passage.lexical},
        }
    )
