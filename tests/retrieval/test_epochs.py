"""Epochs of the vector index that are large enough to estimate: their bounds are lowered here, so that hundreds are."""

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from retrieval import gpu_lists, index_kind, vectors
from retrieval.epoch_build import build_epoch, drop_epochs, is_building
from retrieval.epoch_process import Builder
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from retrieval.vectors import Ids, VectorIndex
from tests.fakes import FakeEmbedder
from tests.retrieval.test_vectors import Rows, plain

D = 128
IDENTITY = {"embedder": "x", "dimension": D}


class Clustered(Rows):
    """Rows in clusters of few directions, as those of texts are."""

    def __init__(self, count: int) -> None:
        fixed = np.random.default_rng(1)
        self.centres, self.directions = fixed.normal(size=(50, D)), fixed.normal(size=(10, D)) / 10**0.5
        super().__init__(count, D)

    def draw(self, count: int) -> vectors.Vectors:
        drawn = (
            self.centres[self.random.integers(50, size=count)] + self.random.normal(size=(count, 10)) @ self.directions
        )
        unit: vectors.Vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
        return unit


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_kind, "EXACT_ROWS", 500)
    monkeypatch.setattr(vectors, "_FEW", 20)


def index_of(folder: Path, rows: Rows, **options: object) -> VectorIndex:
    return VectorIndex(folder, rows, D, {"embedder": "x"}, rebuild_after=100, **options)  # type: ignore[arg-type]


def recall(index: VectorIndex, rows: Rows, allowed: Ids) -> float:
    queries = rows.draw(40)
    _, found = index.search(queries, 10, allowed)
    assert set(found[found >= 0].tolist()) <= set(allowed.tolist())
    wanted = plain(rows, queries, 10, allowed)
    same = [np.isin(right[right >= 0], row).mean() for right, row in zip(wanted, found, strict=True)]
    return float(np.mean(same))


@pytest.mark.parametrize("rows", [100, 500, 501, 100_000, 1_000_000, 10_000_000])
def test_the_kind_follows_the_size(rows: int) -> None:
    kind = index_kind.kind_for(rows)
    assert kind.exact == (rows <= 500)
    assert kind.exact or 2.8 <= kind.lists / rows**0.5 <= 5.7
    assert kind.probes(1.0) <= kind.probes(0.1) <= kind.lists
    assert kind.probes(1.0) <= index_kind.MOST_PROBES


def test_an_estimating_epoch_finds_nearly_what_numpy_finds_and_nothing_deleted(tmp_path: Path) -> None:
    rows = Clustered(3000)
    index = index_of(tmp_path, rows)
    assert recall(index, rows, rows.ids) > 0.9
    assert index.cached == 3000 and json.loads((tmp_path / "manifest.json").read_text())["lists"] == 256
    for share in (0.7, 0.1, 0.004):
        assert recall(index, rows, rows.ids[rows.random.random(len(rows.ids)) < share]) > 0.9
    rows.add(50)
    assert index.search(rows.vectors[-1:], 1, rows.ids)[1].tolist() == [[3050]]
    assert index.search(rows.vectors[-1:], 1, rows.ids[:-1])[1].tolist() != [[3050]]


def test_scores_are_those_of_the_stored_vectors(tmp_path: Path) -> None:
    rows = Clustered(2000)
    scores, ids = index_of(tmp_path, rows).search(queries := rows.draw(3), 10, rows.ids)
    assert np.abs(scores - np.einsum("qkd,qd->qk", rows.vectors[ids - 1], queries)).max() < 1e-5


class KilledRows(Clustered):
    """Rows whose reader is killed once it has read a number of them."""

    left = 10**9

    def rows_after(self, id: int, limit: int | None = None) -> tuple[Ids, vectors.Vectors]:
        ids, found = super().rows_after(id, limit)
        self.left -= len(ids)
        if self.left < 0:
            raise Killed
        return ids, found


def test_a_killed_build_goes_on_where_it_was_and_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    rows = KilledRows(1000)
    assert build_epoch(tmp_path / "whole", rows, D, IDENTITY, part_rows=300)
    rows.left = 700
    with pytest.raises(Killed):
        build_epoch(tmp_path / "cut", rows, D, IDENTITY, part_rows=300)
    assert not (tmp_path / "cut" / "manifest.json").exists() and not is_building(tmp_path / "cut")
    rows.left, rows.reads = 10**9, 0
    assert build_epoch(tmp_path / "cut", rows, D, IDENTITY, part_rows=300)
    assert rows.reads == 400
    one, other = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("whole", "cut"))
    assert one == other
    assert not (tmp_path / "cut" / "next").exists()


def test_parts_of_rows_that_a_restored_backup_does_not_have_are_not_used(tmp_path: Path) -> None:
    rows = KilledRows(1000)
    rows.left = 700
    with pytest.raises(Killed):
        build_epoch(tmp_path, rows, D, IDENTITY, part_rows=300)
    rows.left, rows.vectors, rows.past, rows.now = 10**9, rows.draw(1000), {(1, "other"): None}, (1, "other")
    assert build_epoch(tmp_path, rows, D, IDENTITY)
    assert recall(index_of(tmp_path, rows), rows, rows.ids) > 0.9


