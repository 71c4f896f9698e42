"""One query over the library: meaning and words, fused. Knows no files.

D embedding dim.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, func, select, text

from retrieval.allowed import allowed_ids
from retrieval.bounds import holding
from retrieval.documents import as_of, epoch_of, listed, vectors_of
from retrieval.foreign import language_of
from retrieval.fulltext import both_ends, fts_beginnings, fts_ends, fts_phrase, fts_terms, thousands
from retrieval.fusion import best_bm25, fuse
from retrieval.language import INFLECTED, trust, weight_of_runs
from retrieval.postings import Postings
from retrieval.repeats import repeats
from retrieval.runs import share_of_numbers, share_of_runs
from retrieval.scans import certainty_of
from retrieval.schema import chunks
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading
from retrieval.types import Locator, Passage
from retrieval.vectors import Ids, VectorIndex, Vectors, contained

_COMMON = 0.2
"""A term in more passages than this share tells little and costs the most time; it is left out beside rarer ones."""

_SPARE = 2
"""So many times the passages asked for are looked at, since some repeat others."""

_QUOTED = 0.15
"""Of what a passage's score lacks to 1, the part it gains if it holds all that a question quotes."""

_NUMBERED = 0.03
"""The part of it that a passage gains if it or a neighbour has all numbers of the query. From .02 to .05 there is no
difference of more than a question in XQuAD."""

_COMPARED = 20
"""Passages, the best first, that are compared with the query by runs of characters: about .2 ms each. In a language
that neither embedder nor stemmer knows, all candidates are."""

_COMPOUNDING = frozenset({"German", "Dutch"})
"""Languages that write compounds as one word, whose parts may stand alone in the documents."""

_SMALL = 1000
"""In a library below this many passages, common terms cost nothing."""

_POSTINGS = 20_000
"""Passages that the terms of one search may name together, rarest terms first: each costs .2 us."""

_TOGETHER = 20_000
"""Where so many passages have all terms of a search, these tell nothing."""

