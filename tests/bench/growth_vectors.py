"""Real passages and their vectors from a folder of texts; more rows made of them, with a check that they look alike.

N rows, D embedding dim, K neighbours.
"""

import itertools
import lzma
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.embedder import Embedder

Vectors = NDArray[np.float32]

_SHARD = 2048
_REST = 60
"""Characters from which the end of a document is a passage."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def passages(file: Path, least: int = 170, most: int = 360) -> Iterator[str]:
    """Whole sentences of the documents in `file` (xz, divided by U+001E), joined until `least` characters are there.

    Shorter than the chunker's passages, since these take a quarter of their time to embed.
    """
    for document in lzma.decompress(file.read_bytes()).decode().split("\x1e"):
        held: list[str] = []
        for sentence in filter(None, (part.strip() for part in _SENTENCE.split(document))):
            held.append(sentence)
            if sum(map(len, held)) >= least:
                yield " ".join(held)[:most]
                held = []
        if sum(map(len, held)) >= _REST:
            yield " ".join(held)[:most]


def shards(files: list[Path]) -> Iterator[tuple[str, list[str]]]:
    """All passages of `files`, by shards that have a name; what is left of a file's last one is left out."""
    for file in files:
        texts = passages(file)
        for number in itertools.count():
            batch = list(itertools.islice(texts, _SHARD))
            if len(batch) < _SHARD:
                break
            yield f"{file.name[:2]}-{number:04}.npy", batch


def embed(files: list[Path], folder: Path, embedder: Embedder, wanted: int) -> None:
    """Keep the vectors of `wanted` passages in `folder`, by shards: an interrupted run goes on, and two share the work
    when they are given different files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in shards(files):
        if len(list(folder.glob("*.npy"))) * _SHARD >= wanted:
            return
        if not (folder / name).exists():
            new = folder / f".{name}"
            with new.open("wb") as handle:
                np.save(handle, embedder.encode(texts).astype(np.float16))
            new.rename(folder / name)


def embedded(files: list[Path], folder: Path, wanted: int) -> tuple[list[str], Vectors, set[str]]:
    """Up to `wanted` passages whose vectors are in `folder`: texts, vectors [N, D], and the names of their shards."""
    there = sorted(file.name for file in folder.glob("*.npy"))[: -(-wanted // _SHARD)]
    of_these = [file for file in files if any(name.startswith(f"{file.name[:2]}-") for name in there)]
    texts = [text for name, batch in shards(of_these) if name in there for text in batch]
    rows = unit(np.concatenate([np.load(folder / name).astype(np.float32) for name in there]))
    return texts[:wanted], rows[:wanted], set(there)


def unit(rows: Vectors) -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(norms, 1e-9)).astype(np.float32)


def expand(rows: Vectors, total: int, pull: float, seed: int = 0) -> Iterator[Vectors]:
    """`rows`, then new ones up to `total`, in blocks: a row drawn by up to `pull` of the way to another of its cluster.

    Clusters are k-means' of about 50 rows. Tried and worse: adding differences of two rows of the cluster, which lie
    too far from everything (first neighbours of real questions at .463 where real rows are at .497 and these at .476).
    """
    import faiss

    rng = np.random.default_rng(seed)
    yield rows
    clusters = max(2, len(rows) // 50)
    sample = rows[rng.choice(len(rows), min(len(rows), clusters * 20), replace=False)]
    means = faiss.Kmeans(rows.shape[1], clusters, niter=4, seed=seed, min_points_per_centroid=1, spherical=True)
    means.train(sample)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(means.centroids)
    cluster = index.search(rows, 1)[1][:, 0]
    order = np.argsort(cluster, kind="stable")
    starts = np.searchsorted(cluster[order], np.arange(clusters + 1))
    left = total - len(rows)
    while left > 0:
        count = min(left, 100_000)
        parent = rng.integers(len(rows), size=count)
        low, high = starts[cluster[parent]], starts[cluster[parent] + 1]
        towards = rows[order[rng.integers(low, high)]]
        share = np.float32(pull) * rng.random((count, 1), dtype=np.float32)
        yield unit(rows[parent] + share * (towards - rows[parent]))
        left -= count


def neighbour_cosines(rows: Vectors, queries: Vectors, k: int = 10) -> Vectors:
    """Cosines [Q, K] of the nearest rows to each query, best first."""
    scores = queries @ rows.T
    return -np.sort(np.partition(-scores, k - 1, axis=1)[:, :k], axis=1)


def fitted(rows: Vectors, queries: Vectors, growth: int) -> tuple[float, dict[str, float]]:
    """The pull whose expansion of a `growth`-th of the real rows looks most like all of them to real questions.

    Returned with it: quantiles of the cosine of the first and tenth neighbour, of the real rows, of the expanded, and
    of the part that was expanded, and `largest`, the largest difference of the first two.
    """
    few = rows[::growth]
    real = neighbour_cosines(rows, queries)
    best: tuple[float, dict[str, float]] | None = None
    for pull in (0.5, 0.8):
        made = neighbour_cosines(np.concatenate(list(expand(few, len(rows), pull))), queries)
        facts: dict[str, float] = {}
        for name, found in (("real", real), ("expanded", made), ("part", neighbour_cosines(few, queries))):
            for place in (1, 10):
                for quantile in (10, 50, 90):
                    key = f"{name} neighbour {place} p{quantile}"
                    facts[key] = round(float(np.percentile(found[:, place - 1], quantile)), 4)
        gaps = [
            abs(value - facts[key.replace("real", "expanded", 1)]) for key, value in facts.items() if key[:4] == "real"
        ]
        facts["largest"] = round(max(gaps), 4)
        if best is None or facts["largest"] < best[1]["largest"]:
            best = pull, facts
    assert best is not None
    return best
