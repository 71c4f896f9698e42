"""Rows of memories inside a transaction that the caller holds: written, read, superseded. Knows no embedder.

D is the embedder's dimension.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory.duplicates import adds_nothing, content_hash, words
from memory.errors import NoSuchMemory
from memory.schema import counters, memories, vectors
from memory.slots import changes, find_slot
from memory.types import Kind, Memory, Source
from retrieval.fulltext import fts_text

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Draft:
    """A memory about to be written; `vector` [D] is its embedding by `embedder`."""

    text: str
    kind: Kind
    scope: str
    source: Source
    vector: Vector
    embedder: str
    event_date: date | None = None
    pinned: bool = False


def memory(row: sa.Row[Any]) -> Memory:
    """The plain row that leaves the room."""
    return Memory(
        id=row.id,
        text=row.text,
        kind=row.kind,
        scope=row.scope,
        state=row.state,
        pinned=row.pinned,
        retention=row.retention,
        created=row.recorded_at,
        last_used=row.last_used,
        uses=row.uses,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        superseded_by=row.superseded_by,
        source=Source(row.how, row.session, row.turn, row.start, row.end, row.speaker),
        event_date=row.event_date,
    )


def get(connection: Connection, memory_id: int) -> Memory:
    """Raises NoSuchMemory."""
    row = connection.execute(sa.select(memories).where(memories.c.id == memory_id)).first()
    if row is None:
        raise NoSuchMemory(f"There is no memory {memory_id}.", "`loci memory list` shows them with their numbers.")
    return memory(row)


def get_many(connection: Connection, ids: Iterable[int]) -> dict[int, Memory]:
    wanted = list(ids)
    if not wanted:
        return {}
    rows = connection.execute(sa.select(memories).where(memories.c.id.in_(wanted)))
    return {row.id: memory(row) for row in rows}


def bump(connection: Connection, counter: str = "revision") -> int:
    """Raise a counter, so that caches notice, and return its new value."""
    rise = sa.update(counters).where(counters.c.name == counter).values(value=counters.c.value + 1)
    return int(connection.execute(rise.returning(counters.c.value)).scalar_one())


def add(connection: Connection, draft: Draft, at: str, threshold: float) -> Memory:
    """Write `draft`, or confirm the memory that already says it; what it makes untrue is superseded."""
    known = duplicate(
        connection, draft.text, draft.scope, draft.vector, draft.embedder, threshold, draft.kind == "episode"
    )
    if known is not None:
        confirm = sa.update(memories).where(memories.c.id == known)
        connection.execute(confirm.values(confirmations=memories.c.confirmations + 1))
        return get(connection, known)
    fresh = insert(connection, draft, recorded_at=at, valid_from=at)
    settle(connection, fresh)
    return get(connection, fresh)


def insert(connection: Connection, draft: Draft, *, recorded_at: str, valid_from: str, **columns: Any) -> int:
    """Write one row with its vector and full text, without looking at the others; returns its id."""
    slot = find_slot(draft.text) if draft.kind != "episode" else None
    values = {
        "scope": draft.scope,
        "kind": draft.kind,
        "text": draft.text,
        "content_hash": content_hash(draft.text),
        "slot": slot.key if slot else None,
        "state": "active",
        "pinned": draft.pinned,
        "valid_from": valid_from,
        "recorded_at": recorded_at,
        "event_date": draft.event_date.isoformat() if draft.event_date else None,
        "uses": 0,
        "confirmations": 0,
        "how": draft.source.how,
        "session": draft.source.session,
        "turn": draft.source.turn,
        "start": draft.source.start,
        "end": draft.source.end,
        "speaker": draft.source.speaker,
        "revision": bump(connection),
    } | columns
    fresh = int(connection.execute(sa.insert(memories).values(values).returning(memories.c.id)).scalar_one())
    put_vector(connection, fresh, draft.vector, draft.embedder)
    if values["state"] == "active":
        index_text(connection, fresh, draft.text)
    return fresh


def put_vector(connection: Connection, memory_id: int, vector: Vector, embedder: str) -> None:
    connection.execute(sa.delete(vectors).where(vectors.c.memory == memory_id, vectors.c.embedder == embedder))
    blob = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    connection.execute(sa.insert(vectors).values(memory=memory_id, embedder=embedder, vector=blob))


def vectors_of(connection: Connection, ids: Sequence[int], embedder: str) -> dict[int, Vector]:
    """Vectors [D] by memory; those that `embedder` did not make are left out."""
    wanted = sa.select(vectors).where(vectors.c.memory.in_(ids), vectors.c.embedder == embedder)
    return {row.memory: np.frombuffer(row.vector, dtype="<f4") for row in connection.execute(wanted)}


def index_text(connection: Connection, memory_id: int, text: str) -> None:
    """Put a memory into full text, where only active ones stand."""
    unindex_text(connection, memory_id)
    connection.exec_driver_sql("INSERT INTO memories_fts (rowid, text) VALUES (?, ?)", (memory_id, fts_text(text)))


def unindex_text(connection: Connection, memory_id: int) -> None:
    connection.exec_driver_sql("DELETE FROM memories_fts WHERE rowid = ?", (memory_id,))


def change(connection: Connection, memory_id: int, **columns: Any) -> None:
    """Set columns of one memory and let caches know; full text follows the state."""
    change_all(connection, [memory_id], **columns)


def change_all(connection: Connection, ids: Sequence[int], **columns: Any) -> None:
    """The same of many memories at once, with one word to the caches."""
    if not ids:
        return
    keys = [{"key": memory_id} for memory_id in ids]
    changed = sa.update(memories).where(memories.c.id == sa.bindparam("key"))
    connection.execute(changed.values(columns | {"revision": bump(connection)}), keys)
    if columns.get("state") == "active":
        for key, one in get_many(connection, ids).items():
            index_text(connection, key, one.text)
    elif "state" in columns:
        connection.exec_driver_sql("DELETE FROM memories_fts WHERE rowid = :key", keys)


def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Delete rows with vectors, exposures and full text; their bytes go with the next `retrieval.scrub`."""
    for memory_id in ids:
        unindex_text(connection, memory_id)
        connection.execute(sa.delete(memories).where(memories.c.id == memory_id))
    if ids:
        bump(connection, "erased")


