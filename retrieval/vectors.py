"""Nearest vectors: an epoch of a FAISS index, and an exact scan of what came after it. Knows nothing about documents.

The rows live elsewhere (a `VectorSource`); an epoch that is missing, damaged or of another origin is made anew.
Q queries, N rows, D embedding dim, K results.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import gpu_lists
from retrieval.epoch_build import Ids, Manifest, Vectors, VectorSource, build_epoch, read_epoch, read_manifest
from retrieval.index_kind import kind_for

__all__ = ["Ids", "VectorIndex", "VectorSource", "Vectors", "contained"]

_FEW = 2000
"""Where no more rows may be found than this, they are read and compared: 10 ms, and nothing is missed."""

_HELD = 500_000
"""Rows after the epoch that are held in memory, 1.5 KB each at 384 dims. What is beyond them, as in a large library
whose first epoch is being built, is read anew by every search: about 3 s for a million."""

_BLOCK = 50_000
"""Rows that are read at once."""

_QUERY_BITS = 8
"""To which an estimating index rounds a query's dimensions; each bit less costs recall, float32 costs three times."""

_WIDER = 4
"""An estimating index brings this many times the rows wanted, to be judged by their stored vectors.

Recall at ten of real questions among a million: .966 with 2, .976 with 3, .983 with 4, for 9.2, 10.0 and 10.9 ms.
"""


