"""Which FAISS index suits how many rows, and how it is searched. Pure policy: builds and reads nothing."""

import math
from dataclasses import dataclass

EXACT_ROWS = 50_000
"""Up to here every row is compared with the query: 77 MB at 384 dims, under 10 ms."""

PART_ROWS = 50_000
"""Rows that a build adds between two savings; what a kill costs it."""

TRAINED_FOR = 4
"""An index is added to until it has this many times the rows that its lists were trained for."""

PROBES = 10.0
"""Lists looked into are this many times the root of their number: questions lie farther from texts than texts do.

Recall at ten of real questions among 100,000: .954 with 4, .980 with 8, .987 with 12, for 0.7, 0.9 and 1.2 ms.
"""

MOST_PROBES = 640
"""More are not needed, however many lists there are: 600, 450 and 300 of 8,192 lists, of ten million rows, find .998,
.991 and .987 of what 905 find, in 31, 23 and 16 ms in place of 44."""

_SAMPLES_PER_LIST = 32
"""Rows that k-means sees for each list; FAISS warns below 39, but recall does not tell them apart."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to index. `factory` is FAISS's description."""

    factory: str
    lists: int
    """Inverted lists; 0 compares with every row."""

    @property
    def exact(self) -> bool:
        return self.lists == 0

    @property
    def samples(self) -> int:
        """Rows to train on."""
        return self.lists * _SAMPLES_PER_LIST

    def probes(self, share: float) -> int:
        """Lists to look into where only `share` of the rows may be found: the fewer may, the farther they lie."""
        whole = min(PROBES * math.sqrt(self.lists), MOST_PROBES)
        return min(self.lists, math.ceil(whole / max(share, 1e-9)))


def kind_for(rows: int) -> Kind:
    """Return the kind for `rows`: exact, then inverted lists of one bit a dimension (RaBitQ, arXiv 2405.12497).

    Scores of the second are estimates: the best few hundred are judged again by their stored vectors. Lists are about
    four times the root of the rows, as FAISS advises, and a power of two, so that growth keeps the kind for a while.
    """
    if rows <= EXACT_ROWS:
        return Kind("IDMap,Flat", 0)
    lists = 2 ** round(math.log2(4 * math.sqrt(rows)))
    return Kind(f"IVF{lists},RaBitQ", lists)