def test_a_grown_library_adds_to_its_lists_until_they_are_too_few_or_too_much_was_deleted(tmp_path: Path) -> None:
    rows = Clustered(1000)
    trained = []
    for change in (0, 500, 3000):
        if change:
            rows.add(change)
        assert build_epoch(tmp_path, rows, D, IDENTITY)
        trained.append(json.loads((tmp_path / "manifest.json").read_text())["trained_for"])
    kept = rows.ids > 2000
    rows.ids, rows.vectors = rows.ids[kept], rows.vectors[kept]
    assert build_epoch(tmp_path, rows, D, IDENTITY)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [*trained, manifest["trained_for"], manifest["rows"]] == [1000, 1000, 4500, 2500, 2500]
    assert len(list(tmp_path.glob("vectors-*.faiss"))) == 1


def test_a_search_does_not_wait_for_a_builder_and_takes_what_it_made(tmp_path: Path) -> None:
    rows = Clustered(1000)
    asked: list[None] = []
    index = index_of(tmp_path, rows, launch=lambda: asked.append(None))
    assert recall(index, rows, rows.ids) == 1.0
    assert (len(asked), index.cached) == (1, 0)
    build_epoch(tmp_path, rows, D, IDENTITY)
    index.refresh()
    assert (len(asked), index.cached) == (1, 1000)


def test_dropping_epochs_stops_a_builder_and_leaves_nothing_of_the_vectors(tmp_path: Path) -> None:
    rows = Clustered(1000)
    build_epoch(tmp_path, rows, D, IDENTITY)
    (tmp_path / "stop").touch()
    rows.add(100)
    assert not build_epoch(tmp_path, rows, D, IDENTITY)
    drop_epochs(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["building"]
    assert build_epoch(tmp_path, rows, D, IDENTITY)


def test_a_builder_is_a_process_of_its_own_and_runs_once(tmp_path: Path) -> None:
    embedder = FakeEmbedder(dimension=D)
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), lambda: embedder)
    (tmp_path / "birds.txt").write_text("Puffins nest on the northern cliff.")
    ingest(library, [tmp_path / "birds.txt"])
    builder = Builder(tmp_path / "data", tmp_path / "cache", D, IDENTITY)
    builder()
    first = builder._process
    builder()
    assert first is not None and first is builder._process
    assert first.wait(timeout=60) == 0
    manifest = json.loads((tmp_path / "cache" / "manifest.json").read_text())
    assert (manifest["rows"], manifest["identity"]) == (1, IDENTITY)
    library.close()


def test_more_rows_than_are_held_in_memory_are_all_found_and_no_more_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_HELD", 520)
    monkeypatch.setattr(vectors, "_BLOCK", 70)
    rows = Clustered(800)
    index = index_of(tmp_path, rows, launch=lambda: None)  # a builder that has made nothing yet
    queries = rows.draw(40)
    for step in (1, 3):
        scores, ids = index.search(queries, 10, rows.ids[::step])
        right = -np.sort(-(queries @ rows.vectors[::step].T), axis=1)[:, :10]
        assert (
            np.abs(scores - right).max() < 1e-5
        )  # not ids: blocks are multiplied apart, which rounds equal ones apart
        assert np.isin(ids, rows.ids[::step]).all()
    rows.add(40)
    assert index.search(rows.vectors[-1:], 1, rows.ids)[1].tolist() == [[840]]
    assert len(index._vectors) == 520
    build_epoch(tmp_path, rows, D, IDENTITY)
    rows.add(530)
    assert index.search(rows.vectors[-1:], 1, rows.ids)[1].tolist() == [[1370]]
    assert (index.cached, len(index._vectors)) == (840, 520)


def test_an_epoch_whose_lists_a_gpu_finds_is_the_same_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Clustered(2000)
    queries = rows.draw(40)
    plain_index = index_of(tmp_path / "plain", rows)
    plain_scores, plain_ids = plain_index.search(queries, 10, rows.all_ids())
    asked: list[int] = []

    class StandIn:
        """The lists' means themselves, in the place of their copy on a GPU."""

        def __init__(self, means: Any) -> None:
            self.means = faiss.clone_index(means)

        def search(self, queries: vectors.Vectors, k: int) -> Any:
            asked.append(len(queries))
            return self.means.search(queries, k)

    monkeypatch.setattr(gpu_lists, "on_gpu", lambda means: StandIn(means) if means.ntotal else None)
    index = index_of(tmp_path / "gpu", rows)
    scores, ids = index.search(queries, 10, rows.all_ids())
    assert asked == [2000, 40]
    assert json.loads((tmp_path / "gpu" / "manifest.json").read_text()) == json.loads(
        (tmp_path / "plain" / "manifest.json").read_text()
    )
    assert (ids == plain_ids).all() and (scores == plain_scores).all()
    # Where more lists are wanted than a GPU's kernels keep, the processor finds them.
    monkeypatch.setattr(gpu_lists, "_MOST", 1)
    assert (index.search(queries, 10, rows.all_ids())[1] == plain_ids).all()
    assert asked == [2000, 40]


def test_without_room_on_the_gpu_the_processor_finds_the_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    class Resources:
        def setTempMemory(self, size: int) -> None: ...

    def full(resources: Resources, device: int, means: Any) -> Any:
        raise RuntimeError("Failed to cudaMalloc 268435456 bytes on device 0")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", full, raising=False)
    rows = Clustered(500).vectors
    index = faiss.index_factory(rows.shape[1], "IVF8,RaBitQ", faiss.METRIC_INNER_PRODUCT)
    gpu_lists.train(index, rows)
    gpu = gpu_lists.on_gpu(index.quantizer)
    gpu_lists.add(index, gpu, rows, np.arange(500))
    assert gpu is None and index.ntotal == 500
