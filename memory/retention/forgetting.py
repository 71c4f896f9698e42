"""Forgetting on purpose: what is least worth its tokens is archived, and comes back when a question hits its ghost.

A ghost is the vector of an archived memory. `off` while no budget is set. States: active, archived (not recalled,
restorable), tombstone (forgotten by the user, restorable), purged (gone, with its ghost).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory import records
from memory.retention import model, rows
from memory.retention.budget import density, keep, next_price
from memory.retention.features import Floats
from memory.schema import memories, retention_evictions, retention_state, vectors

_VALUE = {"instruction": 4.0, "preference": 2.0, "fact": 1.0, "event": 1.0, "episode": 0.5}
"""What it costs to lack a memory of a kind when it is needed: a standing order spoils every answer."""
_SUPERSEDED = 0.25
"""What is left of the value of a statement that holds no longer."""
_FULL = 0.9
"""Fill from which the price is asked; below it nothing leaves."""
_AFTER = 0.95
"""What a pass leaves of the budget, so that the next turn does not need one again."""
_CORE = 0.8
"""Share of the budget that the price cannot touch."""
_FIRST_PRICE = 1e-4
_REGRET_OVER = 50
"""The latest evictions that regret is counted over."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """A memory that a pass archives: its probability of use, and its worth per token."""

    id: int
    text: str
    probability: float
    worth: float


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did, or with `dry_run` would do."""

    dry_run: bool
    evicted: tuple[Evicted, ...]
    kept: int
    tokens: int
    """Of all that stays."""
    fill: float
    """Used share of the budget before the pass."""
    price: float
    regret: float
    model: int | None
    """The version that decided; None: recency."""


def forget_least(
    connection: Connection, at: str, budget_tokens: int | None, budget_rows: int | None, dry_run: bool
) -> Pass:
    """Archive what does not fit the budget or is not worth the price; pinned memories stay and count."""
    table = rows.table(connection, at)
    p = model.probability(connection, table)
    value = np.array([_VALUE[kind] for kind in table.kinds]) * np.where(table.superseded, _SUPERSEDED, 1.0)
    worth = density(p, value, table.tokens)
    fill = _fill(table.tokens, budget_tokens, budget_rows)
    regret = _regret(connection)
    price = next_price(_price(connection), fill, regret) if len(table.ids) else _price(connection)
    stays = table.pinned.copy()
    stays |= _within(_AFTER, worth, table, budget_tokens, budget_rows) if fill > 1 else True
    if fill > _FULL:  # the price takes from the margin alone: it must never empty a store
        core = _within(_CORE, worth, table, budget_tokens, budget_rows)
        stays &= table.pinned | core | (worth >= price)
    gone = np.flatnonzero(~stays)
    texts = {key: one.text for key, one in records.get_many(connection, table.ids[gone].tolist()).items()}
    evicted = tuple(Evicted(int(table.ids[i]), texts[int(table.ids[i])], float(p[i]), float(worth[i])) for i in gone)
    if not dry_run:
        _write(connection, at, table, p, evicted, price)
    deciding = model.active(connection)
    version = None if deciding is None else deciding.id
    left = int(table.tokens[stays].sum())
    return Pass(dry_run, evicted, int(stays.sum()), left, fill, price, regret, version)


def _within(
    share: float, worth: Floats, table: rows.Table, budget_tokens: int | None, budget_rows: int | None
) -> NDArray[np.bool_]:
    """Mask [N] of the unpinned memories most worth their tokens, beside the pinned, within a share of the budget."""
    free = ~table.pinned
    kept = np.zeros(len(free), np.bool_)
    tokens = np.inf if budget_tokens is None else share * budget_tokens - float(table.tokens[table.pinned].sum())
    places = None if budget_rows is None else max(0, round(share * budget_rows) - int(table.pinned.sum()))
    kept[free] = keep(worth[free], table.tokens[free], tokens, places)
    return kept


def over_budget(connection: Connection, budget_tokens: int | None, budget_rows: int | None) -> bool:
    """Whether a pass is due: cheaper than a pass."""
    sums = sa.select(sa.func.count(), sa.func.sum(sa.func.length(memories.c.text))).where(memories.c.state == "active")
    count, characters = connection.execute(sums).one()
    tokens = (characters or 0) / 4
    return (budget_tokens is not None and tokens > budget_tokens) or (budget_rows is not None and count > budget_rows)


