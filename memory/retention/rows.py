"""The features of stored memories: written once beside them, completed by neighbours and use when asked for.

N memories, C features known at writing, F all features, D embedding dim.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory.clock import moment
from memory.retention.features import (
    CONTENT,
    HISTORY,
    STORE,
    Floats,
    against_store,
    content,
    content_words,
    history,
    in_context,
)
from memory.schema import exposures, memories, retention_features, vectors
from retrieval.fulltext import fts_text

_RECENT = 2000
"""Earlier memories that novelty is measured against, the latest: comparing with all would make each write slower."""
_AT_ONCE = 500
"""Memories that one turn catches up with; a pass does the rest."""
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Table:
    """Memories in order of writing with all their features."""

    ids: NDArray[np.int64]  # [N]
    features: Floats  # [N, F]
    tokens: Floats  # [N]
    kinds: tuple[str, ...]
    pinned: NDArray[np.bool_]  # [N]
    superseded: NDArray[np.bool_]  # [N]
    ages: Floats  # [N] days


def tokens(characters: float) -> float:
    """Tokens that a text of so many characters takes: four each is what English takes in common vocabularies."""
    return max(1.0, characters / 4)


def catch_up(connection: Connection, embedder: str, everything: bool = False) -> None:
    """Write the features of memories that have none: those next after the last that has, or `everything` lacking."""
    last = connection.execute(sa.select(sa.func.max(retention_features.c.memory))).scalar() or 0
    missing = sa.select(memories.c.id, memories.c.text, memories.c.session, memories.c.scope).order_by(memories.c.id)
    if everything:
        missing = missing.where(memories.c.id.not_in(sa.select(retention_features.c.memory)))
    else:
        missing = missing.where(memories.c.id > last).limit(_AT_ONCE)
    rows = connection.execute(missing).all()
    if not rows:
        return
    before = connection.execute(
        sa.select(memories.c.id, memories.c.session, memories.c.scope, vectors.c.vector)
        .join(vectors, sa.and_(vectors.c.memory == memories.c.id, vectors.c.embedder == embedder))
        .where(memories.c.id <= rows[-1].id)
        .order_by(memories.c.id.desc())
        .limit(_RECENT + len(rows))
    ).all()[::-1]
    known = np.array([row.id for row in before], np.int64)
    matrix = np.stack([np.frombuffer(row.vector, "<f4") for row in before]) if before else np.zeros((0, 1), np.float32)
    scopes = np.array([row.scope for row in before], object)
    sessions = [row.session for row in before]
    first: dict[str, int | None] = {}
    made = []
    for row in rows:
        words = content_words(row.text)
        fresh = sum(_first(connection, word, first) in (None, row.id) for word in words)
        place = int(np.searchsorted(known, row.id))
        cosines, previous = np.zeros(0), 0.0
        if place < len(known) and known[place] == row.id:
            start = max(0, place - _RECENT)
            near = (matrix[start:place] @ matrix[place]).astype(np.float64)
            cosines = near[scopes[start:place] == row.scope]
            if place and row.session is not None and sessions[place - 1] == row.session:
                previous = float(near[-1])
        written = np.r_[content(row.text), against_store(fresh, len(words), cosines, previous)]
        made.append({"memory": row.id, "written": written.astype("<f4").tobytes()})
    connection.execute(sa.insert(retention_features).prefix_with("OR REPLACE"), made)


def _first(connection: Connection, word: str, first: dict[str, int | None]) -> int | None:
    """The earliest memory in full text that holds the word."""
    if word not in first:
        terms = ['"' + term.replace('"', "") + '"' for term in fts_text(word).split()]
        found = connection.exec_driver_sql(
            "SELECT rowid FROM memories_fts WHERE memories_fts MATCH ? ORDER BY rowid LIMIT 1", (" AND ".join(terms),)
        ).first()
        first[word] = int(found[0]) if found else None
    return first[word]


def table(connection: Connection, at: str, ids: Collection[int] | None = None) -> Table:
    """Memories with their features as of `at`: those of `ids`, or every active one."""
    wanted = (
        sa.select(
            memories.c.id,
            memories.c.kind,
            memories.c.pinned,
            memories.c.session,
            memories.c.recorded_at,
            memories.c.valid_to,
            sa.func.length(memories.c.text).label("length"),
            retention_features.c.written,
        )
        .join(retention_features, retention_features.c.memory == memories.c.id)
        .order_by(memories.c.id)
    )
    if ids is None:
        wanted = wanted.where(memories.c.state == "active")
    else:
        talks = sa.select(memories.c.session).where(memories.c.id.in_(ids), memories.c.session.is_not(None))
        wanted = wanted.where(sa.or_(memories.c.id.in_(ids), memories.c.session.in_(talks)))
    rows = connection.execute(wanted).all()
    last = connection.execute(sa.select(sa.func.max(memories.c.id))).scalar() or 1
    numbers = np.array([row.id for row in rows], np.int64)
    width = len(CONTENT) + len(STORE)
    written = np.frombuffer(b"".join(row.written for row in rows), "<f4").reshape(-1, width).astype(np.float64)
    talk = np.array([row.session if row.session is not None else -row.id for row in rows], np.int64)
    order = np.argsort(talk, kind="stable")  # conversations of two processes may have been written in turn
    context = np.zeros((len(rows), in_context(written[:0], talk[:0]).shape[1]))
    context[order] = in_context(written[order], talk[order])
    context[:, -1] = numbers / last
    now = _day(at)
    shown = _shown(connection, None if ids is None else set(numbers.tolist()))
    past = np.array([history(*shown.get(key, ([], 0)), now) for key in numbers.tolist()]).reshape(
        len(rows), len(HISTORY)
    )
    keep = np.ones(len(rows), np.bool_) if ids is None else np.isin(numbers, list(ids))
    ages = np.array([now - _day(row.recorded_at) for row in rows])
    return Table(
        numbers[keep],
        np.hstack([written, context, past])[keep],
        np.array([tokens(row.length) for row in rows])[keep],
        tuple(row.kind for row, kept in zip(rows, keep, strict=True) if kept),
        np.array([row.pinned for row in rows], np.bool_)[keep],
        np.array([row.valid_to is not None for row in rows], np.bool_)[keep],
        ages[keep],
    )


def _shown(connection: Connection, ids: Collection[int] | None) -> Mapping[int, tuple[Sequence[float], int]]:
    """By memory the days of its uses, and how often it was shown in vain."""
    wanted = sa.select(exposures.c.memory, exposures.c.at, exposures.c.cited)
    if ids is not None:
        wanted = wanted.where(exposures.c.memory.in_(ids))
    uses: dict[int, list[float]] = defaultdict(list)
    vain: dict[int, int] = defaultdict(int)
    for row in connection.execute(wanted):
        if row.cited:
            uses[row.memory].append(_day(row.at))
        else:
            vain[row.memory] += 1
    return {key: (uses.get(key, []), vain.get(key, 0)) for key in uses.keys() | vain.keys()}


def _day(at: str) -> float:
    """Whole days, so that what is told of a memory does not change from moment to moment."""
    return moment(at).timestamp() // _DAY


def pack(features: Floats) -> bytes:
    """A row of features as stored."""
    return bytes(features.astype("<f4").tobytes())


def unpack(blobs: Sequence[Any]) -> Floats:
    """[N, F] of stored rows."""
    return np.stack([np.frombuffer(blob, "<f4") for blob in blobs]).astype(np.float64)
