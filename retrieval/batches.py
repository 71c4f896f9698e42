"""Passages of several documents embedded together. Knows no files and no database."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.chunker import Chunk
from retrieval.embedder import Embedder

BATCH = 256
"""Passages, at least, that are embedded and stored together: enough to sort by length, few enough to lose to a kill."""


def is_batch(documents: Sequence[Sequence[Chunk]]) -> bool:
    """Whether the passages of `documents` suffice to be embedded together; many documents may have none."""
    return max(sum(map(len, documents)), len(documents)) >= BATCH


def embedded(
    embedder: Embedder, documents: Sequence[Sequence[Chunk]], done: Callable[[int], None] = lambda passages: None
) -> list[NDArray[np.float32]]:
    """The vectors [N, D] of each document's passages, from batches that pay no heed to where a document ends.

    No batch is small unless all is: an embedder may take few texts for a query, which it reads at its most exact, and
    slowly. `done` is told of the passages of each.
    """
    texts = [piece.embedded for pieces in documents for piece in pieces]
    blocks = [np.zeros((0, embedder.dimension), np.float32)]
    for batch in _even(texts):
        blocks.append(embedder.encode(batch))
        done(len(batch))
    ends = np.cumsum([len(pieces) for pieces in documents], dtype=np.int64)
    return np.split(np.concatenate(blocks), ends)[:-1]  # without what is behind the last: nothing


def _even(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    size = -(-len(texts) // max(len(texts) // BATCH, 1))
    yield from (texts[start : start + size] for start in range(0, len(texts), max(size, 1)))
