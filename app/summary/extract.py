"""The sentences that say most of a document: of each section those nearest to the whole, then the least repetition.

Maximal marginal relevance (Carbonell and Goldstein, 1998) over sentence vectors. N sentences, D dimensions.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PER_SECTION = 3
"""Sentences that a section sends on, or as many more as a long summary of few sections takes."""

_RELEVANCE = 0.7
"""Share of being near the whole against being unlike what is chosen already."""
_CROWD = 0.06
"""What each sentence chosen from the same section takes off."""
_OWN = 0.5
"""Share of the section in what a sentence is compared with; the rest is the document."""


def choose(vectors: NDArray[np.float32], sections: Sequence[int], weight: Sequence[float], count: int) -> list[int]:
    """Places of about `count` sentences, in order. `vectors` is [N, D], rows of length 1; `sections` says which each is
    of; `weight` is added to how near it is, for what its form tells."""
    if not len(vectors):
        return []
    document = _middle(vectors)
    near = np.zeros(len(vectors), np.float32)  # [N]
    sent_on: list[int] = []
    places: dict[int, list[int]] = {}
    for place, section in enumerate(sections):
        places.setdefault(section, []).append(place)
    for held in places.values():
        own = vectors[held]
        near[held] = _OWN * (own @ _middle(own)) + (1 - _OWN) * (own @ document) + np.asarray(weight)[held]
        sent_on += sorted(held, key=lambda place: -near[place])[: max(PER_SECTION, 2 * count // len(places))]
    chosen: list[int] = []
    crowd: Counter[int] = Counter()
    repeats = np.zeros(len(vectors), np.float32)  # [N], likeness to the nearest chosen sentence
    while sent_on and len(chosen) < count:
        worth = {p: _RELEVANCE * near[p] - (1 - _RELEVANCE) * repeats[p] - _CROWD * crowd[sections[p]] for p in sent_on}
        best = max(sent_on, key=lambda place: (worth[place], -place))
        sent_on.remove(best)
        chosen.append(best)
        crowd[sections[best]] += 1
        repeats = np.maximum(repeats, vectors @ vectors[best])
    return sorted(chosen)


def _middle(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean direction [D]."""
    mean = vectors.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