_FOUND = """
    SELECT c.id, c.document, c.start, c."end", c.line, c.page, c.section, c.sheet, c.cells, c.slide, c.text,
           d.path, d.title, d.collection, d.metadata, e.sha256
    FROM chunks c JOIN documents d ON d.id = c.document
         JOIN extractions e INDEXED BY extraction_facts ON e.document = c.document
    WHERE c.id IN ({ids})"""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is kept between queries, valid for one epoch: a thread may still search the one before."""

    epoch: int
    rows: int
    """Passages in all."""
    postings: Postings
    allowed: dict[tuple[object, ...], Ids] = field(default_factory=dict)
    frequencies: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def common(self) -> int:
        """Passages from which a term is common."""
        return self.rows + 1 if self.rows < _SMALL else min(int(_COMMON * self.rows), _POSTINGS)

    def frequency(self, db: Connection, term: str, most: int) -> int:
        """Passages that have the term, counted up to `most`."""
        if (term, most) not in self.frequencies:
            query = text("SELECT count(*) FROM (SELECT 1 FROM chunks_fts WHERE chunks_fts MATCH :term LIMIT :most)")
            self.frequencies[term, most] = int(db.execute(query, {"term": term, "most": most}).scalar_one())
        return self.frequencies[term, most]


class Searcher:
    """Search in one open library, from any thread."""

    def __init__(self, engine: Engine, settings: RetrievalSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._known = _Known(-1, 0, Postings())

    def search(
        self,
        query: str,
        vector: NDArray[np.float32],
        index: VectorIndex,
        collections: Sequence[str],
        limit: int,
        wanted: Collection[int] | None,
        epoch: int | None,
        required: Sequence[str] = (),
        preferred: Sequence[str] = (),
        pieces: float = 1.0,
    ) -> list[Passage]:
        """Return the best `limit` passages, which hold all phrases that are `required` and rather those that
        are `preferred`; `vector` is the query's, [D].

        `pieces` are the embedder's tokens per word of the query (`retrieval.language`).

        :raises LibraryChanged: pinned to an `epoch` whose passages are not all there any more.
        """
        settings = self._settings
        query = both_ends(query)
        with reading(self._engine) as db:
            known = self._renewed(db)
            allowed = self._allowed_ids(db, known, collections, wanted, epoch)
            if required:
                allowed = np.intersect1d(allowed, holding(db, required), assume_unique=True)
            if not len(allowed):
                return []
            # 1. by meaning
            scores, ids = index.search(vector[None, :], settings.candidates, allowed)
            dense = {int(id): float(score) for id, score in zip(ids[0], scores[0], strict=True) if id >= 0}
            # 2. by words
            lexical, best = self._lexical(db, known, query, allowed, pieces)
            # 3. what only words found gets its cosine too, so that both are judged alike
            missing = [id for id in lexical if id not in dense]
            if missing:
                cosines = vectors_of(db, missing, len(vector)) @ vector
                dense |= {id: float(cosine) for id, cosine in zip(missing, cosines, strict=True)}
            # 4. one order
            weight = settings.dense_weight
            weight *= trust(pieces) if weight < 1 else 1  # meaning alone stays alone
            ranked = fuse(dense, lexical, best, weight)
            if 0 < weight < 1:
                ranked = self._compared(db, query, ranked, pieces)
            if preferred:
                ranked = _preferring(ranked, [holding(db, [phrase]) for phrase in preferred])
            ranked = ranked[: _SPARE * limit]
            # 5. what several documents say counts once
            found = _passages(db, ranked, dense, lexical)
            return _once(found, vectors_of(db, [one.chunk for one in found], len(vector)))[:limit]

    def _renewed(self, db: Connection) -> _Known:
        """What is kept, for the epoch that `db` reads."""
        known = self._known
        if (current := epoch_of(db)) != known.epoch:
            rows = int(db.execute(select(func.count()).select_from(chunks)).scalar_one())
            known = self._known = _Known(current, rows, known.postings.renewed(db))
        return known

    def _allowed_ids(
        self,
        db: Connection,
        known: _Known,
        collections: Sequence[str],
        wanted: Collection[int] | None,
        epoch: int | None,
    ) -> Ids:
        """Ids, ascending, of all passages that may be found: whatever bounds a search bounds it before the ranking."""
        epoch = as_of(db, epoch)
        key = (tuple(sorted(set(collections))), None if wanted is None else tuple(sorted(wanted)), epoch)
        if (allowed := known.allowed.get(key)) is None:
            if len(known.allowed) >= 16:
                known.allowed.clear()
            allowed = known.allowed[key] = allowed_ids(db, key[0], wanted, epoch)
        return allowed

    def _lexical(
        self, db: Connection, known: _Known, query: str, allowed: Ids, pieces: float
    ) -> tuple[dict[int, float], float]:
        """The best candidates by BM25 (higher is better), and the BM25 that a perfect one would have."""
        terms = _either_way(db, known, query, fts_terms(query))
        if pieces >= INFLECTED:
            parts = _parts(db, known, terms) if language_of(query) in _COMPOUNDING else ()
            terms = list(dict.fromkeys([*fts_beginnings(terms), *parts]))
        frequencies = {term: known.frequency(db, term, known.common) for term in terms}
        found = {term: n for term, n in frequencies.items() if n}
        rare = {term: n for term, n in found.items() if n < known.common}
        # Terms that the library lacks stay in the measure: a passage that has all the others is still not perfect.
        used = _within(rare, _POSTINGS) or {term: known.frequency(db, term, known.rows) for term in found}
        best = best_bm25([*used.values(), *(n for n in frequencies.values() if not n)], known.rows)
        if not used:
            return {}, best
        if rare or known.rows < _POSTINGS:
            return known.postings.best(db, used, known.rows, allowed, self._settings.candidates), best
        # Where every term is common, what has all of them is few enough to rank, or they tell nothing.
        together = " AND ".join(used)
        if known.frequency(db, together, _TOGETHER) >= _TOGETHER:
            return {}, best
        return known.postings.best_with_all(db, together, used, known.rows, allowed, self._settings.candidates), best

    def _compared(
        self, db: Connection, query: str, ranked: Sequence[tuple[int, float]], pieces: float
    ) -> list[tuple[int, float]]:
        """`ranked` anew: the first by the runs and numbers, too, that they and their neighbours share with `query`."""
        share = weight_of_runs(pieces)
        depth = _COMPARED if pieces < INFLECTED else self._settings.candidates
        texts = _surroundings(db, [id for id, _ in ranked[:depth]])
        # How long passage and neighbours are tells of where a document was cut, nothing of how much they say.
        runs, numbers = share_of_runs(query, texts, b=1), share_of_numbers(query, texts)
        # The others share none for all we know, which leaves them behind the first ones.
        kept = [(id, (1 - share) * score) for id, score in ranked]
        scores = np.array([score for _, score in kept[:depth]]) + share * runs
        scores += _NUMBERED * numbers * (1 - scores)
        first = [(id, score) for (id, _), score in zip(kept[:depth], scores.tolist(), strict=True)]
        return sorted(first, key=lambda item: (-item[1], item[0])) + kept[depth:]


def _either_way(db: Connection, known: _Known, query: str, terms: list[str]) -> list[str]:
    """`terms`, where each number of `query` stands for both ways of writing it if the library has the other one."""
    for parts in thousands(query):
        whole, apart = fts_phrase("".join(parts)), fts_phrase(" ".join(parts))
        if known.frequency(db, apart if whole in terms else whole, 1):
            own = {whole, *map(fts_phrase, parts)}
            terms = [*(term for term in terms if term not in own), f"({whole} OR {apart})"]
    return terms


def _parts(db: Connection, known: _Known, terms: Sequence[str]) -> Iterator[str]:
    """The longest words of the library that each of `terms` begins with and ends in, where it is a compound."""
    for ends in map(fts_ends, terms):
        for parts in ends:
            yield from islice((part for part in parts if known.frequency(db, part, 1)), 1)


def _within(frequencies: Mapping[str, int], most: int) -> dict[str, int]:
    """The rarest terms, as many as name at most `most` passages together."""
    kept: dict[str, int] = {}
    for term, n in sorted(frequencies.items(), key=lambda item: (item[1], item[0])):
        most -= n
        if most < 0 and kept:
            break
        kept[term] = n
    return kept


def _preferring(ranked: Sequence[tuple[int, float]], holders: Sequence[Ids]) -> list[tuple[int, float]]:
    """`ranked` anew: what is among `holders`, ids of the passages that hold a quoted phrase each, gains."""
    ids = np.array([id for id, _ in ranked], dtype=np.int64)
    held = np.mean([contained(ids, those) for those in holders], axis=0)
    raised = [
        (id, score + _QUOTED * part * (1 - score)) for (id, score), part in zip(ranked, held.tolist(), strict=True)
    ]
    return sorted(raised, key=lambda item: (-item[1], item[0]))


def _once(found: Sequence[Passage], vectors: Vectors) -> list[Passage]:
    """`found` without the passages of other documents that repeat a better one, which names their paths."""
    kept = repeats([one.text for one in found], vectors)
    also: dict[int, list[str]] = {}
    left = []
    for number, (one, first) in enumerate(zip(found, kept, strict=True)):
        if first != number and one.document != found[first].document:
            also.setdefault(first, []).append(one.path)
        else:
            left.append(number)
    return [replace(found[number], also=tuple(dict.fromkeys(also.get(number, ())))) for number in left]


def _surroundings(db: Connection, ids: Sequence[int]) -> list[str]:
    """Each passage with the one before and the one after it in its document; their ids follow one another."""
    near = {id + step for id in ids for step in (-1, 0, 1)}
    query = f"SELECT id, document, generation, text FROM chunks WHERE id IN ({listed(near)})"
    rows = {row.id: row for row in db.exec_driver_sql(query)}
    texts = []
    for id in ids:
        own = rows[id].document, rows[id].generation
        around = (rows.get(id + step) for step in (-1, 0, 1))
        texts.append(" ".join(row.text for row in around if row and (row.document, row.generation) == own))
    return texts


def _passages(
    db: Connection, ranked: Sequence[tuple[int, float]], dense: dict[int, float], lexical: dict[int, float]
) -> list[Passage]:
    query = _FOUND.format(ids=listed(id for id, _ in ranked))
    rows = {row.id: row for row in db.exec_driver_sql(query)}
    return [
        Passage(
            chunk=id,
            document=f"d{row.document}",
            path=row.path,
            title=row.title,
            page=row.page,
            line=row.line,
            start=row.start,
            end=row.end,
            locator=Locator(
                row.section, row.sheet, row.cells, row.slide, certainty_of(json.loads(row.metadata), row.page)
            ),
            text=row.text,
            text_sha256=row.sha256,
            collection=row.collection,
            score=score,
            dense=dense.get(id),
            lexical=lexical.get(id),
        )
        for id, score in ranked
        for row in (rows[id],)
    ]
