"""The inverted lists of rows and of queries, found on a GPU where FAISS has one (the extra `gpu`).

FAISS makes and scans RaBitQ's codes on the processor alone, so that an epoch's file is of one kind wherever it was
built, and is searched with and without a GPU. Knows no files. N rows, Q queries, L lists, D embedding dim, K results.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 2048
"""Lists of one query; FAISS's kernels keep no more of the best."""

_BYTES = 256 << 20
"""Of the GPU's memory for results under way; FAISS would take 1.5 GB."""


def on_gpu(means: Any) -> Any | None:
    """A copy on a GPU of `means`, the flat index of the L lists' means [L, D]; None where FAISS has no GPU, or a model
    has left no room there."""
    import faiss  # 0.2 s

    if not faiss.get_num_gpus():
        return None
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_BYTES)
    try:
        return faiss.index_cpu_to_gpu(resources, 0, means)
    except RuntimeError:  # what FAISS raises where memory cannot be had
        return None


def train(index: Any, rows: NDArray[np.float32]) -> None:
    """Find the means of the lists of `index`, an IVF index, by `rows` [N, D]."""
    import faiss

    gpu = on_gpu(faiss.IndexFlatIP(index.d))
    index.clustering_index = gpu  # FAISS keeps a bare pointer
    index.train(rows)
    index.clustering_index = None


def add(index: Any, gpu: Any | None, rows: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
    """Add `rows` [N, D] as `ids` [N]; `gpu` is the copy of the lists' means, if there is one."""
    import faiss

    if gpu is None:
        index.add_with_ids(rows, ids)
        return
    lists = gpu.search(rows, 1)[1][:, 0].copy()
    index.add_core(len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(ids), faiss.swig_ptr(lists))


def search(
    index: Any, gpu: Any | None, queries: NDArray[np.float32], k: int, parameters: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores [Q, K] and ids [Q, K] of the best rows, as `index.search` returns them."""
    import faiss

    if gpu is None or parameters.nprobe > _MOST:
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = index.search(queries, k, params=parameters)
        return found
    near, lists = gpu.search(queries, parameters.nprobe)
    scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    # Not the method without `_c`: it takes no parameters.
    arrays = [faiss.swig_ptr(array) for array in (lists, near, scores, ids)]
    index.search_preassigned_c(len(queries), faiss.swig_ptr(queries), k, *arrays, False, parameters)
    return scores, ids
