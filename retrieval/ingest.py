"""Files into the library: only what changed is read, cut and embedded; each document is stored whole or not at all."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, select, update

from retrieval import documents
from retrieval.batches import embedded, is_batch
from retrieval.chunker import Chunk, chunk
from retrieval.digest import sha256_of
from retrieval.documents import File
from retrieval.errors import EmptyText, NoText, RetrievalError, UnreadableDocument, UnsupportedType
from retrieval.foreign import beyond
from retrieval.library import Library
from retrieval.readers import Extraction, Limits, ReaderPool, is_picture, supported
from retrieval.scans import UNREAD
from retrieval.schema import documents as documents_table
from retrieval.sqlite import reading, writing
from retrieval.tables.grid import Table, tables_of
from retrieval.unchanged import Recognition, file_of, is_current, is_read
from retrieval.walk import walk

FileStatus = Literal["added", "updated", "moved", "unchanged", "removed", "skipped", "failed"]

_CHARACTERS_PER_TOKEN = 4
"""Of prose; a text that is longer than its passages may be together is not even cut."""

_CHARACTERS_PER_CHUNK = 900
_BYTES_PER_CHUNK = 2000
"""Of files that are not plain text, markup and images included; only the estimate uses both."""

_CHUNKS_PER_SECOND = 40.0
"""On two cores; the progress measures the true rate."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file. `reason` is set when it was skipped, failed or read in part, `beyond` to a language
    that the embedder hardly reads."""

    path: str
    status: FileStatus
    document: str | None = None
    chunks: int = 0
    reason: str | None = None
    beyond: str | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an ingest would have to do, from names and sizes alone."""

    files: int
    bytes: int
    chunks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is. Bytes are those of files that changed."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    chunks: int
    """Passages embedded so far."""
    rate: float
    """Passages per second."""
    path: str
    """The last file that was finished."""


