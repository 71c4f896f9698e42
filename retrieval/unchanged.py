"""What need not be read again: files that are as they were when this version, with the OCR that is here, read them.

A picture without text is no document, so that its digest alone is kept. A document with pages that stayed unread for
want of OCR says so in its metadata (`retrieval.scans.UNREAD_BY`).
"""

import os
import stat
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from retrieval.chunker import VERSION as CHUNKER_VERSION
from retrieval.digest import sha256_of
from retrieval.documents import File
from retrieval.readers.extraction import VERSION as READER_VERSION
from retrieval.readers.ocr import installed
from retrieval.schema import textless
from retrieval.types import Drift

_MAIL = frozenset({".eml", ".msg"})


class Recognition:
    """The OCR that is installed while one ingest runs; asked for once, and only if it matters: that takes .1 s."""

    def __init__(self, languages: str) -> None:
        """`languages` are those that the settings name."""
        self._languages = languages

    @cached_property
    def here(self) -> str:
        return installed(self._languages)

    def reads_more(self, unread_by: str | None) -> bool:
        """Whether pages that `unread_by` left unread may be readable now; None left none."""
        return unread_by is not None and unread_by != self.here

    def finds_nothing(self, db: Connection, sha256: str) -> bool:
        """Whether the picture of this digest was found to hold no text, as it would be now."""
        by = db.execute(select(textless.c.by).where(textless.c.file_sha256 == sha256)).scalar()
        return by is not None and by == self._reader

    def found_nothing(self, db: Connection, sha256: str) -> None:
        """Keep it in mind."""
        db.execute(delete(textless).where(textless.c.file_sha256 == sha256))
        db.execute(insert(textless).values(file_sha256=sha256, by=self._reader))

    @property
    def _reader(self) -> str:
        return f"reader {READER_VERSION}, {self.here}"


def file_of(path: Path) -> File | None:
    """The file without its hash; None if it cannot be looked at or is none: a pipe or a device may never end."""
    try:
        found = path.stat()
    except OSError:
        return None
    name = os.path.abspath(path)  # noqa: PTH100  links are kept as named
    if not stat.S_ISREG(found.st_mode):
        return None
    return File(name, found.st_size, found.st_mtime_ns, "")


def drift_of(row: Row[*tuple[Any, ...]]) -> Drift | None:
    """How the file of a document's `row` differs from what was read; None where it does not, or nobody can tell. It is
    read only where nothing but its time differs, as after a copy or a checkout. Mail is not looked at: it is never
    edited, and programs file it elsewhere."""
    path = Path(row.path)
    if path.suffix.lower() in _MAIL:
        return None
    try:
        found = path.stat()
        same = found.st_size == row.bytes and (found.st_mtime_ns == row.mtime_ns or sha256_of(path) == row.file_sha256)
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    except OSError:
        return None
    return None if same else "changed"


def is_current(row: Row[*tuple[Any, ...]] | None, file: File, ocr: Recognition) -> bool:
    """Whether the document of `row` (`retrieval.documents.find`) is there, with the file's size and time, and read."""
    return row is not None and (row.bytes, row.mtime_ns) == (file.bytes, file.mtime_ns) and is_read(row, ocr)


def is_read(row: Row[*tuple[Any, ...]], ocr: Recognition) -> bool:
    """Whether it was read and cut as it would be now."""
    versions = (row.reader, row.chunker) == (READER_VERSION, CHUNKER_VERSION)
    return versions and not ocr.reads_more(row.unread_by)
