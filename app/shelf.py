"""Where cited text comes from: the library's documents and the attachments of one turn, under one interface."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.answer import Citation, Status
from app.outline import sections
from app.sentences import Range, content_words, sentences
from app.units import idf
from retrieval.query import Query
from retrieval.tables.grid import Row
from retrieval.tables.store import Listed
from retrieval.types import DocumentInfo, Drift, Locator, Passage, Position, Section

_PIECE = 900
"""Characters of one passage of an attachment, about what the library cuts."""
_EMBEDDED = 256
"""Passages of all attachments, the best by words, that are compared by meaning, too: each takes 25 ms."""


class Library(Protocol):
    """What a turn needs of `retrieval.library.Library`."""

    def epoch(self) -> int: ...
    def search(
        self,
        query: str,
        *,
        collections: Sequence[str],
        limit: int = 10,
        documents: Sequence[str] | None = None,
        epoch: int | None = None,
    ) -> list[Passage]: ...
    def drifted(self, documents: Iterable[str]) -> dict[str, Drift]: ...
    def text(self, document: str) -> str: ...
    def locate(self, document: str, start: int, end: int) -> Position: ...
    def document(self, reference: str) -> DocumentInfo: ...
    def documents(
        self, collections: Sequence[str] | None = None, filters: Query | None = None
    ) -> list[DocumentInfo]: ...
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
    def embed_kept(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
    def sections(self, document: str) -> list[Section]: ...
    def tables(
        self, collections: Sequence[str], documents: Sequence[str] | None = None, epoch: int | None = None
    ) -> list[Listed]: ...
    def table_rows(self, table: int) -> list[Row]: ...
    def match(self, question: str, parts: Sequence[Range], texts: Sequence[str]) -> NDArray[np.float32] | None: ...


class Shelf:
    """The library with a turn's attachments beside it; an attachment's id is `a1`, `a2`, ... and its path its name."""

    def __init__(self, library: Library, attachments: Sequence[tuple[str, str]] = ()) -> None:
        self.library = library
        self._attached = {f"a{n}": (name, text) for n, (name, text) in enumerate(attachments, 1)}
        self._texts: dict[str, str] = {}
        self._hashes: dict[str, str] = {}

    def text(self, document: str) -> str:
        """The extraction that offsets count in."""
        if document in self._attached:
            return self._attached[document][1]
        if document not in self._texts:  # a check asks for the same text once per claim
            self._texts[document] = self.library.text(document)
        return self._texts[document]

    def sha256(self, document: str) -> str:
        """Of the extraction, as citations name it."""
        if document not in self._hashes:
            self._hashes[document] = hashlib.sha256(self.text(document).encode()).hexdigest()
        return self._hashes[document]

    def named(self, document: str) -> tuple[str, str]:
        """Its path and its title."""
        if document in self._attached:
            return self._attached[document][0], self._attached[document][0]
        found = self.library.document(document)
        return found.path, found.title or found.path

    def sections(self, document: str) -> list[Section]:
        """Its sections, in order; an attachment is one."""
        if document in self._attached:
            return [(0, len(self._attached[document][1]), "")]
        return self.library.sections(document)

    def attachments(self) -> tuple[str, ...]:
        """Ids of all attachments."""
        return tuple(self._attached)

    def locate(self, document: str, start: int, end: int) -> Position:
        if document in self._attached:
            return Position(None, self._attached[document][1].count("\n", 0, start) + 1)
        return self.library.locate(document, start, end)

    def cite(self, n: int, where: Range, passage: Passage, place: Range, status: Status) -> Citation:
        """A citation, for `where` in the answer, of `place` in the passage's document; its quote is cut from there."""
        start, end = place
        position = self.locate(passage.document, start, max(end, start + 1))
        return Citation(
            n,
            where[0],
            where[1],
            passage.document,
            passage.path,
            passage.title,
            position.page,
            position.line,
            start,
            end,
            position.locator,
            self.text(passage.document)[start:end],
            passage.text_sha256,
            status,
        )

    def held_to_disk(self, citations: Sequence[Citation]) -> tuple[Citation, ...]:
        """`citations`, each with how its file differs from what was read; what was handed over has none."""
        drifted = self.library.drifted({one.document for one in citations if one.document} - self._attached.keys())
        return tuple(replace(one, on_disk=drifted.get(one.document)) for one in citations)

    def attached(self, question: str, limit: int) -> list[Passage]:
        """The passages of the attachments nearest to the question, best first."""
        found = [passage for id in self._attached for passage in self.whole(id)]
        if not found:
            return []
        words = [content_words(passage.text) for passage in found]
        asks = list(dict.fromkeys(content_words(question)))
        weight = idf(asks, words)
        total = sum(weight.values()) or 1.0
        lexical = [sum(weight[word] for word in asks if word in own) / total for own in words]
        best = sorted(range(len(found)), key=lambda n: -lexical[n])[: max(_EMBEDDED, limit)]
        asked = self.library.embed([question])[0]
        scored = []
        for n, vector in zip(best, self.library.embed_kept([found[n].text for n in best]), strict=True):
            dense = float(vector @ asked)
            scored.append(replace(found[n], score=dense + lexical[n], dense=dense, lexical=lexical[n]))
        return sorted(scored, key=lambda passage: -passage.score)[:limit]

    def holds(self, document: str) -> bool:
        """Whether `document` is an attachment."""
        return document in self._attached

    def whole(self, document: str) -> list[Passage]:
        """All of an attachment as passages, in order."""
        name, text = self._attached[document]
        sha256 = self.sha256(document)
        found: list[Passage] = []
        for start, end, line, section in _cut(text):
            place, own = Locator(section=section or None), text[start:end]
            found.append(
                Passage(-1, document, name, name, None, line, start, end, place, own, sha256, "", 0.0, None, None)
            )
        return found


@lru_cache(maxsize=4)  # the next question asks of the same texts; half a second a megabyte
def _cut(text: str) -> list[tuple[int, int, int, str]]:
    """The passages of an attachment: start, end, line and section."""
    found: list[tuple[int, int, int, str]] = []
    line, counted = 1, 0
    for start, end, section in sections(text, _PIECE):
        line += text.count("\n", counted, start)
        counted = start
        found.append((start, end, line, section))
    return found


def pieces(text: str, start: int = 0, end: int | None = None) -> list[Range]:
    """`text[start:end]` in pieces of whole sentences, each about what the library cuts."""
    found: list[Range] = []
    for first, last in sentences(text, start, end):
        if found and last - found[-1][0] <= _PIECE:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
