"""Nearest vectors: a FAISS file as a cache, and an exact scan of what came after it. Knows nothing about documents.

The rows live elsewhere (a `VectorSource`); a cache that is missing, damaged or of another origin is made anew.
Q queries, N rows, D embedding dim, K results.
"""

import fcntl
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]


class VectorSource(Protocol):
    """Where the rows live."""

    def version(self) -> tuple[int, str]:
        """The epoch of the rows and its token."""
        ...

    def has_version(self, epoch: int, token: str) -> bool:
        """Whether that epoch is in this source's past, and not in that of a copy that went another way."""
        ...

    def rows_after(self, id: int) -> tuple[Ids, Vectors]:
        """Ids [N], ascending, and vectors [N, D] of all rows with a higher id."""
        ...


class VectorIndex:
    """Inner-product search over a source's rows, cached in `folder`, or where that is None in this process alone.

    `identity` says what the vectors are made by (embedder, chunker, ...): a cache with another one is not used.
    """

    def __init__(
        self,
        folder: Path | None,
        source: VectorSource,
        dimension: int,
        identity: Mapping[str, Any],
        rebuild_after: int = 5000,
    ) -> None:
        self._folder = folder
        self._source = source
        self._dimension = dimension
        self._identity = dict(identity) | {"dimension": dimension}
        self._rebuild_after = rebuild_after
        self._lock = threading.Lock()
        self._version: tuple[int, str] | None = None
        self._index: Any = None
        self._highest = 0
        self._ids: Ids = np.zeros(0, dtype=np.int64)
        self._vectors: Vectors = np.zeros((0, dimension), dtype=np.float32)

    def search(self, queries: Vectors, k: int, allowed: Ids) -> tuple[Vectors, Ids]:
        """Return scores [Q, K] and ids [Q, K] of the best rows among `allowed` (ascending), best first.

        Where fewer are allowed, ids end in -1 and scores in -inf. Deleted rows are those that are not allowed.
        """
        with self._lock:
            self._refresh()
            # 1. exactly, the rows that came after the cache
            fresh = np.isin(self._ids, allowed, assume_unique=True)
            scores, ids = _exact(queries, self._vectors[fresh], self._ids[fresh], k)
            # 2. through FAISS, the rows before
            old = allowed[: np.searchsorted(allowed, self._highest, side="right")]
            if self._index is not None and len(old):
                more_scores, more_ids = self._cached(queries, k, old)
                scores, ids = np.hstack([scores, more_scores]), np.hstack([ids, more_ids])
        # 3. both, best first; equal scores by id, so that a result does not depend on where a row is kept
        order = np.lexsort((ids, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)

    @property
    def cached(self) -> int:
        """Rows in the FAISS cache in use, deleted ones included."""
        return 0 if self._index is None else int(self._index.ntotal)

    def _cached(self, queries: Vectors, k: int, allowed: Ids) -> tuple[Vectors, Ids]:
        import faiss  # 0.2 s

        parameters = None
        if len(allowed) < self._index.ntotal:
            mask = np.zeros(self._highest + 1, dtype=bool)
            mask[allowed] = True
            bits = np.packbits(mask, bitorder="little")
            selector = faiss.IDSelectorBitmap(self._highest + 1, faiss.swig_ptr(bits))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # made by SWIG
        scores, ids = self._index.search(np.ascontiguousarray(queries), k, params=parameters)
        return np.where(ids < 0, -np.inf, scores).astype(np.float32), ids

    def _refresh(self) -> None:
        version = self._source.version()
        if version == self._version:
            return
        if self._index is None or self._version is None or not self._source.has_version(*self._version):
            self._index, self._highest = None, 0
            self._load()
        self._ids, self._vectors = self._source.rows_after(self._highest)
        if len(self._ids) > self._rebuild_after:
            self._build(version)
        self._version = version

    def _load(self) -> None:
        if self._folder is None:
            return
        manifest_file = self._folder / "manifest.json"
        try:
            manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
            if manifest["identity"] != self._identity or not self._source.has_version(*manifest["version"]):
                return
            file = self._folder / manifest["file"]
            with file.open("rb") as handle:
                if hashlib.file_digest(handle, "sha256").hexdigest() != manifest["sha256"]:
                    return
        except (OSError, ValueError, KeyError, TypeError):
            return
        import faiss

        self._index = faiss.read_index(str(file))
        self._highest = int(manifest["highest"])

    def _build(self, version: tuple[int, str]) -> None:
        """Index all rows and leave the result for the next process, if there is a folder; one builder at a time
        writes."""
        import faiss

        ids, vectors = self._source.rows_after(0)
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(self._dimension))
        index.add_with_ids(vectors, ids)
        self._index, self._highest = index, int(ids[-1])
        self._ids, self._vectors = ids[:0], vectors[:0]
        if self._folder is None:
            return
        with _exclusive(self._folder):
            name = f"vectors-{version[0]}-{version[1]}.faiss"
            digest = _write(self._folder / name, faiss.serialize_index(index).tobytes())
            manifest = {
                "identity": self._identity,
                "version": list(version),
                "rows": len(ids),
                "highest": self._highest,
                "file": name,
                "sha256": digest,
            }
            _write(self._folder / "manifest.json", json.dumps(manifest, indent=1).encode())
            for other in self._folder.glob("vectors-*.faiss"):
                if other.name != name:
                    other.unlink(missing_ok=True)


def drop_cache(folder: Path) -> None:
    """Remove the cache in `folder`, with what builders that were killed left; the next search makes it anew."""
    if folder.is_dir():
        with _exclusive(folder):
            for file in (*folder.glob("vectors-*.faiss"), *folder.glob(".new-*"), folder / "manifest.json"):
                file.unlink(missing_ok=True)


def _exact(queries: Vectors, vectors: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """The best `k` of all rows: scores [Q, K] and ids [Q, K], K at most N."""
    scores = queries @ vectors.T  # [Q, N]
    if scores.shape[1] > k:
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        return np.take_along_axis(scores, best, axis=1), ids[best]
    return _padded(scores, np.broadcast_to(ids, scores.shape), k)


def _padded(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    missing = ((0, 0), (0, k - scores.shape[1]))
    return np.pad(scores, missing, constant_values=-np.inf), np.pad(ids, missing, constant_values=-1)


def _write(file: Path, content: bytes) -> str:
    """Put `content` at `file` so that it is there whole or not at all; return its SHA-256."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
