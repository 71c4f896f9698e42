"""Which passages a search may find: those of some documents, by ids. Knows no query.

N passages.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from retrieval.documents import generation_of
from retrieval.epoch_build import Ids
from retrieval.schema import chunks, documents


def allowed_ids(
    db: Connection, collections: Sequence[str], wanted: Collection[int] | None = None, epoch: int | None = None
) -> Ids:
    """Ids [N], ascending, of the passages of `collections`, of their documents `wanted`, and not newer than `epoch`.

    A document's passages follow one another, so that SQLite has to name only the first and the last of each: 20 ms for
    100,000 passages, of which it would take 60 to name every one.
    """
    bounds: list[ColumnElement[bool]] = [chunks.c.generation == generation_of(db)]
    if epoch is not None:
        bounds.append(chunks.c.epoch <= epoch)
    each = (
        select(documents.c.id, func.min(chunks.c.id), func.max(chunks.c.id), func.count())
        .join(chunks, chunks.c.document == documents.c.id)
        .where(documents.c.collection.in_(list(collections)), *bounds)
        .group_by(documents.c.id)
    )
    if wanted is not None:
        each = each.where(documents.c.id.in_(list(wanted)))
    rows = np.array([tuple(row) for row in db.execute(each)], dtype=np.int64).reshape(-1, 4)
    document, first, last, count = rows.T
    whole = last - first + 1 == count
    found = [_runs(first[whole], count[whole])]
    if not whole.all():
        rest = select(chunks.c.id).where(chunks.c.document.in_(document[~whole].tolist()), *bounds)
        found.append(np.fromiter(db.execute(rest).scalars(), dtype=np.int64))
    return np.sort(np.concatenate(found))


def _runs(first: Ids, count: NDArray[np.int64]) -> Ids:
    """The numbers from each of `first`, as many as its `count`."""
    before = np.cumsum(count) - count
    runs: Ids = np.repeat(first - before, count) + np.arange(count.sum())
    return runs