def _fill(tokens: Floats, budget_tokens: int | None, budget_rows: int | None) -> float:
    shares = [float(tokens.sum()) / budget_tokens] if budget_tokens else []
    shares += [len(tokens) / budget_rows] if budget_rows else []
    return max(shares, default=0.0)


def _price(connection: Connection) -> float:
    found = connection.execute(sa.select(retention_state.c.value).where(retention_state.c.name == "price")).scalar()
    return _FIRST_PRICE if found is None else float(found)


def _regret(connection: Connection) -> float:
    """The share of the latest evictions that a question took back."""
    latest = sa.select(retention_evictions.c.restored_at).order_by(retention_evictions.c.id.desc()).limit(_REGRET_OVER)
    found = connection.execute(latest).scalars().all()
    return sum(restored is not None for restored in found) / len(found) if found else 0.0


def _write(
    connection: Connection, at: str, table: rows.Table, p: Floats, evicted: Sequence[Evicted], price: float
) -> None:
    scored = sa.update(memories).where(memories.c.id == sa.bindparam("key")).values(retention=sa.bindparam("chance"))
    if len(p):
        connection.execute(scored, [{"key": int(k), "chance": float(c)} for k, c in zip(table.ids, p, strict=True)])
    records.change_all(connection, [one.id for one in evicted], state="archived")
    if evicted:
        rows_of = [
            {"memory": one.id, "at": at, "probability": one.probability, "worth": one.worth, "price": price}
            for one in evicted
        ]
        connection.execute(sa.insert(retention_evictions), rows_of)
    stored = sa.insert(retention_state).prefix_with("OR REPLACE")
    connection.execute(stored.values(name="price", value=price))


class Ghosts:
    """The vectors of memories that a pass archived, in this process's memory; read anew when they change."""

    def __init__(self, embedder: str) -> None:
        self._embedder = embedder
        self._seen: tuple[int, int] | None = None
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._scopes: NDArray[np.object_] = np.zeros(0, object)
        self._vectors: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def better(
        self, connection: Connection, query: NDArray[np.float32], scopes: Sequence[str], bar: float
    ) -> list[int]:
        """Archived memories of `scopes` nearer to `query` [D] than `bar`, the nearest first."""
        self._catch_up(connection)
        if not len(self._ids):
            return []
        cosines = self._vectors @ query  # [N]
        hits = np.flatnonzero((cosines > bar) & np.isin(self._scopes, list(scopes)))
        return [int(self._ids[hit]) for hit in hits[np.argsort(-cosines[hits])]]

    def _catch_up(self, connection: Connection) -> None:
        away = retention_evictions.c.restored_at.is_(None)
        now = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(retention_evictions.c.id), 0)).where(away)
        ).one()
        if tuple(now) == self._seen:
            return
        found = connection.execute(
            sa.select(memories.c.id, memories.c.scope, vectors.c.vector)
            .join(vectors, sa.and_(vectors.c.memory == memories.c.id, vectors.c.embedder == self._embedder))
            .where(
                memories.c.state == "archived",
                memories.c.id.in_(sa.select(retention_evictions.c.memory).where(away)),
            )
        ).all()
        self._ids = np.array([row.id for row in found], np.int64)
        self._scopes = np.array([row.scope for row in found], object)
        self._vectors = (
            np.stack([np.frombuffer(row.vector, "<f4") for row in found]) if found else np.zeros((0, 0), np.float32)
        )
        self._seen = (int(now[0]), int(now[1]))


def bring_back(connection: Connection, ids: Sequence[int], at: str) -> list[int]:
    """Make archived memories active that are still away; each is regret. Returns those that came back."""
    away = sa.select(retention_evictions.c.memory).where(
        retention_evictions.c.memory.in_(ids), retention_evictions.c.restored_at.is_(None)
    )
    archived = sa.select(memories.c.id).where(memories.c.id.in_(away), memories.c.state == "archived")
    back = [int(key) for key in connection.execute(archived).scalars()]
    records.change_all(connection, back, state="active")
    mark_restored(connection, back, at)
    return back


def mark_restored(connection: Connection, ids: Sequence[int], at: str) -> None:
    """Note that memories are no longer away, whoever brought them back."""
    gone = retention_evictions.c.memory.in_(ids) & retention_evictions.c.restored_at.is_(None)
    connection.execute(sa.update(retention_evictions).where(gone).values(restored_at=at))
