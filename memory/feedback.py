"""What a user's verdict on a turn means for the memories in it. Pure functions."""

from collections.abc import Mapping, Sequence

from memory.slots import changes, find_slot
from memory.types import Memory

ABOUT = 0.5
"""Cosine from which a correction is about a memory, where their slots do not tell."""


def corrected(cited: Sequence[Memory], correction: str, cosines: Mapping[int, float]) -> list[int]:
    """Which of the memories that an answer cited `correction` replaces.

    One of the same slot with another value; else those it resembles; instructions only by their slot, for a corrected
    answer does not lift a standing order.
    """
    slot = find_slot(correction)
    by_slot = [m.id for m in cited if slot and (other := find_slot(m.text)) and changes(slot, other)]
    if by_slot:
        return by_slot
    return [m.id for m in cited if m.kind != "instruction" and cosines.get(m.id, 0.0) >= ABOUT]
