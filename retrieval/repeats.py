"""Passages that say the same: the best stays, and tells where else it stands. Pure functions."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.query import plain

_ALIKE = 0.97
"""Cosine from which two passages are looked at."""
_SHARED = 0.9
"""Share of their words, of all that either has, from which they are one."""
_NUMBER = re.compile(r"\d+")


def repeats(texts: Sequence[str], vectors: NDArray[np.float32]) -> list[int]:
    """For each text the number of the first one that it repeats, itself if none; `vectors` are theirs, [N, D].

    Texts with other numbers are never the same: that is what two versions of a form or a price list differ in.
    """
    first = list(range(len(texts)))
    cosines = vectors @ vectors.T  # [N, N]
    for later, earlier in np.argwhere(np.tril(cosines >= _ALIKE, k=-1)):
        if first[later] == later and first[earlier] == earlier and same(texts[earlier], texts[later]):
            first[later] = int(earlier)
    return first


def same(a: str, b: str) -> bool:
    """Whether two texts have the same numbers, in order, and nearly the same words."""
    one, other = plain(a), plain(b)
    if one == other:
        return True
    if _NUMBER.findall(one) != _NUMBER.findall(other):
        return False
    words, others = set(one.split()), set(other.split())
    return len(words & others) >= _SHARED * len(words | others)
