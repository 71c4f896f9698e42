"""The vectors of one memory.db in this process's memory, kept level with the file that other processes write too.

Every change of a memory carries a revision that only rises, so catching up reads what came after the last one seen.
N memories, D embedding dim.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from memory.schema import counters, memories, vectors

_HIDDEN = -1  # the scope code of what recall must not see


class VectorCache:
    """Exact cosine search over the active memories of some scopes. Safe to share between threads."""

    def __init__(self, embedder: str) -> None:
        self._embedder = embedder
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        self._seen = {"revision": 0, "erased": 0}
        self._rows = 0
        self._row_of: dict[int, int] = {}
        self._code_of: dict[str, int] = {}
        self._ids: NDArray[np.int64] = np.empty(0, np.int64)  # [capacity]
        self._scopes: NDArray[np.int32] = np.empty(0, np.int32)  # [capacity]
        self._vectors: NDArray[np.float32] = np.empty((0, 0), np.float32)  # [capacity, D]

    def search(
        self, connection: Connection, query: NDArray[np.float32], scopes: Sequence[str], k: int
    ) -> list[tuple[int, float]]:
        """The k nearest (id, cosine) to `query` [D], best first; ties by the later id."""
        with self._lock:
            self._catch_up(connection)
            codes = [self._code_of[scope] for scope in scopes if scope in self._code_of]
            if not self._rows or not codes:
                return []
            allowed = np.isin(self._scopes[: self._rows], codes)  # [N]
            if not allowed.any():
                return []
            cosines = self._vectors[: self._rows] @ query  # [N]
            cosines[~allowed] = -np.inf
            k = min(k, int(allowed.sum()))
            best = np.argpartition(-cosines, k - 1)[:k]
            order = best[np.lexsort((-self._ids[best], -cosines[best]))]
            return [(int(self._ids[row]), float(cosines[row])) for row in order]

    def cosines(self, query: NDArray[np.float32], ids: Iterable[int]) -> dict[int, float]:
        """Cosines of `query` [D] with given memories, as of the last search; those without a vector are left out."""
        with self._lock:
            rows = {memory: self._row_of[memory] for memory in ids if memory in self._row_of}
            return {memory: float(self._vectors[row] @ query) for memory, row in rows.items()}

    def _catch_up(self, connection: Connection) -> None:
        now = {row.name: row.value for row in connection.execute(sa.select(counters))}
        if now["erased"] != self._seen["erased"]:
            self._empty()
        if now["revision"] == self._seen["revision"]:
            self._seen = now
            return
        changed = connection.execute(
            sa.select(memories.c.id, memories.c.scope, memories.c.state, vectors.c.vector)
            .join(vectors, sa.and_(vectors.c.memory == memories.c.id, vectors.c.embedder == self._embedder))
            .where(memories.c.revision > self._seen["revision"])
        ).all()
        if changed:
            self._reserve(self._rows + len(changed), len(changed[0].vector) // 4)
        for row in changed:
            place = self._row_of.setdefault(row.id, self._rows)
            self._rows = max(self._rows, place + 1)
            self._ids[place] = row.id
            self._scopes[place] = (
                self._code_of.setdefault(row.scope, len(self._code_of)) if row.state == "active" else _HIDDEN
            )
            self._vectors[place] = np.frombuffer(row.vector, dtype="<f4")
        self._seen = now

    def _reserve(self, rows: int, dimension: int) -> None:
        if rows <= len(self._ids):
            return
        capacity = max(rows, 2 * len(self._ids), 256)
        ids, scopes, matrix = self._ids, self._scopes, self._vectors
        self._ids = np.zeros(capacity, np.int64)
        self._scopes = np.full(capacity, _HIDDEN, np.int32)
        self._vectors = np.zeros((capacity, dimension), np.float32)
        self._ids[: len(ids)], self._scopes[: len(ids)] = ids, scopes
        if len(ids):
            self._vectors[: len(ids)] = matrix
