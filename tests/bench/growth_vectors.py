"""Real passages and their vectors from a folder of texts; more rows made of them, with a check that they look alike.

N rows, D embedding dim, K neighbours.
"""

import itertools
import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.embedder import Embedder

Vectors = NDArray[np.float32]

_SHARD = 2048
_REST = 60
"""Characters from which the end of a document is a passage."""

_CLUSTER = 50
"""Rows of a cluster, in which rows are mixed."""

_DIFFERENCE = 0.3
"""Part of the difference of two rows by which a new one is moved."""

_ASKED = 8
"""Questions nearest to a row, one of which may draw a new one."""

_DRAWN = 0.3
"""Weight of a question in the rows that it draws."""

_SHARES = (0.1, 0.15, 0.2)
"""Shares of such rows that are tried."""

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


def expand(rows: Vectors, total: int, questions: Vectors, share: float, seed: int = 0) -> Iterator[Vectors]:
    """`rows`, then new ones up to `total`, in blocks: each the middle of two rows of a cluster, moved by a part of the
    difference of two others; a `share` of them is drawn towards one of the nearest `questions` [Q, D].

    Clusters are k-means' of about 50 rows. The middle alone varies less than rows do. The questions, real ones that
    are asked by nobody else, stand for what texts have by nature: some answer what is asked. Tried and worse: a row
    drawn towards another of its cluster (first neighbours too far from questions by .028, tenth too near by .013),
    middles of two or three, clusters of 15 and 200, differences alone, noise of the cluster's principal axes.
    """
    import faiss

    rng = np.random.default_rng(seed)
    yield rows
    if total <= len(rows):
        return
    clusters = max(2, len(rows) // _CLUSTER)
    sample = rows[rng.choice(len(rows), min(len(rows), clusters * 10), replace=False)]
    means = faiss.Kmeans(rows.shape[1], clusters, niter=3, seed=seed, min_points_per_centroid=1, spherical=True)
    means.train(sample)
    cluster = _nearest(rows, means.centroids, 1)[:, 0]
    order = np.argsort(cluster, kind="stable")
    starts = np.searchsorted(cluster[order], np.arange(clusters + 1))
    asked = _nearest(rows, questions, min(_ASKED, len(questions)))
    left = total - len(rows)
    while left > 0:
        count = min(left, 50_000)
        parent = rng.integers(len(rows), size=count)
        low, high = starts[cluster[parent]], starts[cluster[parent] + 1]
        a, b, c = (rows[order[rng.integers(low, high)]] for _ in range(3))
        made = unit((rows[parent] + a) / 2 + np.float32(_DIFFERENCE) * (b - c))
        drawn = np.flatnonzero(rng.random(count) < share)
        made[drawn] += (
            np.float32(_DRAWN) * questions[asked[parent[drawn], rng.integers(asked.shape[1], size=len(drawn))]]
        )
        yield unit(made)
        left -= count


def _nearest(rows: Vectors, to: Vectors, k: int) -> NDArray[np.int64]:
    """Which `k` of the vectors `to` are nearest to each row: [N, K]."""
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(to)
    return np.concatenate([index.search(rows[i : i + 50_000], k)[1] for i in range(0, len(rows), 50_000)])


def neighbour_cosines(blocks: Iterable[Vectors], queries: Vectors, k: int = 10) -> Vectors:
    """Cosines [Q, K] of the nearest rows of all `blocks` to each query, best first."""
    best = np.full((len(queries), k), -1, np.float32)
    for block in blocks:
        for start in range(0, len(block), 50_000):
            scores = np.hstack([best, queries @ block[start : start + 50_000].T])
            best = -np.partition(-scores, k - 1, axis=1)[:, :k]
    return np.sort(best, axis=1)[:, ::-1]


def fitted(rows: Vectors, queries: Vectors, questions: Vectors, growth: int) -> tuple[float, dict[str, float]]:
    """The share whose expansion of a `growth`-th of the real rows looks most like all of them to the real `queries`,
    which are none of the `questions`.

    Returned with it: quantiles of the cosine of the first and tenth neighbour, of the real rows, of the expanded, and
    of the part that was expanded, and `largest`, the largest difference of the first two.
    """
    few = rows[::growth]
    real, part = neighbour_cosines([rows], queries), neighbour_cosines([few], queries)
    best: tuple[float, dict[str, float]] | None = None
    for share in _SHARES:
        made = neighbour_cosines(expand(few, len(rows), questions, share), queries)
        facts: dict[str, float] = {"share": share}
        for name, found in (("real", real), ("expanded", made), ("part", part)):
            for place in (1, 10):
                for quantile in (10, 50, 90):
                    key = f"{name} neighbour {place} p{quantile}"
                    facts[key] = round(float(np.percentile(found[:, place - 1], quantile)), 4)
        gaps = [
            abs(value - facts[key.replace("real", "expanded", 1)]) for key, value in facts.items() if key[:4] == "real"
        ]
        facts["largest"] = round(max(gaps), 4)
        if best is None or facts["largest"] < best[1]["largest"]:
            best = share, facts
    assert best is not None
    return best
