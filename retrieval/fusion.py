"""Two rankings made one. Pure functions; knows nothing about where the scores come from."""

import math
from collections.abc import Iterable, Mapping

K1 = 1.2
"""FTS5's own, as is the idf below (sqlite3 fts5_aux.c)."""


def idf(frequency: int, rows: int) -> float:
    """What a term that `frequency` of `rows` passages have tells: the first factor of its BM25."""
    return max(1e-6, math.log((rows - frequency + 0.5) / (frequency + 0.5)))


def best_bm25(frequencies: Iterable[int], rows: int) -> float:
    """Return the BM25 that no row can exceed: every term of the query, as often as it takes.

    `frequencies` are the document frequencies of the terms, `rows` the size of the collection.
    """
    return sum(idf(n, rows) * (K1 + 1) for n in frequencies)


def fuse(
    dense: Mapping[int, float], lexical: Mapping[int, float], best: float, weight: float
) -> list[tuple[int, float]]:
    """Return (id, score) pairs, best first, of a weighted mean of cosine and BM25 as a share of `best`.

    Scores stay within [0, 1] and compare across queries: the share is not relative to what happened to be found, so a
    query whose words are not in the library scores low. Equal scores are ordered by id. Reciprocal ranks
    have no such scale: their scores say nothing of whether anything was found at all.
    """
    scores = {
        id: weight * max(dense.get(id, 0.0), 0.0) + (1 - weight) * min(lexical.get(id, 0.0) / max(best, 1e-9), 1.0)
        for id in dense.keys() | lexical.keys()
    }
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
