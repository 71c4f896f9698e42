"""Which experts of a layer are kept on the device, decided from how they are used. Knows nothing about tensors on it.

An expert's value is the number of tokens that chose it, each counting half as much after `HALF_LIFE` tokens more. The
least valuable makes room. That lies between evicting the least recently and the least often used, and hits a little
more often than either (tests/bench/test_spill_hits.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

HALF_LIFE = 16.0
"""Tokens. In that bench up to 1.3 points better than none at all (frequency), 2.2 than almost nothing (recency)."""

LEAST_SLOTS = 2
"""One is read while the other is filled."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Experts that are computed together."""

    places: Mapping[int, int]
    """the slot of each"""
    loads: Sequence[int]
    """those of them that must be copied into their slots before"""


class HotSet:
    """The experts in a layer's slots."""

    def __init__(self, experts: int, slots: int, half_life: float = HALF_LIFE) -> None:
        if slots < LEAST_SLOTS:
            raise ValueError(f"{slots} slots are too few")
        self.places: dict[int, int] = {}
        self.hits = self.misses = 0
        self._slots, self._half_life = slots, half_life
        self._values = np.zeros(experts)

    def plan(self, counts: Sequence[int], tokens: int) -> list[Wave]:
        """How a pass over `tokens` tokens, of which `counts` [E] chose each expert, computes the experts it needs.

        Experts at hand come first. What a wave copies goes into slots that the wave before does not use, so that it
        can be copied while that one is computed; the most valuable are copied last, and stay.
        """
        self._values *= 0.5 ** (tokens / self._half_life)
        self._values += counts
        needed = sorted((expert for expert, count in enumerate(counts) if count), key=self._values.__getitem__)
        held = [expert for expert in needed if expert in self.places]
        missing = [expert for expert in needed if expert not in self.places]
        self.hits += len(held)
        self.misses += len(missing)
        group = max(self._slots // 4, 1)
        # Where those at hand leave the first copies no room, the less valuable of them are done before.
        early = max(min(group, len(missing)) - (self._slots - len(held)), 0)
        waves = [self._held(part) for part in (held[:early], held[early:]) if part]
        for start in range(0, len(missing), group):
            waves.append(self._load(missing[start : start + group], waves[-1].places if waves else {}))
        return waves

    def _held(self, experts: Sequence[int]) -> Wave:
        return Wave({expert: self.places[expert] for expert in experts}, ())

    def _load(self, experts: Sequence[int], busy: Mapping[int, int]) -> Wave:
        """Give `experts` slots, but none of those that are `busy`."""
        room = self._slots - len(self.places)
        idle = sorted(self.places.keys() - busy.keys(), key=self._values.__getitem__)
        for victim in idle[: max(len(experts) - room, 0)]:
            del self.places[victim]
        free = sorted(set(range(self._slots)) - set(self.places.values()))
        self.places.update(zip(experts, free, strict=False))
        return Wave({expert: self.places[expert] for expert in experts}, tuple(experts))