def settle(connection: Connection, memory_id: int) -> None:
    """Decide between a memory and others of its slot with another value: the later statement is the valid one."""
    fresh = connection.execute(sa.select(memories).where(memories.c.id == memory_id)).one()
    slot = find_slot(fresh.text) if fresh.slot else None
    if slot is None:
        return
    rivals = connection.execute(_current(fresh.scope).where(memories.c.slot == slot.key, memories.c.id != memory_id))
    for rival in rivals.all():
        other = find_slot(rival.text)
        if other is None:
            continue
        if fresh.valid_from >= rival.valid_from:
            if changes(slot, other):
                change(connection, rival.id, valid_to=fresh.valid_from, superseded_by=memory_id)
        elif changes(other, slot):  # told late: a statement about the past
            change(connection, memory_id, valid_to=rival.valid_from, superseded_by=rival.id)
            return


def duplicate(
    connection: Connection,
    text: str,
    scope: str,
    vector: Vector,
    embedder: str,
    threshold: float,
    episode: bool = False,
) -> int | None:
    """The id of a valid memory of `scope` that already says `text`; None if there is none.

    Episodes are compared with episodes alone: a fact stays a fact though it was said within a longer story.
    """
    pool = _current(scope).where((memories.c.kind == "episode") == episode)
    exact = connection.execute(pool.where(memories.c.content_hash == content_hash(text)).limit(1)).first()
    if exact is not None:
        return int(exact.id)
    holding = _holding_words(connection, text)
    if not holding:  # SQLite would read every memory of the scope to find none of no ids
        return None
    near = connection.execute(pool.where(memories.c.id.in_(holding))).all()
    stored = vectors_of(connection, [row.id for row in near], embedder)
    for row in near:
        if row.id in stored and adds_nothing(text, row.text, float(stored[row.id] @ vector), threshold):
            return int(row.id)
    return None


def _holding_words(connection: Connection, text: str) -> Sequence[int]:
    """Memories that hold every word of `text`: only those can make it a duplicate, and full text finds them fast."""
    terms = ['"' + term.replace('"', "") + '"' for word in words(text) for term in fts_text(word).split()]
    if not terms:
        return []
    found = connection.exec_driver_sql(
        "SELECT rowid FROM memories_fts WHERE memories_fts MATCH ? LIMIT 50", (" AND ".join(terms),)
    )
    return list(found.scalars())


def _current(scope: str) -> sa.Select[Any]:
    return sa.select(memories).where(
        memories.c.scope == scope, memories.c.state == "active", memories.c.valid_to.is_(None)
    )