def estimate(library: Library, paths: Sequence[Path], collection: str = "main") -> Estimate:
    """Say what `ingest` would read and embed, without opening a file.

    :raises NoSuchPath: one of `paths` does not exist.
    """
    readable = (path for path in walk(paths) if supported(path) and _is_text(str(path)))
    files = [file for path in readable if (file := file_of(path)) is not None]
    with reading(library.engine) as db:
        known = documents.find_all(db, collection, [file.path for file in files])
    ocr = Recognition(library.settings.ocr_languages)
    changed = [file for file in files if not is_current(known.get(file.path), file, ocr)]
    size = sum(file.bytes for file in changed)
    chunks = sum(1 + file.bytes // _bytes_per_chunk(file.path) for file in changed)
    return Estimate(len(changed), size, chunks, chunks / _CHUNKS_PER_SECOND)


def ingest(
    library: Library,
    paths: Sequence[Path],
    *,
    collection: str = "main",
    prune: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[FileResult]:
    """Bring the files under `paths` into `collection`, in the order of the walk, and say what became of each.

    A file whose content is stored already is not read; one that only moved keeps its passages. With `prune`, documents
    under `paths` whose files are gone are removed, pinned ones excepted. What was stored when it is interrupted stays;
    the next run does the rest.

    :raises NoSuchPath: one of `paths` does not exist.
    :raises EmbedderMismatch: the library was made with another embedder.
    :raises DatabaseProblem: the database cannot be written.
    """
    run = _Run(library, collection, progress)
    run.take_stock(list(walk(paths)))
    run.read_and_store()
    if prune:
        run.prune([Path(os.path.abspath(path)) for path in paths])  # noqa: PTH100  links are kept as named
    return [run.results[path] for path in sorted(run.results, key=lambda path: run.order.get(path, len(run.order)))]


@dataclass(slots=True)
class _Read:
    """A document that was read and waits for its vectors."""

    file: File
    title: str
    extraction: Extraction
    text_sha256: str
    pieces: list[Chunk]
    tables: list[Table]
    beyond: str | None


class _Run:
    """One ingest under way."""

    def __init__(self, library: Library, collection: str, progress: Callable[[Progress], None] | None) -> None:
        self.library = library
        self.collection = collection
        self.results: dict[str, FileResult] = {}
        self.order: dict[str, int] = {}
        self._progress = progress
        self._ocr = Recognition(library.settings.ocr_languages)
        self._changed: dict[str, File] = {}
        self._started = time.monotonic()
        self._chunks = 0
        self._bytes_done = 0

    def take_stock(self, paths: Sequence[Path]) -> None:
        """Sort out what need not be read: same size and time, same content, or content that moved here."""
        names = [os.path.abspath(path) for path in paths]  # noqa: PTH100  links are kept as named
        with reading(self.library.engine) as db:
            known = documents.find_all(db, self.collection, [name for name in names if _is_text(name)])
        for path, name in zip(paths, names, strict=True):
            self.order[name] = len(self.order)
            if not _is_text(name):
                reason = "Its name is not valid UTF-8. Rename it."
                self.results[name] = FileResult(name, "failed", reason=reason)
                continue
            if not path.is_dir() and not supported(path):
                self._skip(path, name)
                continue
            file = file_of(path)
            if file is None:
                self._changed[name] = File(name, 0, 0, "")
                continue
            row = known.get(name)
            if is_current(row, file, self._ocr):
                self.results[name] = FileResult(name, "unchanged", f"d{row.id}" if row else None)
                continue
            # Nor is what is too large to be read hashed: the reader says so, as it says why one cannot be opened.
            with suppress(OSError):
                file = replace(file, sha256=sha256_of(path) if file.bytes <= Limits().file_mib * 2**20 else "")
            if not file.sha256:
                self._changed[name] = file
                continue
            if is_picture(path) and self._found_nothing(file):
                self.results[name] = FileResult(name, "skipped", reason=f"{name}: it is a picture without text.")
            elif row is not None and is_read(row, self._ocr) and row.file_sha256 == file.sha256:
                with writing(self.library.engine) as db:
                    touched = update(documents_table).where(documents_table.c.id == row.id)
                    db.execute(touched.values(mtime_ns=file.mtime_ns))
                self.results[name] = FileResult(name, "unchanged", f"d{row.id}")
            elif row is not None or not self._moved_here(file):
                self._changed[name] = file
        self._report("")

    def read_and_store(self) -> None:
        """Read in workers, embed and store across documents, each of which is there whole or not at all."""
        if not self._changed:
            return
        waiting: list[_Read] = []
        settings = self.library.settings
        limits = Limits(scan_seconds=settings.ocr_seconds, languages=settings.ocr_languages)
        with ReaderPool(settings.workers, limits) as pool:
            for path, outcome in pool.run_many(Path(name) for name in self._changed):
                file = self._changed[str(path)]
                if isinstance(outcome, RetrievalError):
                    if isinstance(outcome, NoText) and file.sha256:
                        with writing(self.library.engine) as db:
                            self._ocr.found_nothing(db, file.sha256)
                    self._finish(file, self._unread(file, outcome))
                    continue
                try:
                    waiting.append(self._cut(file, outcome))
                except UnreadableDocument as error:
                    self._finish(file, FileResult(file.path, "failed", reason=str(error)))
                    continue
                if is_batch([read.pieces for read in waiting]):
                    self._embed_and_store(waiting)
                    waiting = []
        self._embed_and_store(waiting)

    def prune(self, roots: Sequence[Path]) -> None:
        """Remove documents below `roots` whose files are not there any more."""
        with reading(self.library.engine) as db:
            table = documents_table.c
            query = select(table.id, table.path).where(table.collection == self.collection, table.pinned == 0)
            rows = db.execute(query.order_by(table.path)).all()
        for row in rows:
            path = Path(row.path)
            if any(path.is_relative_to(root) for root in roots) and _is_gone(path):
                with writing(self.library.engine) as db:
                    documents.drop(db, row.id)
                self.results[row.path] = FileResult(row.path, "removed", f"d{row.id}")

    def _skip(self, path: Path, name: str) -> None:
        self.results[name] = FileResult(name, "skipped", reason=f"No reader knows {path.suffix or 'such'} files.")

    def _unread(self, file: File, why: RetrievalError) -> FileResult:
        """Skipped is what there is nothing to read of; where a file was emptied, what it held is still found."""
        if isinstance(why, EmptyText):
            with reading(self.library.engine) as db:
                if documents.find(db, self.collection, file.path) is not None:
                    return FileResult(file.path, "failed", reason=f"{why} What was read of it before stays.")
        return FileResult(file.path, "skipped" if isinstance(why, UnsupportedType) else "failed", reason=str(why))

    def _found_nothing(self, file: File) -> bool:
        with reading(self.library.engine) as db:
            return self._ocr.finds_nothing(db, file.sha256)

    def _moved_here(self, file: File) -> bool:
        """Take over a document with this content whose own file is gone."""
        with reading(self.library.engine) as db:  # to write takes a wait for the disk, and nearly all files are new
            if not documents.with_content(db, self.collection, file.sha256):
                return False
        with writing(self.library.engine) as db:
            for row in documents.with_content(db, self.collection, file.sha256):
                same_kind = Path(row.path).suffix.lower() == Path(file.path).suffix.lower()
                if same_kind and not Path(row.path).exists():
                    documents.move(db, row.id, file.path, file.mtime_ns)
                    self.results[file.path] = FileResult(file.path, "moved", f"d{row.id}")
                    return True
        return False

    def _cut(self, file: File, extraction: Extraction) -> _Read:
        embedder = self.library.embedder
        limit = min(self.library.settings.chunk_tokens, embedder.max_tokens)
        most = self.library.settings.max_chunks
        mend = "Split it, or set retrieval.max_chunks higher."
        if len(extraction.text) > most * limit * _CHARACTERS_PER_TOKEN:
            length = f"its text has {len(extraction.text)} characters"
            raise UnreadableDocument(f"{file.path}: {length}, more than fit into {most} passages.", mend)
        pieces = chunk(extraction, embedder.count_tokens, limit)
        if len(pieces) > most:
            raise UnreadableDocument(f"{file.path}: it has {len(pieces)} passages, more than {most}.", mend)
        title = extraction.title or Path(file.path).stem
        text_sha256 = hashlib.sha256(extraction.text.encode()).hexdigest()
        tables = list(tables_of(extraction))  # 10 s for 100,000 rows: not while others wait to write
        language = beyond(extraction.text, embedder.count_tokens)
        return _Read(file, title, extraction, text_sha256, pieces, tables, language)

    def _embed_and_store(self, waiting: Sequence[_Read]) -> None:
        if not waiting:
            return
        library = self.library
        with reading(library.engine) as db:
            library.check_embedder(db)
        # 1. embed across documents
        last = waiting[-1].file.path
        vectors = embedded(
            library.embedder, [read.pieces for read in waiting], lambda passages: self._count(passages, last)
        )
        # 2. store each document whole, all in one transaction: to commit each costs more than all else that is stored
        with writing(library.engine) as db:
            library.claim_embedder(db)
            known = documents.find_all(db, self.collection, [read.file.path for read in waiting])
            results = [
                self._store(db, known.get(read.file.path), read, rows)
                for read, rows in zip(waiting, vectors, strict=True)
            ]
        for read, result in zip(waiting, results, strict=True):
            self._finish(read.file, result)

    def _count(self, passages: int, path: str) -> None:
        self._chunks += passages
        self._report(path)

    def _store(
        self, db: Connection, row: Row[*tuple[Any, ...]] | None, read: _Read, vectors: NDArray[np.float32]
    ) -> FileResult:
        file = read.file
        if is_current(row, file, self._ocr) and row is not None and row.file_sha256 == file.sha256:
            return FileResult(file.path, "unchanged", f"d{row.id}")  # another process was faster
        id, new = documents.put(
            db, self.collection, file, read.title, read.extraction, read.text_sha256, read.pieces, vectors, read.tables
        )
        unread = read.extraction.metadata.get(UNREAD)
        status: FileStatus = "added" if new else "updated"
        return FileResult(file.path, status, f"d{id}", len(read.pieces), unread, read.beyond)

    def _finish(self, file: File, result: FileResult) -> None:
        self.results[file.path] = result
        self._bytes_done += file.bytes
        self._report(file.path)

    def _report(self, path: str) -> None:
        if self._progress is None:
            return
        seconds = max(time.monotonic() - self._started, 1e-9)
        total = sum(file.bytes for file in self._changed.values())
        self._progress(
            Progress(
                files_done=len(self.results),
                files=len(self.order),
                bytes_done=self._bytes_done,
                bytes=total,
                chunks=self._chunks,
                rate=self._chunks / seconds,
                path=path,
            )
        )


def _is_gone(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:
        return False  # it lies where nobody may look


def _is_text(name: str) -> bool:
    """Whether a path can be stored and printed: Python gives bytes that are not UTF-8 as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes_per_chunk(path: str) -> int:
    plain = Path(path).suffix.lower() in (".txt", ".md", ".rst", ".csv", ".py", ".json", ".jsonl", ".srt", ".vtt")
    return _CHARACTERS_PER_CHUNK if plain else _BYTES_PER_CHUNK
