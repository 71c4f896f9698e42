"""Looking after memory.db: explanations, counts, problems found and mended. The rows are the truth."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import Connection

from memory import moving, records, tuning
from memory.consolidation import summarised
from memory.schema import FTS_TABLES, exposures, feedback, memories, moved_vectors, sessions, turns, vectors
from memory.sessions import index_turn
from retrieval.scrub import scrub
from retrieval.sqlite import reading, writing

if TYPE_CHECKING:
    from memory.store import MemoryStore


def why(connection: Connection, memory_id: int) -> dict[str, Any]:
    """Provenance, exposures, and the chain of what a memory replaced. Raises NoSuchMemory."""
    memory = records.get(connection, memory_id)
    said = None
    if memory.source.turn is not None and memory.source.start is not None:
        row = connection.execute(sa.select(turns).where(turns.c.id == memory.source.turn)).first()
        said = {"asked_at": row.asked_at, "question": row.question} if row is not None else None
    shown = connection.execute(
        sa.select(exposures).where(exposures.c.memory == memory_id).order_by(exposures.c.id.desc())
    ).all()
    replaced = connection.execute(
        sa.select(memories.c.id, memories.c.text).where(memories.c.superseded_by == memory_id)
    )
    confirmations = connection.execute(sa.select(memories.c.confirmations).where(memories.c.id == memory_id)).scalar()
    return {
        "memory": memory,
        "said": said,
        "confirmations": confirmations,
        "recalled": len(shown),
        "cited": sum(row.cited for row in shown),
        "exposures": [
            {
                "turn": r.turn,
                "at": r.at,
                "rank": r.rank,
                "score": r.score,
                "dense": r.dense,
                "lexical": r.lexical,
                "cited": r.cited,
            }
            for r in shown
        ],
        "sums_up": summarised(connection, memory) if memory.source.how == "summary" else [],
        "replaced": [{"id": row.id, "text": row.text} for row in replaced],
    }


def stats(connection: Connection, file: Path, embedder: str) -> dict[str, Any]:
    """Counts, and the file's size in bytes."""

    def by(column: sa.Column[Any]) -> dict[str, int]:
        rows = connection.execute(sa.select(column, sa.func.count()).group_by(column).order_by(column))
        return dict(rows.tuples().all())

    def count(table: sa.Table) -> int:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    superseded = sa.select(sa.func.count()).where(memories.c.valid_to.is_not(None), memories.c.state == "active")
    return {
        "memories": by(memories.c.state),
        "kinds": by(memories.c.kind),
        "scopes": by(memories.c.scope),
        "superseded": connection.execute(superseded).scalar_one(),
        "sessions": count(sessions),
        "turns": count(turns),
        "exposures": count(exposures),
        "cited": connection.execute(sa.select(sa.func.count()).where(exposures.c.cited)).scalar_one(),
        "feedback": by(feedback.c.verdict),
        "ranking": tuning.report(connection),
        "vectors": None if (moves := moving.report(connection)) is None else asdict(moves),
        "embedder": embedder,
        "bytes": file.stat().st_size,
    }


def check(store: "MemoryStore", fix: bool) -> list[str]:
    """Problems in words, each before it is mended."""
    problems = []
    with reading(store.engine) as connection:
        for row in connection.exec_driver_sql("PRAGMA quick_check").scalars():
            if row != "ok":
                problems.append(f"memory.db is damaged: {row}")
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            problems.append("memory.db has rows that point at rows which are gone.")
        active = set(connection.execute(sa.select(memories.c.id).where(memories.c.state == "active")).scalars())
        indexed = set(connection.exec_driver_sql("SELECT rowid FROM memories_fts").scalars())
        said = set(connection.execute(sa.select(turns.c.id)).scalars())
        said_indexed = set(connection.exec_driver_sql("SELECT rowid FROM turns_fts").scalars())
        unembedded = connection.execute(_unembedded(store.embedder_id)).all()
    if active != indexed:
        problems.append(f"Full text of {len(active ^ indexed)} memories is out of step.")
    if said != said_indexed:
        problems.append(f"Full text of {len(said ^ said_indexed)} turns is out of step.")
    if unembedded:
        problems.append(f"{len(unembedded)} memories have no vector of the embedder {store.embedder_id}.")
    if fix:
        if problems:
            reindex(store, lambda done, total: None)
            _rebuild_full_text(store)
        scrub(store.engine, FTS_TABLES)  # also ends a purge that another process had kept from rewriting the file
    return problems


def reindex(store: "MemoryStore", progress: Callable[[int, int], None], batch: int = 256) -> None:
    """Embed what has no vector of the store's embedder, then drop the vectors of others.

    Until then those serve processes that use the other embedder. An interrupted run goes on where it was.
    """
    with reading(store.engine) as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(memories)).scalar_one()
    while True:
        with reading(store.engine) as connection:
            left = unembedded(connection, store.embedder_id)
            part = connection.execute(_unembedded(store.embedder_id).limit(batch)).all()
        progress(max(total - left, 0), total)
        if not part:
            break
        embedded = store.embed([row.text for row in part])
        with writing(store.engine) as connection:
            there = records.get_many(connection, [row.id for row in part])  # one may be purged by now
            for row, vector in zip(part, embedded, strict=True):
                if row.id in there:
                    records.put_vector(connection, row.id, vector, store.embedder_id)
                    records.change(connection, row.id)
    with writing(store.engine) as connection:
        connection.execute(sa.delete(vectors).where(vectors.c.embedder != store.embedder_id))
        connection.execute(sa.delete(moved_vectors).where(moved_vectors.c.embedder != store.embedder_id))


def unembedded(connection: Connection, embedder: str) -> int:
    """How many memories have no vector of `embedder`."""
    return int(
        connection.execute(sa.select(sa.func.count()).select_from(_unembedded(embedder).subquery())).scalar_one()
    )


def _unembedded(embedder: str) -> sa.Select[tuple[int, str]]:
    own = sa.select(vectors.c.memory).where(vectors.c.embedder == embedder)
    return sa.select(memories.c.id, memories.c.text).where(memories.c.id.not_in(own)).order_by(memories.c.id)


def _rebuild_full_text(store: "MemoryStore") -> None:
    with writing(store.engine) as connection:
        connection.exec_driver_sql("DELETE FROM memories_fts")
        for row in connection.execute(sa.select(memories).where(memories.c.state == "active")).all():
            records.index_text(connection, row.id, row.text)
        connection.exec_driver_sql("DELETE FROM turns_fts")
        for row in connection.execute(sa.select(turns)).all():
            index_turn(connection, row.id, row.question, row.answer)
