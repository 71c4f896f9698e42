"""The passages of library.db as a source of vectors."""

import numpy as np
from sqlalchemy import Connection, Engine, select

from retrieval.documents import epoch_of, generation_of, listed, matrix
from retrieval.epoch_build import Ids, Vectors
from retrieval.schema import chunks
from retrieval.sqlite import reading

_AT_ONCE = 500
"""Ids in one statement."""


class ChunkRows:
    """The vectors of the generation that is searched."""

    def __init__(self, engine: Engine, dimension: int) -> None:
        self._engine = engine
        self._dimension = dimension

    def version(self) -> tuple[int, str]:
        with reading(self._engine) as db:
            epoch = epoch_of(db)
            return epoch, self._token(db, epoch)

    def has_version(self, epoch: int, token: str) -> bool:
        with reading(self._engine) as db:
            return self._token(db, epoch) == token

    @staticmethod
    def _token(db: Connection, epoch: int) -> str:
        # The generation is part of it: a re-embedding's rows are older than the switch to them, and would be missed.
        token = db.exec_driver_sql("SELECT token FROM epochs WHERE epoch = ?", (epoch,)).scalar()
        return f"{token}-{generation_of(db)}"

    def all_ids(self) -> Ids:
        with reading(self._engine) as db:
            query = select(chunks.c.id).where(chunks.c.generation == generation_of(db)).order_by(chunks.c.id)
            return np.fromiter(db.execute(query).scalars(), dtype=np.int64)

    def rows_after(self, id: int, limit: int | None = None) -> tuple[Ids, Vectors]:
        with reading(self._engine) as db:
            query = select(chunks.c.id, chunks.c.vector).where(
                chunks.c.id > id, chunks.c.generation == generation_of(db)
            )
            rows = db.execute(query.order_by(chunks.c.id).limit(limit)).all()
        return self._arrays([tuple(row) for row in rows])

    def rows_of(self, ids: Ids) -> tuple[Ids, Vectors]:
        found: list[tuple[int, bytes]] = []
        wanted = ids.tolist()
        with reading(self._engine) as db:
            for start in range(0, len(wanted), _AT_ONCE):
                query = f"SELECT id, vector FROM chunks WHERE id IN ({listed(wanted[start : start + _AT_ONCE])})"
                found += map(tuple, db.exec_driver_sql(query).all())
        return self._arrays(sorted(found))

    def _arrays(self, rows: list[tuple[int, bytes]]) -> tuple[Ids, Vectors]:
        ids = np.array([id for id, _ in rows], dtype=np.int64)
        return ids, matrix([vector for _, vector in rows], self._dimension)
