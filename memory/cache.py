"""What recall reads of every memory, in columns in this process's memory, kept level with the file that other processes
write too.

Every change of a memory carries a revision that only rises, so catching up reads what came after the last one seen.
N memories, D embedding dim.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory.schema import counters, memories, moved_vectors, vectors

_HIDDEN = -1  # the scope code of what recall must not see
_NOBODY = 0  # the speaker code of the user's own memories
_NEVER = np.datetime64("NaT")


@dataclass(frozen=True, slots=True)
class Columns:
    """A snapshot's memories, one per row. Valid inside `RecallCache.level` only.

    `previous` and `following` are the rows of what the same conversation remembers before and after; a row without has
    N, which is one past the end.
    """

    ids: NDArray[np.int64]  # [N], rising
    scopes: NDArray[np.int32]  # [N]
    speakers: NDArray[np.int32]  # [N]
    vectors: NDArray[np.float32]  # [N, D]; zero where hidden, or of another embedder
    embedded: NDArray[np.bool_]  # [N]
    lengths: NDArray[np.float32]  # [N] characters
    said: NDArray[np.datetime64]  # [N] days
    happened: NDArray[np.datetime64]  # [N] days; NaT where the text names none
    previous: NDArray[np.int32]  # [N]
    following: NDArray[np.int32]  # [N]
    scope_codes: dict[str, int]
    speaker_codes: dict[str, int]

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of memories; ids that have none are left out. Ids only rise, so rows stand in their order."""
        if not len(self.ids):
            return np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found: NDArray[np.int64] = places[self.ids[places] == ids]
        return found


class RecallCache:
    """The columns of one memory.db. Safe to share between threads."""

    def __init__(self, embedder: str) -> None:
        self._embedder = embedder
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        self._seen = {"revision": 0, "erased": 0}
        self._count = 0
        self._row_of: dict[int, int] = {}
        self._last_of: dict[int, int] = {}
        self._scope_codes: dict[str, int] = {}
        self._speaker_codes: dict[str, int] = {}
        self._ids = np.empty(0, np.int64)  # these and below: [capacity, ...]
        self._scopes = np.empty(0, np.int32)
        self._speakers = np.empty(0, np.int32)
        self._vectors = np.empty((0, 0), np.float32)
        self._embedded = np.empty(0, np.bool_)
        self._lengths = np.empty(0, np.float32)
        self._said = np.empty(0, "datetime64[D]")
        self._happened = np.empty(0, "datetime64[D]")
        self._previous = np.empty(0, np.int32)
        self._following = np.empty(0, np.int32)

    @contextmanager
    def level(self, connection: Connection) -> Iterator[Columns]:
        """The columns as the snapshot of `connection` has them."""
        with self._lock:
            self._catch_up(connection)
            n = self._count
            yield Columns(
                self._ids[:n],
                self._scopes[:n],
                self._speakers[:n],
                self._vectors[:n],
                self._embedded[:n],
                self._lengths[:n],
                self._said[:n],
                self._happened[:n],
                np.where(self._previous[:n] < 0, n, self._previous[:n]),
                np.where(self._following[:n] < 0, n, self._following[:n]),
                self._scope_codes,
                self._speaker_codes,
            )

    def _catch_up(self, connection: Connection) -> None:
        now = {row.name: row.value for row in connection.execute(sa.select(counters))}
        if now["erased"] != self._seen["erased"]:
            self._empty()
        if now["revision"] == self._seen["revision"]:
            self._seen = now
            return
        own = sa.and_(vectors.c.memory == memories.c.id, vectors.c.embedder == self._embedder)
        moved = sa.and_(moved_vectors.c.memory == memories.c.id, moved_vectors.c.embedder == self._embedder)
        changed = connection.execute(
            sa.select(
                memories.c.id,
                memories.c.scope,
                memories.c.state,
                memories.c.speaker,
                memories.c.session,
                sa.func.length(memories.c.text).label("length"),
                sa.func.substr(memories.c.valid_from, 1, 10).label("said"),
                memories.c.event_date,
                sa.func.coalesce(moved_vectors.c.vector, vectors.c.vector).label("vector"),
            )
            .join(vectors, own, isouter=True)
            .join(moved_vectors, moved, isouter=True)
            .where(memories.c.revision > self._seen["revision"])
            .order_by(memories.c.id)
        ).all()
        self._reserve(changed)
        for row in changed:
            self._place(row)
        self._seen = now

    def _place(self, row: sa.Row[*tuple[Any, ...]]) -> None:
        fresh = row.id not in self._row_of
        place = self._row_of.setdefault(row.id, self._count)
        if fresh:
            self._count += 1
            self._ids[place] = row.id
            self._join(place, row.session)
        seen = row.state == "active"
        self._scopes[place] = self._scope_codes.setdefault(row.scope, len(self._scope_codes)) if seen else _HIDDEN
        self._speakers[place] = (
            self._speaker_codes.setdefault(row.speaker, len(self._speaker_codes) + 1) if row.speaker else _NOBODY
        )
        self._lengths[place] = row.length
        self._said[place] = row.said
        self._happened[place] = row.event_date or _NEVER
        self._embedded[place] = seen and row.vector is not None
        self._vectors[place] = np.frombuffer(row.vector, dtype="<f4") if self._embedded[place] else 0.0

    def _join(self, place: int, session: int | None) -> None:
        """Tie a new row to the one before it in its conversation."""
        before = self._last_of.get(session, -1) if session is not None else -1
        self._previous[place], self._following[place] = before, -1
        if before >= 0:
            self._following[before] = place
        if session is not None:
            self._last_of[session] = place

    def _reserve(self, changed: Sequence[sa.Row[*tuple[Any, ...]]]) -> None:
        needed = self._count + sum(row.id not in self._row_of for row in changed)
        dimension = next((len(row.vector) // 4 for row in changed if row.vector is not None), self._vectors.shape[1])
        if needed > len(self._ids):
            capacity = max(needed, 2 * len(self._ids), 256)
            for name in ("_ids", "_scopes", "_speakers", "_embedded", "_lengths", "_said", "_happened", "_previous",
                         "_following"):  # fmt: skip
                setattr(self, name, np.resize(getattr(self, name), capacity))
        if self._vectors.shape != (len(self._ids), dimension):
            old = self._vectors
            self._vectors = np.zeros((len(self._ids), dimension), np.float32)
            if old.shape[1] == dimension:
                self._vectors[: len(old)] = old
