from pathlib import Path

import numpy as np
import pytest

from retrieval.vectors import Ids, VectorIndex, Vectors

D = 16


class Rows:
    """Vectors in memory, as a source."""

    def __init__(self, count: int, dimension: int = D) -> None:
        self.random = np.random.default_rng(0)
        self.dimension = dimension
        self.ids: Ids = np.arange(1, count + 1, dtype=np.int64)
        self.vectors = self.draw(count)
        self.past = {(1, "a"): None}
        self.now = (1, "a")
        self.reads = 0

    def draw(self, count: int) -> Vectors:
        drawn = self.random.normal(size=(count, self.dimension)).astype(np.float32)
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    def add(self, count: int) -> None:
        self.ids = np.concatenate([self.ids, np.arange(self.ids[-1] + 1, self.ids[-1] + 1 + count)])
        self.vectors = np.concatenate([self.vectors, self.draw(count)])
        self.advance("b")

    def advance(self, token: str) -> None:
        self.now = (self.now[0] + 1, token)
        self.past[self.now] = None

    def version(self) -> tuple[int, str]:
        return self.now

    def has_version(self, epoch: int, token: str) -> bool:
        return (epoch, token) in self.past

    def all_ids(self) -> Ids:
        return self.ids

    def rows_after(self, id: int, limit: int | None = None) -> tuple[Ids, Vectors]:
        later = np.flatnonzero(self.ids > id)[:limit]
        self.reads += len(later)
        return self.ids[later], self.vectors[later]

    def rows_of(self, ids: Ids) -> tuple[Ids, Vectors]:
        there = np.isin(self.ids, ids)
        return self.ids[there], self.vectors[there]


def plain(rows: Rows, queries: Vectors, k: int, allowed: Ids) -> Ids:
    scores = np.where(np.isin(rows.ids, allowed), queries @ rows.vectors.T, -np.inf)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isinf(np.take_along_axis(scores, best, axis=1)), -1, rows.ids[best])


def index_of(folder: Path, rows: Rows, **identity: str) -> VectorIndex:
    return VectorIndex(folder, rows, D, identity or {"embedder": "x"}, rebuild_after=50)


@pytest.mark.parametrize("count", [3, 25, 300])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.01])
def test_faiss_with_its_delta_finds_what_numpy_finds(tmp_path: Path, count: int, share: float) -> None:
    rows = Rows(count)
    index = index_of(tmp_path, rows)
    queries = rows.draw(5)
    index.search(queries, 1, rows.ids)
    rows.add(20)
    allowed = rows.ids[rows.random.random(len(rows.ids)) < share]
    scores, ids = index.search(queries, 10, allowed)
    assert ids.tolist() == plain(rows, queries, 10, allowed).tolist()
    assert index.cached == (count if count > 50 else 0)
    found = ids >= 0
    expected = np.einsum("qkd,qd->qk", rows.vectors[np.maximum(ids, 1) - 1], queries)
    assert np.abs(np.where(found, scores - expected, 0)).max() < 1e-5


def test_another_process_uses_the_cache_and_reads_only_what_came_after(tmp_path: Path) -> None:
    rows = Rows(100)
    index_of(tmp_path, rows).search(rows.draw(1), 3, rows.ids)
    rows.add(10)
    before = rows.reads
    index = index_of(tmp_path, rows)
    index.search(rows.draw(1), 3, rows.ids)
    assert (index.cached, rows.reads - before) == (100, 10)


def test_many_new_rows_begin_a_new_epoch_of_the_cache(tmp_path: Path) -> None:
    rows = Rows(100)
    index = index_of(tmp_path, rows)
    index.search(rows.draw(1), 3, rows.ids)
    rows.add(60)
    index.search(rows.draw(1), 3, rows.ids)
    assert index.cached == 160
    assert len(list(tmp_path.glob("vectors-*.faiss"))) == 1


@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing", "manifest", "identity", "restored"])
def test_a_cache_that_does_not_fit_is_made_anew(tmp_path: Path, harm: str) -> None:
    rows = Rows(100)
    index_of(tmp_path, rows).search(rows.draw(1), 3, rows.ids)
    file = next(tmp_path.glob("vectors-*.faiss"))
    content = bytearray(file.read_bytes())
    if harm == "truncated":
        file.write_bytes(content[:-100])
    elif harm == "flipped":
        content[-200] ^= 0xFF
        file.write_bytes(content)
    elif harm == "missing":
        file.unlink()
    elif harm == "manifest":
        (tmp_path / "manifest.json").write_text("{")
    elif harm == "restored":
        # An older backup went another way: the same ids and epoch, other vectors.
        rows.vectors, rows.past, rows.now = rows.draw(100), {(1, "other"): None}, (1, "other")
    identity = {"embedder": "y"} if harm == "identity" else {"embedder": "x"}
    queries = rows.draw(4)
    _, ids = index_of(tmp_path, rows, **identity).search(queries, 10, rows.ids)
    assert ids.tolist() == plain(rows, queries, 10, rows.ids).tolist()
