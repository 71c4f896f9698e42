"""BM25 over the postings of FTS5's index, weighed here: FTS5's own `bm25` takes 1 us for each match, this a fifth.

Knows no query language and no documents. N passages, T terms.
"""

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from retrieval.epoch_build import Ids
from retrieval.fulltext import TOKENIZE
from retrieval.fusion import K1, idf
from retrieval.vectors import contained

Scores = NDArray[np.float64]

_B = 0.75
"""FTS5's own, as `K1` is."""

_MATCHING = "SELECT group_concat(rowid, ' ') FROM chunks_fts WHERE chunks_fts MATCH ?"

_TOKENS = threading.Lock()


@dataclass(frozen=True, slots=True)
class Postings:
    """The full-text index of a library, with the lengths of its passages held in memory, 2 bytes for each.

    It is never changed, since other threads search with it. When a document moves, its new title's length counts with
    the next opening only: it is a few words of a passage.
    """

    lengths: NDArray[np.uint16] = field(default_factory=lambda: np.zeros(1, np.uint16))
    mean: float = 1.0

    def renewed(self, db: Connection) -> "Postings":
        """Itself with the passages that came since it was made: .3 us for each."""
        # FTS5's record of totals (fts5_index.c): rows, tokens of all headings, tokens of all bodies; empty at first.
        record = db.exec_driver_sql("SELECT block FROM chunks_fts_data WHERE id = 1").scalar_one()
        rows, *tokens = _numbers(record or b"\0").tolist()
        mean = sum(tokens) / max(rows, 1)
        query = "SELECT group_concat(id, ' '), group_concat(hex(sz), '') FROM chunks_fts_docsize WHERE id >= ?"
        ids, sizes = db.exec_driver_sql(query, (len(self.lengths),)).one()
        if ids is None:
            return Postings(self.lengths, mean)
        new = np.fromstring(ids, np.int64, sep=" ")
        lengths = np.zeros(new.max() + 1, np.uint16)
        lengths[: len(self.lengths)] = self.lengths
        # Tokens of the heading and of the body.
        lengths[new] = np.minimum(_numbers(bytes.fromhex(sizes)).reshape(len(new), 2).sum(axis=1), 2**16 - 1)
        return Postings(lengths, mean)

    def best(
        self, db: Connection, frequencies: Mapping[str, int], rows: int, allowed: Ids, wanted: int
    ) -> dict[int, float]:
        """The best `wanted` of the passages `allowed` that have any of the terms, by BM25, higher is better.

        `frequencies` are the passages that have each FTS5 term, `rows` all passages. Scores are those of FTS5's
        `bm25`, but for their sign, and for terms of several tokens: how often these stand in a passage does not count.
        """
        # 1. how often each passage has each term
        postings = _postings(db, list(frequencies))
        ids, place = np.unique(np.concatenate([found for found, _ in postings]), return_inverse=True)  # [N]
        # 2. the sum over the terms of rarity, times a share that grows with how often and falls with the length
        longer = self._longer(ids)
        often = np.concatenate([often for _, often in postings])
        rarity = np.repeat([idf(n, rows) for n in frequencies.values()], [len(found) for found, _ in postings])
        share = often * (K1 + 1) / (often + K1 * (1 - _B + _B * longer[place]))
        scores = np.bincount(place, rarity * share, len(ids)).astype(np.float64, copy=False)
        return _best(ids, scores, allowed, wanted)

    def best_with_all(
        self, db: Connection, together: str, frequencies: Mapping[str, int], rows: int, allowed: Ids, wanted: int
    ) -> dict[int, float]:
        """As `best`, of the passages that match `together`, which have all of the terms: as if each had them once.

        How often they have common terms takes a look at all of their postings, 300 ms among ten million passages.
        """
        ids = _ids(db, _MATCHING, together)
        share = (K1 + 1) / (1 + K1 * (1 - _B + _B * self._longer(ids)))
        return _best(ids, share * sum(idf(n, rows) for n in frequencies.values()), allowed, wanted)

    def _longer(self, ids: Ids) -> Scores:
        """How many times as long as the mean the passages `ids` [N] are."""
        longer: Scores = self.lengths[np.minimum(ids, len(self.lengths) - 1)] / self.mean
        return longer