class VectorIndex:
    """Inner-product search over a source's rows, with epochs in `folder`, or where that is None by an exact scan alone.

    `identity` says what the vectors are made by (embedder, chunker, ...): an epoch with another one is not used. An
    exact epoch is built by the search that finds it due; any other by `launch`, which starts a builder elsewhere, while
    searches go on over the old epoch and what came after it; without `launch` also by the search.
    """

    def __init__(
        self,
        folder: Path | None,
        source: VectorSource,
        dimension: int,
        identity: Mapping[str, Any],
        rebuild_after: int = 5000,
        launch: Callable[[], None] | None = None,
    ) -> None:
        self._folder = folder
        self._source = source
        self._dimension = dimension
        self._identity = dict(identity) | {"dimension": dimension}
        self._rebuild_after = rebuild_after
        self._launch = launch
        self._lock = threading.Lock()
        self._version: tuple[int, str] | None = None
        self._seen: int | None = None
        self._manifest: Manifest | None = None
        self._index: Any = None
        self._gpu: Any = None
        self._selected: tuple[Ids, NDArray[np.uint8], Any] | None = None
        self._ids: Ids = np.zeros(0, dtype=np.int64)
        self._vectors: Vectors = np.zeros((0, dimension), dtype=np.float32)

    def search(self, queries: Vectors, k: int, allowed: Ids) -> tuple[Vectors, Ids]:
        """Return scores [Q, K] and ids [Q, K] of the best rows among `allowed` (ascending), best first.

        Where fewer are allowed, ids end in -1 and scores in -inf. Deleted rows are those that are not allowed.
        """
        with self._lock:
            self._refresh()
            # 1. exactly, the rows that came after the epoch
            scores, ids = self._compared(queries, k, allowed)
            # 2. through FAISS, the rows before
            if self._manifest is not None:
                old = int(np.searchsorted(allowed, self._manifest.highest, side="right"))
                if old:
                    more_scores, more_ids = self._indexed(queries, k, allowed, old)
                    scores, ids = np.hstack([scores, more_scores]), np.hstack([ids, more_ids])
        # 3. both, best first
        return _first(scores, ids, k)

    def refresh(self) -> None:
        """Do what a search would do first: take a newer epoch, and see to it that one is made when it is due."""
        with self._lock:
            self._refresh()

    @property
    def cached(self) -> int:
        """Rows in the epoch in use, deleted ones included."""
        return 0 if self._index is None else int(self._index.ntotal)

    def _compared(self, queries: Vectors, k: int, allowed: Ids) -> tuple[Vectors, Ids]:
        """Of the rows after the epoch, those that are held and those beyond: scores [Q, K] and ids [Q, K]."""
        scores, ids = _best(queries @ self._vectors.T, self._ids, contained(self._ids, allowed), k)
        more, vectors = self._ids, self._vectors
        while self._folder is not None and len(self._ids) == _HELD:
            more, vectors = self._source.rows_after(int(more[-1]), _BLOCK)
            if not len(more):
                break
            found = _best(queries @ vectors.T, more, contained(more, allowed), k)
            scores, ids = _first(np.hstack([scores, found[0]]), np.hstack([ids, found[1]]), k)
        return scores, ids

    def _indexed(self, queries: Vectors, k: int, allowed: Ids, old: int) -> tuple[Vectors, Ids]:
        """Of the first `old` of `allowed`, which the epoch holds: scores [Q, K] and ids [Q, K]."""
        import faiss  # 0.2 s

        assert self._manifest is not None
        kind = self._manifest.kind
        if old <= _FEW and not kind.exact:
            ids, vectors = self._source.rows_of(allowed[:old])
            return _best(queries @ vectors.T, ids, np.ones(len(ids), bool), k)
        selector = self._selector(allowed) if old < self._index.ntotal else None
        if kind.exact:
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # made by SWIG
            scores, ids = self._index.search(np.ascontiguousarray(queries), k, params=parameters)
            return np.where(ids < 0, -np.inf, scores).astype(np.float32), ids
        probes = kind.probes(old / self._index.ntotal)
        parameters = faiss.IVFRaBitQSearchParameters(sel=selector, nprobe=probes, qb=_QUERY_BITS)  # type: ignore[call-arg]  # made by SWIG
        _, found = gpu_lists.search(self._index, self._gpu, np.ascontiguousarray(queries), k * _WIDER, parameters)
        ids, vectors = self._source.rows_of(np.unique(found[found >= 0]))
        near = np.stack([contained(ids, np.sort(row)) for row in found])  # [Q, N]
        return _best(queries @ vectors.T, ids, near, k)

    def _selector(self, allowed: Ids) -> Any:
        """FAISS's form of `allowed`, kept while the same array comes again: at ten million rows it takes 20 ms."""
        import faiss

        if self._selected is None or self._selected[0] is not allowed:
            mask = np.zeros(int(allowed[-1]) + 1, dtype=bool)
            mask[allowed] = True
            bits = np.packbits(mask, bitorder="little")
            # FAISS keeps a bare pointer to the bits.
            self._selected = allowed, bits, faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        return self._selected[2]

    def _refresh(self) -> None:
        version = self._source.version()
        swapped = self._take_swapped(changed=version != self._version)
        if version == self._version and not swapped:
            return
        highest = 0 if self._manifest is None else self._manifest.highest
        if swapped or self._version is None or not self._source.has_version(*self._version):
            self._ids, self._vectors = self._rows_after(highest, 0)
        else:
            ids, vectors = self._rows_after(int(self._ids[-1]) if len(self._ids) else highest, len(self._ids))
            self._ids, self._vectors = np.concatenate([self._ids, ids]), np.concatenate([self._vectors, vectors])
        self._version = version
        if self._folder is None or len(self._ids) <= max(self._rebuild_after, self.cached // 100):
            return
        if self._launch is not None and not kind_for(self.cached + len(self._ids)).exact:
            self._launch()
        elif build_epoch(self._folder, self._source, self._dimension, self._identity) and self._take_swapped(
            changed=True
        ):
            assert self._manifest is not None
            self._ids, self._vectors = self._rows_after(self._manifest.highest, 0)

    def _rows_after(self, id: int, held: int) -> tuple[Ids, Vectors]:
        """The rows after `id` that are to be held beside as many as are; without epochs, all."""
        return self._source.rows_after(id, None if self._folder is None else _HELD - held)

    def _take_swapped(self, changed: bool) -> bool:
        """Use the epoch that is in the folder now, if it is another; if the source `changed`, drop one it disowns."""
        if self._folder is None:
            return False
        disowned = changed and self._manifest is not None and not self._source.has_version(*self._manifest.version)
        if disowned:
            self._manifest, self._index, self._gpu, self._selected = None, None, None, None
        file = self._folder / "manifest.json"
        seen = file.stat().st_mtime_ns if file.is_file() else None
        if seen is None or (seen == self._seen and not disowned):
            return disowned
        self._seen = seen
        manifest = read_manifest(self._folder, self._identity, self._source)
        if manifest is None or manifest == self._manifest:
            return disowned
        index = read_epoch(self._folder, manifest)
        if index is None:
            return disowned
        self._manifest, self._index, self._selected = manifest, index, None
        self._gpu = None if manifest.kind.exact else gpu_lists.on_gpu(index.quantizer)
        return True


def contained(ids: Ids, allowed: Ids) -> NDArray[np.bool_]:
    """Which of `ids` are among `allowed`, ascending: [N]. NumPy's own `isin` sorts both, 50 ms at a million."""
    if not len(allowed):
        return np.zeros(len(ids), dtype=bool)
    places = np.searchsorted(allowed, ids)
    same: NDArray[np.bool_] = allowed[np.minimum(places, len(allowed) - 1)] == ids
    return same


def _first(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """The best `k` [Q, K] of scores and ids [Q, N], best first; equal scores by id, so that a result does not depend
    on where a row is kept."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _best(scores: Vectors, ids: Ids, among: NDArray[np.bool_], k: int) -> tuple[Vectors, Ids]:
    """The best `k` of scores [Q, N] of the rows `ids` [N], where `among` ([N] or [Q, N]) holds: [Q, K] and [Q, K]."""
    scores = np.where(among, scores, np.float32(-np.inf))
    if scores.shape[1] > k:
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, found = np.take_along_axis(scores, best, axis=1), ids[best]
    else:
        missing = ((0, 0), (0, k - scores.shape[1]))
        found = np.pad(np.broadcast_to(ids, scores.shape), missing, constant_values=-1)
        scores = np.pad(scores, missing, constant_values=-np.inf)
    return scores, np.where(np.isinf(scores), -1, found)
