"""Consolidation: once a session rests, what it was about is written down beside its memories. Needs no language model.

A summary is made of the session's own sentences, so it can claim nothing that was not said. Its link to what it sums up
is the session itself, whose earlier memories `why` lists. M memories of a session, D embedding dim.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory import records
from memory.clock import stamp, utc
from memory.schema import memories, sessions
from memory.types import Memory, Source
from retrieval.sqlite import reading, writing

if TYPE_CHECKING:
    from memory.store import MemoryStore

REST = timedelta(hours=1)
"""How long nothing was remembered of a session before it is summed up."""
_LEAST = 4
"""Memories that make a summary worth a row: three are their own summary."""
_LONGEST = 400
"""Characters of a summary: what an embedder still reads whole."""


def consolidate(store: "MemoryStore", limit: int, now: datetime | None, dry_run: bool) -> list[Memory]:
    """See `MemoryStore.consolidate`."""
    with reading(store.engine) as connection:
        resting = _resting(connection, stamp(utc(now) - REST), limit)
        parts = {session: _members(connection, session) for session in resting}
        stored = {
            session: records.vectors_of(connection, [row.id for row in rows], store.embedder_id)
            for session, rows in parts.items()
        }
    written = []
    for session, rows in parts.items():
        known = [row for row in rows if row.id in stored[session]]
        if len(known) < _LEAST:
            continue
        chosen = telling(np.stack([stored[session][row.id] for row in known]), [len(row.text) for row in known])
        text = "; ".join(known[place].text.rstrip(" .;") for place in chosen)
        draft = store.draft(text, "episode", known[0].scope, Source("summary", session), store.embed([text])[0])
        with writing(store.engine) as connection:
            written.append(_write(connection, draft, known[0].valid_from, stamp(now)))
            if dry_run:
                connection.rollback()
    return written


def telling(vectors: NDArray[np.float32], lengths: Sequence[int]) -> list[int]:
    """Which of M statements, in order, stand for all: each next one is nearest to the mean of all and far from those
    taken (maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998), while their characters fit a summary.
    """
    middle = vectors.mean(0)
    alike = np.maximum(vectors @ vectors.T, 0.0)  # [M, M]
    taken: list[int] = []
    left = _LONGEST
    while True:
        worth = vectors @ middle - (0.5 * alike[:, taken].max(1) if taken else 0.0)
        worth[[place for place, length in enumerate(lengths) if place in taken or length > left]] = -np.inf
        best = int(worth.argmax())
        if worth[best] == -np.inf:
            return sorted(taken) or [int(np.argmin(lengths))]
        taken.append(best)
        left -= lengths[best] + 2


def summarised(connection: Connection, summary: Memory) -> list[int]:
    """The memories that a summary stands for."""
    return [row.id for row in _members(connection, summary.source.session) if row.id < summary.id]


def unsay(connection: Connection, memory: Memory) -> None:
    """Archive summaries that have the words of a memory which the user took back; the next pass writes them anew."""
    if memory.source.session is None:
        return
    quoting = sa.select(memories.c.id).where(
        memories.c.session == memory.source.session,
        memories.c.how == "summary",
        memories.c.state == "active",
        memories.c.text.contains(memory.text.rstrip(" .;"), autoescape=True),
    )
    for summary in connection.execute(quoting).scalars().all():
        records.change(connection, summary, state="archived")


def _resting(connection: Connection, before: str, limit: int) -> list[int]:
    """Sessions at rest that have enough memories, and more than their last summary knew."""
    own = memories.c.how != "summary"
    newest = sa.func.max(sa.case((own, memories.c.id))).label("newest")
    summary = sa.func.coalesce(sa.func.max(sa.case((sa.not_(own), memories.c.id))), 0)
    latest = sa.func.max(sa.case((own, memories.c.recorded_at)))
    count = sa.func.count(sa.case((own, 1)))
    query = (
        sa.select(memories.c.session)
        .join(sessions, sessions.c.id == memories.c.session)
        .where(memories.c.state == "active")
        .group_by(memories.c.session)
        .having(count >= _LEAST, newest > summary, latest < before)
        .order_by(newest.desc())
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def _members(connection: Connection, session: int | None) -> Sequence[sa.Row[Any]]:
    query = sa.select(memories).where(
        memories.c.session == session, memories.c.state == "active", memories.c.how != "summary"
    )
    return connection.execute(query.order_by(memories.c.id)).all()


def _write(connection: Connection, draft: records.Draft, valid_from: str, at: str) -> Memory:
    """Write a summary; the session's earlier one is archived."""
    earlier = sa.select(memories.c.id).where(
        memories.c.session == draft.source.session, memories.c.how == "summary", memories.c.state == "active"
    )
    fresh = records.insert(connection, draft, recorded_at=at, valid_from=valid_from)
    for old in connection.execute(earlier.where(memories.c.id != fresh)).scalars().all():
        records.change(connection, old, state="archived", valid_to=at, superseded_by=fresh)
    return records.get(connection, fresh)
