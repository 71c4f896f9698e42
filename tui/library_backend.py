"""The documents' half of the chat's backend: listed, read in, shown, pinned, removed, and looked over."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from app.answer import Citation
from retrieval.errors import NoSuchDocument
from tui.backend import Progress
from tui.rows import AddedRow, DocumentRow, HealthRow, LibraryRow, PinnedRow, SourceRow
from tui.words import citation_place, count, size

if TYPE_CHECKING:
    from app.workspace import Workspace
    from memory.store import MemoryStore
    from retrieval.ingest import Progress as Reading
    from retrieval.library import Library
    from retrieval.readers.page import PagePicture
    from retrieval.types import DocumentInfo

AROUND = 2500
"""Characters of the document shown on each side of a quote."""
BEFORE = 120
"""Characters in front of a quote by which its place on a page is known."""
NAMED = 3
"""Files that are named where many are amiss."""


class LibraryBackend:
    """Over one opened profile, whose rooms open one at a time, when first needed."""

    def __init__(self, workspace: "Workspace") -> None:
        self._workspace = workspace
        self._opening = threading.Lock()
        self._attached: dict[str, str] = {}
        """Texts that were asked about without being in the library, by their hash."""
        self._loading = threading.Lock()  # loading may take minutes, in which the rooms are open

    def _open(self, room: str) -> Any:
        # Rooms are opened lazily and without a lock of their own, while the chat's workers run side by side.
        with self._opening:
            return getattr(self._workspace, room)

    @property
    def _library(self) -> "Library":
        return cast("Library", self._open("library"))

    @property
    def _memory(self) -> "MemoryStore":
        return cast("MemoryStore", self._open("memory"))

    # --- the catalogue

    def library(self, scope: Sequence[str]) -> LibraryRow:
        documents, collections = self._library.documents(list(scope)), self._library.collections()
        pinned = tuple(_document_row(one).title for one in documents if one.pinned)
        return LibraryRow(len(documents), tuple(collections), pinned)

    def documents(self, scope: Sequence[str]) -> list[DocumentRow]:
        return [_document_row(one) for one in self._library.documents(list(scope))]

    def document_text(self, document: str) -> str:
        return self._library.text(document)

    def remove_document(self, document: str) -> None:
        from app.pinned import forget, forget_sessions  # takes what a turn takes

        found = self._library.document(document)
        self._library.remove(found.id)
        if found.pinned:
            forget(self._workspace, found.collection)
        forget_sessions(self._workspace)

    def pin_document(self, document: str, on: bool | None = None) -> DocumentRow:
        found = self._library.document(document)
        self._library.pin(found.id, not found.pinned if on is None else on)
        return _document_row(self._library.document(found.id))

    def keep_pinned(self, collection: str) -> PinnedRow | None:
        with self._loading:  # a question that comes meanwhile waits, as it does for the model
            kept = self._workspace.keep_pinned(collection)
        return None if kept is None else PinnedRow(kept.tokens, kept.documents, kept.pinned)

    def health(self, scope: Sequence[str]) -> HealthRow:
        from retrieval.ingest import estimate  # the readers' libraries take a second to import

        documents, facts = self._library.documents(list(scope)), self._library.stats()
        gone = [one.path for one in documents if not Path(one.path).exists()]
        there = {name: [Path(one.path) for one in documents if one.collection == name] for name in scope}
        changed = sum(
            estimate(self._library, [path for path in paths if path.exists()], name).files
            for name, paths in there.items()
        )
        return HealthRow(
            figures=(
                f"{count(facts['documents'], 'document')} in all collections, {count(facts['chunks'], 'passage')}, "
                f"{size(facts['bytes'])} of files",
                f"{size(facts['database_bytes'])} on disk, and {size(facts['cache_bytes'])} of indexes that can be "
                "made anew",
                f"embedded by {facts['embedder'] or 'nothing yet'}",
            ),
            problems=tuple(self._library.check()),
            changed=changed,
            gone=len(gone),
            gone_named=tuple(gone[:NAMED]),
        )

    def add(self, paths: Sequence[Path], collection: str, progress: Progress) -> AddedRow:
        from retrieval.ingest import ingest  # the readers' libraries take a second to import

        read = 0

        def moved(now: "Reading") -> None:
            nonlocal read
            read = now.files_done
            if not progress(now.files_done, now.files, now.path):
                raise _Stopped

        try:
            results = ingest(self._library, list(paths), collection=collection, progress=moved)
        except _Stopped:
            return AddedRow({"read": read}, 0, ())
        return AddedRow(
            counts=Counter(result.status for result in results),
            chunks=sum(result.chunks for result in results if result.status in ("added", "updated")),
            failed=tuple((result.path, result.reason or "") for result in results if result.status == "failed"),
        )

    def read(self, path: Path) -> str:
        from retrieval.readers import ReaderPool  # as above

        with ReaderPool() as pool:
            return pool.read(path).text

    # --- what answers cite

    def text(self, citation: Citation) -> str:
        attached = self._attached.get(citation.text_sha256)
        return self._library.text(citation.document) if attached is None else attached

    def page(self, citation: Citation, width: int) -> "PagePicture":
        from retrieval.page_picture import page_picture  # as above
        from retrieval.readers import PageAsked

        before = self.text(citation)[max(citation.start - BEFORE, 0) : citation.start]
        asked = PageAsked(citation.page or 1, width, citation.quote, before)
        return page_picture(self._library, citation.document, asked)

    def source(self, citation: Citation) -> SourceRow:
        """The quote in its surroundings; the quote alone where the document changed or left since."""
        before = after = note = ""
        has_page = False
        try:
            text = self.text(citation)
        except NoSuchDocument:
            note = "The document is no longer in the library, or was attached to that question."
        else:
            if sha256(text.encode()).hexdigest() != citation.text_sha256:
                note = "The document has changed since. The quote is shown as it was."
            elif text[citation.start : citation.end] == citation.quote:
                has_page, note = self._has_page(citation), self._since_read(citation)
                before = text[max(citation.start - AROUND, 0) : citation.start]
                after = text[citation.end : citation.end + AROUND]
            else:
                after = "\n\n" + text[max(citation.start - AROUND, 0) : citation.end + AROUND] if citation.end else ""
                note = "The quote, and under it the passage that was cited."
        return SourceRow(
            n=citation.n,
            title=citation.title or Path(citation.path).name,
            path=citation.path,
            where=citation_place(citation),
            status=citation.status,
            before=before,
            quote=citation.quote,
            after=after,
            note=note,
            has_page=has_page,
        )

    def _since_read(self, citation: Citation) -> str:
        """What became of its file since it was read; empty where nothing did."""
        drifted = {} if citation.text_sha256 in self._attached else self._library.drifted([citation.document])
        if drifted.get(citation.document) == "changed":
            return f"Its file has changed since it was read; /add {citation.path} reads it again."
        return "Its file is gone from disk." if drifted else ""

    def _has_page(self, citation: Citation) -> bool:
        """Whether it is of a page of a PDF that is in the library, and not of a file that was handed over."""
        of_pdf = citation.page is not None and citation.path.casefold().endswith(".pdf")
        return of_pdf and citation.text_sha256 not in self._attached


class _Stopped(Exception):
    """The user stopped the reading of files; what was read is kept."""


def local_time(stamp: str) -> str:
    """`2026-03-01 14:05` in local time, from UTC in ISO 8601."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")


def _document_row(document: "DocumentInfo") -> DocumentRow:
    return DocumentRow(
        id=document.id,
        title=document.title or Path(document.path).name,
        path=document.path,
        collection=document.collection,
        pages=document.pages,
        passages=document.chunks,
        bytes=document.bytes,
        read=local_time(document.ingested_at),
        pinned=document.pinned,
    )
