"""Recall: from a query to the memories that bear on it. N memories, D embedding dim.

1. every memory of the scopes is measured against the query, in columns: by meaning and by words, its own and its
   neighbours' in the conversation, by who said it and when;
2. the best by the weighted sum become candidates, with what superseded them;
3. the candidates are judged for relevance and ordered; a question for what holds now puts later statements first.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory import lexical, records, tuning
from memory.banks import Bank, within
from memory.cache import Columns, RecallCache
from memory.clock import utc
from memory.current import FIRST, asks_for_present, latest_first
from memory.dates import find_span
from memory.ranking import Scored, rank
from memory.settings import MemorySettings
from memory.types import Recalled

_POOL = 50  # candidates that are judged, at least

Measured = dict[str, NDArray[np.float32]]


def recall(
    connection: Connection,
    cache: RecallCache,
    query: str,
    vector: NDArray[np.float32],
    scopes: Sequence[str],
    settings: MemorySettings,
    limit: int,
    budget: Mapping[Bank, int] | None,
    now: datetime | None,
) -> list[Recalled]:
    """The memories of `scopes` that bear on `query` with its `vector` [D], best first, at most `limit`, and of
    each bank at most its `budget` where there is one."""
    found = lexical.postings(connection, query)
    weights = tuning.weights(connection)
    with cache.level(connection) as columns:
        # 1. measure
        allowed = np.isin(columns.scopes, [columns.scope_codes[one] for one in scopes if one in columns.scope_codes])
        if not allowed.any():
            return []
        words = lexical.words(found, columns, allowed)
        cosines = columns.vectors @ vector if columns.embedded.any() else np.zeros(len(columns.ids), np.float32)  # [N]
        measured: Measured = {
            "meaning": cosines,
            "meaning around": _around(cosines, columns),
            "words": words.own,
            "words around": words.around,
            "speaker": _speaker(query, columns),
            "time": _time(query, columns, now),
        }
        # 2. candidates
        rows = _best(measured, weights, allowed, max(_POOL, 2 * limit))
        known = records.get_many(connection, columns.ids[rows].tolist())
        later = {m.superseded_by for m in known.values() if m.superseded_by is not None} - known.keys()
        known |= {m.id: m for m in records.get_many(connection, later).values() if m.state == "active"}
        row_of = dict(zip(known, columns.rows(np.array(list(known), np.int64)).tolist(), strict=True))
        candidates = [
            Scored(
                memory,
                float(cosines[row]) if columns.embedded[row] else None,
                float(words.own[row]) or None,
                float(words.share[row]),
                {name: float(values[row]) for name, values in measured.items()},
            )
            for memory, row in ((memory, row_of[key]) for key, memory in known.items())
        ]
        # 3. order
        ranked = rank(candidates, settings, weights)
        if asks_for_present(query) and len(ranked) > 1:
            first = [row_of[one.memory.id] for one in ranked[:FIRST]]
            alike = columns.vectors[first] @ columns.vectors[first].T  # [FIRST, FIRST]
            place = {one.memory.id: index for index, one in enumerate(ranked[:FIRST])}
            ranked = latest_first(
                ranked,
                lambda one: float(words.share[row_of[one]]),
                lambda one, other: float(alike[place[one], place[other]]),
            )
    return (ranked if budget is None else within(ranked, budget))[:limit]


def _around(cosines: NDArray[np.float32], columns: Columns) -> NDArray[np.float32]:
    """The sum of both neighbours' cosines [N]."""
    padded = np.append(cosines, np.float32(0))
    return padded[columns.previous] + padded[columns.following]


def _speaker(query: str, columns: Columns) -> NDArray[np.float32]:
    """1 where someone whom the query names said it [N]."""
    named = [
        code
        for name, code in columns.speaker_codes.items()
        if re.search(rf"\b{re.escape(name)}\b", query, re.IGNORECASE)
    ]
    return np.isin(columns.speakers, named).astype(np.float32) if named else np.zeros(len(columns.ids), np.float32)


def _time(query: str, columns: Columns, now: datetime | None) -> NDArray[np.float32]:
    """1 where it was said, or happened, at a time that the query names [N]."""
    span = find_span(query, utc(now).date())
    if span is None:
        return np.zeros(len(columns.ids), np.float32)
    first, last = (np.datetime64(day) for day in span)
    within = [(days >= first) & (days <= last) for days in (columns.said, columns.happened)]
    return (within[0] | within[1]).astype(np.float32)


def _best(measured: Measured, weights: Mapping[str, float], allowed: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """The k rows of the highest weighted sums."""
    total = np.where(allowed, np.float32(0), np.float32(-np.inf))
    for name, weight in weights.items():
        total += np.float32(weight) * measured[name]
    k = min(k, int(allowed.sum()))
    return np.argpartition(-total, k - 1)[:k]
