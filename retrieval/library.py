"""The library: one folder's documents, searched, shown, removed and kept sound. Every door goes through this class.

Knows no files to read: `retrieval.ingest` brings them.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select, text, update

from retrieval import chunker, documents
from retrieval.bounds import admitted
from retrieval.catalogue import catalogue, document_info, find_document
from retrieval.check import find_problems
from retrieval.chunk_rows import ChunkRows
from retrieval.cipher import Key
from retrieval.documents import as_of, epoch_of
from retrieval.embedder import Embedder, TokenMatcher, load_embedder
from retrieval.epoch_build import drop_epochs
from retrieval.epoch_process import Builder
from retrieval.errors import EmbedderMismatch
from retrieval.foreign import languages_beyond
from retrieval.fulltext import fts_terms
from retrieval.language import pieces_per_word
from retrieval.outline import sections_of
from retrieval.position import position_of
from retrieval.query import Query, read_query
from retrieval.readers.extraction import VERSION as READER_VERSION
from retrieval.reindex import reindex
from retrieval.reranker import SecondLook
from retrieval.schema import documents as documents_table
from retrieval.schema import extractions
from retrieval.scrub import scrub
from retrieval.search import Searcher
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import open_database, reading, writing
from retrieval.tables.grid import Row as TableRow
from retrieval.tables.renew import bring_up
from retrieval.tables.store import Listed, listed, rows_of
from retrieval.types import DocumentInfo, Drift, Passage, Position, Section
from retrieval.unchanged import drift_of
from retrieval.vectors import VectorIndex

_MIGRATIONS = Path(__file__).parent / "migrations"

_KEPT = 2048
"""Vectors of what was handed over with questions that are kept, about 2 kB each."""


class Library:
    """`library.db` in `folder`, with its vector cache in `cache`. Safe to use from several threads and processes.

    With a `key` the database is encrypted, and the vectors, which tell of the texts, are indexed in memory alone.

    The embedder is loaded on first need; `embedder` replaces the one that the settings name.

    :raises DatabaseProblem: the database is damaged, of a newer version, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        settings: RetrievalSettings,
        embedder: Callable[[], Embedder] | None = None,
        key: Key | None = None,
    ) -> None:
        self.folder = folder
        self.cache = cache
        self.settings = settings
        self.engine = open_database(folder / "library.db", _MIGRATIONS, key=key)
        self._cached_in = cache if key is None else None
        self._load_embedder = embedder or (lambda: load_embedder(settings.embedder))
        self.second_look = SecondLook(settings.reranker, settings.rerank)
        self._searcher = Searcher(self.engine, settings)
        self._kept: dict[str, NDArray[np.float32]] = {}
        self._listed: tuple[tuple[Any, ...], list[Listed]] | None = None

    def close(self) -> None:
        self.engine.dispose()

    # --- searching

    def epoch(self) -> int:
        """A number that grows with each change of content."""
        with reading(self.engine) as db:
            return documents.epoch_of(db)

    def search(
        self,
        query: str,
        *,
        collections: Sequence[str],
        limit: int = 10,
        documents: Sequence[str] | None = None,
        epoch: int | None = None,
    ) -> list[Passage]:
        """Return the best passages within `collections` (and `documents`, by id), best first.

        The filters that `query` may hold are in `retrieval.query`. With `epoch`, what was added after it is not found.

        :raises EmbedderMismatch: the library's vectors are another embedder's.
        :raises LibraryChanged: what was there at `epoch` is not all there any more.
        :raises NoSuchDocument: one of `documents` is not a document's id.
        :raises RerankerNotFound: the settings name a reranker that is not there.
        """
        asked = read_query(query)
        if not asked.words or limit < 1 or self.epoch() == 0:
            return []
        wanted = None if documents is None else {int(self.document(name).id[1:]) for name in documents}
        if asked.bounds_documents:
            with reading(self.engine) as db:
                let_through = admitted(db, asked, collections)
            wanted = let_through if wanted is None else wanted & let_through
        vector = self.embed([asked.words])[0]
        pieces = pieces_per_word(asked.words, self.embedder.count_tokens)
        required, preferred = ((), asked.phrases) if asked.is_question else (asked.phrases, ())
        most = self.second_look.depth(limit)
        found = self._searcher.search(
            asked.words, vector, self._index, collections, most, wanted, epoch, required, preferred, pieces
        )
        return self.second_look.order(asked.words, found)[:limit]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed with the library's embedder: [N, D], rows of length 1.

        :raises EmbedderMismatch: the library's vectors are another embedder's.
        """
        with reading(self.engine) as db:
            self.check_embedder(db)
        return self.embedder.encode(texts)

    def embed_kept(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `embed`, of texts that the next question is likely to ask of, too: their vectors are kept.

        A text's vector differs in the third digit by how many are embedded at once (bfloat16), and so, here, by what
        was asked before. A question is none of them: it is always embedded alike.

        :raises EmbedderMismatch: the library's vectors are another embedder's.
        """
        known = self._kept  # never changed, since other threads read it
        new = [one for one in dict.fromkeys(texts) if one not in known]
        if new:
            known = known | dict(zip(new, self.embed(new), strict=True))
            self._kept = known if len(known) <= _KEPT else {one: known[one] for one in texts}
        return np.array([known[one] for one in texts], dtype=np.float32).reshape(len(texts), self.embedder.dimension)

    def match(
        self, question: str, parts: Sequence[tuple[int, int]], texts: Sequence[str]
    ) -> NDArray[np.float32] | None:
        """How well each text matches each of the `parts` of `question` token by token, [N, P]; None if the embedder
        cannot tell."""
        return self.embedder.match(question, parts, texts) if isinstance(self.embedder, TokenMatcher) else None

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder in use, whether or not the library was made with it."""
        return self._load_embedder()

    def check_embedder(self, db: Connection) -> None:
        """Compare the embedder in use with the library's; an empty library takes any.

        :raises EmbedderMismatch: they differ; it names both and the command that mends it.
        """
        known = documents.get_meta(db, "embedder_sha256")
        if known is not None and known != self.embedder.sha256:
            name = documents.get_meta(db, "embedder_id")
            raise EmbedderMismatch(
                f"The library was made with the embedder {name} ({known[:12]}); "
                f"the settings name {self.embedder.id} ({self.embedder.sha256[:12]}).",
                "Run `loci library reindex` to embed it anew, or set the embedder back.",
            )

    def claim_embedder(self, db: Connection) -> None:
        """Check the embedder and, in a library without one, record it: part of each transaction that adds vectors."""
        self.check_embedder(db)
        if documents.get_meta(db, "embedder_sha256") is None:
            documents.set_meta(db, "embedder_sha256", self.embedder.sha256)
            documents.set_meta(db, "embedder_id", self.embedder.id)
            documents.set_meta(db, "dimension", str(self.embedder.dimension))

    @cached_property
    def _index(self) -> VectorIndex:
        embedder = self.embedder
        identity = {
            "embedder": embedder.id,
            "sha256": embedder.sha256,
            "chunker": chunker.VERSION,
            "reader": READER_VERSION,
        }
        dimension = embedder.dimension
        source = ChunkRows(self.engine, dimension)
        builder = Builder(self.folder, self.cache, dimension, identity | {"dimension": dimension})
        return VectorIndex(self._cached_in, source, dimension, identity, self.settings.rebuild_after, builder)

    def forget_index(self) -> None:
        """Drop what this process holds of the vectors, after they were made anew."""
        self.__dict__.pop("_index", None)

    # --- the catalogue

    def documents(self, collections: Sequence[str] | None = None, filters: Query | None = None) -> list[DocumentInfo]:
        """All documents, or those of `collections`, by collection and path; those that `filters` let through."""
        query = catalogue()
        if collections is not None:
            query = query.where(documents_table.c.collection.in_(list(collections)))
        with reading(self.engine) as db:
            found = [document_info(row) for row in db.execute(query)]
            if filters is None or not filters.bounds_documents:
                return found
            let_through = admitted(db, filters, sorted({one.collection for one in found}))
            return [one for one in found if int(one.id[1:]) in let_through]

    def document(self, reference: str, collections: Sequence[str] = ()) -> DocumentInfo:
        """The document with this id (`d12`), this path, or a path that ends in it; of several, that in `collections`.

        :raises NoSuchDocument: there is none, or more than one.
        """
        with reading(self.engine) as db:
            return find_document(db, reference, collections)

    def drifted(self, documents: Iterable[str]) -> dict[str, Drift]:
        """Those of `documents`, by id, whose files are not as they were when they were read (`drift_of`)."""
        table = documents_table.c
        ids = [int(one[1:]) for one in documents]
        query = select(table.id, table.path, table.bytes, table.mtime_ns, table.file_sha256).where(table.id.in_(ids))
        with reading(self.engine) as db:
            rows = db.execute(query).all()
        return {f"d{row.id}": drift for row in rows if (drift := drift_of(row)) is not None}

    def collections(self) -> list[str]:
        """Names of the collections that hold documents."""
        query = select(documents_table.c.collection).distinct().order_by(documents_table.c.collection)
        with reading(self.engine) as db:
            return list(db.execute(query).scalars())

    def text(self, document: str) -> str:
        """The extraction that all offsets of the document count in.

        :raises NoSuchDocument: as in `document`.
        """
        id = self._id(document)
        with reading(self.engine) as db:
            return str(db.execute(select(extractions.c.text).where(extractions.c.document == id)).scalar_one())

    def sections(self, document: str) -> list[Section]:
        """The sections of the document, in order.

        :raises NoSuchDocument: as in `document`.
        """
        id = self._id(document)
        with reading(self.engine) as db:
            return sections_of(db, id)

    def locate(self, document: str, start: int, end: int) -> Position:
        """Page, line and locator of the range `text(document)[start:end]`.

        :raises NoSuchDocument: as in `document`.
        """
        id = self._id(document)
        with reading(self.engine) as db:
            return position_of(db, id, start, end)

    def tables(
        self, collections: Sequence[str], documents: Sequence[str] | None = None, epoch: int | None = None
    ) -> list[Listed]:
        """The tables of spreadsheets in `collections` (and `documents`, by id), without their rows.

        :raises LibraryChanged: what was there at `epoch` is not all there any more.
        """
        bring_up(self.engine)
        wanted = None if documents is None else [self._id(name) for name in documents]
        with reading(self.engine) as db:
            key = (epoch_of(db), tuple(collections), None if wanted is None else tuple(wanted), as_of(db, epoch))
            if self._listed is None or self._listed[0] != key:
                self._listed = key, listed(db, *key[1:])
            return self._listed[1]

    def table_rows(self, table: int) -> list[TableRow]:
        """The rows of one of `tables`, in order; none where it is gone meanwhile."""
        with reading(self.engine) as db:
            return rows_of(db, table)

    def remove(self, document: str) -> None:
        """Take a document out, with its text, passages and vectors.

        :raises NoSuchDocument: as in `document`.
        """
        id = self._id(document)
        with writing(self.engine) as db:
            documents.drop(db, id)

    def holds(self, word: str, but: Collection[str] = ()) -> bool:
        """Whether a passage of any document, `but` these, has the word, in whatever form full text takes for it."""
        terms = fts_terms(word)
        with reading(self.engine) as db:
            found = text(
                "SELECT 1 FROM chunks_fts JOIN chunks ON chunks.id = chunks_fts.rowid WHERE chunks_fts MATCH :terms "
                "AND document NOT IN :but LIMIT 1"
            ).bindparams(bindparam("but", [int(one[1:]) for one in but], expanding=True))
            return bool(terms) and db.execute(found, {"terms": " AND ".join(terms)}).first() is not None

    def scrub(self) -> None:
        """Rewrite library.db without the bytes of what was removed, and drop the vector cache, which is made anew.

        :raises DatabaseProblem: another process keeps the file from being rewritten, or the disk is full.
        """
        self.forget_index()
        drop_epochs(self.cache)
        scrub(self.engine, ("chunks_fts",))

    def pin(self, document: str, on: bool) -> None:
        """A pinned document stays when `ingest --prune` finds its file gone.

        :raises NoSuchDocument: as in `document`.
        """
        id = self._id(document)
        with writing(self.engine) as db:
            db.execute(update(documents_table).where(documents_table.c.id == id).values(pinned=int(on)))

    def _id(self, document: str) -> int:
        return int(self.document(document).id[1:])

    # --- upkeep

    def stats(self) -> dict[str, Any]:
        """Counts and sizes, by collection and in all."""
        known = self.documents()
        with reading(self.engine) as db:
            facts: dict[str, Any] = {
                "documents": len(known),
                "chunks": sum(info.chunks for info in known),
                "characters": sum(info.characters for info in known),
                "bytes": sum(info.bytes for info in known),
                "epoch": documents.epoch_of(db),
                "embedder": documents.get_meta(db, "embedder_id"),
                "dimension": int(documents.get_meta(db, "dimension") or 0),
            }
        names = sorted({info.collection for info in known})
        facts["collections"] = {name: sum(info.collection == name for info in known) for name in names}
        facts["database_bytes"] = sum(file.stat().st_size for file in self.folder.glob("library.db*"))
        facts["cache_bytes"] = sum(file.stat().st_size for file in self.cache.glob("*") if file.is_file())
        return facts

    def check(self, fix: bool = False) -> list[str]:
        """Problems found, in words; with `fix`, the full-text index is made anew from the passages if it is amiss."""
        return find_problems(self.engine, fix)

    def languages_beyond(self) -> dict[str, int]:
        """Languages that the embedder hardly reads, with how many documents of a sample are in each."""
        with reading(self.engine) as db:
            return languages_beyond(db, self.embedder.count_tokens)

    def reindex(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Cut and embed every document anew with the embedder in use, from the stored texts.

        The old passages serve searches until the new ones are all there; an interrupted run goes on where it was.
        `progress` is told how many of how many documents are done.
        """
        reindex(self, progress)
        self.forget_index()
