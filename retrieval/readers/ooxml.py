"""What the Office formats share: a checked container, document properties, and errors in one wording."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval.errors import UnreadableDocument
from retrieval.readers.archive import open_archive, refuse_entities


@contextmanager
def checked(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """The container while a third-party parser works on the file; what the parser raises becomes UnreadableDocument."""
    with open_archive(path) as archive:
        refuse_entities(archive)
        try:
            yield archive
        except (UnreadableDocument, MemoryError):
            raise
        except Exception as error:
            raise UnreadableDocument(f"It is not {kind}, or is broken: {type(error).__name__}: {error}.") from error


def core_metadata(properties: Any) -> dict[str, str]:
    """Author, subject, keywords and last change of python-docx's, python-pptx's or openpyxl's core properties."""
    author = getattr(properties, "author", None) or getattr(properties, "creator", None)
    modified = getattr(properties, "modified", None)
    values = {
        "author": author,
        "subject": getattr(properties, "subject", None),
        "keywords": getattr(properties, "keywords", None),
        "modified": modified.isoformat() if modified else None,
    }
    return {key: str(value) for key, value in values.items() if value}