def _best(ids: Ids, scores: Scores, allowed: Ids, wanted: int) -> dict[int, float]:
    """The best `wanted` of `ids` [N], ascending, that are `allowed`, by `scores` [N], equal ones by id."""
    # Go deeper until enough of what may be found is there: the same as filtering first, at a part of the cost.
    depth = 2 * wanted
    while True:
        if depth < len(ids):
            # All that score as the last of them do: which of them comes first is told by id.
            best = np.flatnonzero(scores >= np.partition(scores, len(ids) - depth)[len(ids) - depth])
        else:
            best = np.arange(len(ids))
        kept = best[contained(ids[best], allowed)]
        if len(kept) >= wanted or depth >= len(ids):
            kept = kept[np.argsort(-scores[kept], kind="stable")][:wanted]
            return dict(zip(ids[kept].tolist(), scores[kept].tolist(), strict=True))
        depth *= 8


def _postings(db: Connection, terms: Sequence[str]) -> list[tuple[Ids, Ids]]:
    """For each of `terms`, ids [N], ascending, of the passages that have it, and how often each does, [N]."""
    db.exec_driver_sql("CREATE VIRTUAL TABLE IF NOT EXISTS temp.instances USING fts5vocab(main, chunks_fts, instance)")
    found = []
    values: tuple[str, ...]
    for term, tokens in zip(terms, _tokens(terms), strict=True):
        if len(tokens) != 1:  # a word that SQLite's older Unicode divides, or two ways of writing a number
            query, values = _MATCHING, (term,)
        elif term.endswith("*"):
            query = "SELECT group_concat(doc, ' ') FROM temp.instances WHERE term BETWEEN ? AND ?"
            values = (tokens[0], tokens[0] + "\U0010ffff")
        else:
            query, values = "SELECT group_concat(doc, ' ') FROM temp.instances WHERE term = ?", (tokens[0],)
        found.append(np.unique(_ids(db, query, *values), return_counts=True))
    return found


def _ids(db: Connection, query: str, *values: str) -> Ids:
    """What `query` finds as one text: to hand over a row for each takes SQLite and Python three times as long."""
    return np.fromstring(db.exec_driver_sql(query, values).scalar_one() or "", np.int64, sep=" ")


@cache
def _tokenizer() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.execute(f'CREATE VIRTUAL TABLE words USING fts5 (word, tokenize = "{TOKENIZE}")')
    db.execute("CREATE VIRTUAL TABLE tokens USING fts5vocab(words, instance)")
    db.commit()
    return db


def _tokens(terms: Sequence[str]) -> list[list[str]]:
    """What the index has for each of `terms`: one stem, mostly."""
    with _TOKENS:
        db = _tokenizer()
        words = enumerate(term.strip('"*') for term in terms)
        db.executemany("INSERT INTO words (rowid, word) VALUES (?, ?)", words)
        tokens: list[list[str]] = [[] for _ in terms]
        for number, token in db.execute("SELECT doc, term FROM tokens"):
            tokens[number].append(token)
        db.rollback()
    return tokens


def _numbers(packed: bytes) -> NDArray[np.int64]:
    """SQLite's variable-length integers: seven bits a byte, the highest first, the last byte without the high bit."""
    data = np.frombuffer(packed, np.uint8)
    last = np.flatnonzero(data < 128)  # of each number
    number = np.searchsorted(last, np.arange(len(data)))
    bits = (data & 127).astype(np.int64) << 7 * (last[number] - np.arange(len(data)))
    return np.add.reduceat(bits, np.append(0, last[:-1] + 1))
