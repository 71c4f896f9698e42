"""Which memories hold which words of a query, from full text; and how well that covers the query. N rows of `Columns`.

The score of one word in one text is BM25's (Robertson and Zaragoza, 2009) for a word that stands there once, which in
statements of a sentence it does. It is divided by what all the words would weigh, so that a score means the same in
stores of any size: about 1 where a text of usual length holds every word of the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory.cache import Columns
from retrieval.fulltext import both_ends, fts_terms

_SATURATION = 1.2
_LENGTH = 0.5
"""How far a text of more than the usual length counts for less. BM25's usual .75 and this differ by less than .01 of
recall on BEAM."""
AROUND = 0.5
"""What a word is worth in a memory that stands beside the one where it was said: people do not repeat the topic with
every turn. From .3 to .7 there is no difference on BEAM."""
_COMMON = 0.05
"""A word that more than this share of the memories hold says little; it is left out where rarer ones do the work."""
_FEW = 1000
"""Common words are left out only if they stand in more memories than this: reading fewer costs nothing."""

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Words:
    """For each row: how its own words cover the query, what its neighbours' words add, and the share of the words it
    holds."""

    own: Floats  # [N]
    around: Floats  # [N]
    share: Floats  # [N]


def postings(connection: Connection, query: str) -> list[Ids]:
    """For each word of `query` the ids of the active memories that hold it, of every scope."""
    rows = connection.exec_driver_sql("SELECT count(*) FROM memories_fts_docsize").scalar_one()
    limit = max(_FEW, int(_COMMON * rows))
    terms = fts_terms(both_ends(query))
    telling = terms if rows <= limit else [term for term in terms if _frequency(connection, term, limit + 1) <= limit]
    return [_holding(connection, term) for term in telling or terms[:1]]


def _frequency(connection: Connection, term: str, limit: int) -> int:
    """How many memories hold a word, counted up to `limit`: the list of a word that most of them hold is long."""
    return int(
        connection.exec_driver_sql(
            "SELECT count(*) FROM (SELECT 1 FROM memories_fts WHERE memories_fts MATCH ? LIMIT ?)", (term, limit)
        ).scalar_one()
    )


def _holding(connection: Connection, term: str) -> Ids:
    # One string of numbers crosses from SQLite several times as fast as a row for each.
    joined = connection.exec_driver_sql(
        "SELECT group_concat(rowid) FROM memories_fts WHERE memories_fts MATCH ?", (term,)
    ).scalar_one()
    if joined is None:
        return np.empty(0, np.int64)
    return np.fromstring(joined, np.int64, sep=",")


def words(found: Sequence[Ids], columns: Columns, allowed: NDArray[np.bool_]) -> Words:
    """How the memories `allowed` [N] cover a query whose words stand in `found`."""
    n = len(columns.ids)
    own, best, share = (np.zeros(n, np.float32) for _ in range(3))
    count = int(allowed.sum())
    if not found or not count:
        return Words(own, best, share)
    usual = float(columns.lengths[allowed].mean()) or 1.0
    weight = 0.0
    here = np.empty(n + 1, np.float32)  # the last is for rows that have no neighbour
    for ids in found:
        rows = columns.rows(ids)
        rows = rows[allowed[rows]]
        rarity = float(np.log1p((count - len(rows) + 0.5) / (len(rows) + 0.5)))
        weight += rarity
        longer = 1 - _LENGTH + _LENGTH * columns.lengths[rows] / usual
        score = (rarity * (_SATURATION + 1) / (1 + _SATURATION * longer)).astype(np.float32)  # [rows]
        own[rows] += score
        share[rows] += 1 / len(found)
        here[:] = 0
        here[rows] = score
        for beside in (columns.following[rows], columns.previous[rows]):
            here[beside] = np.maximum(here[beside], AROUND * score)
        best += here[:n]
    return Words(own / weight, (best - own) / weight, share)
