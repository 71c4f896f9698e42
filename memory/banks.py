"""The banks of the memory and how much of each a recall may bring back. Pure functions.

From fine to coarse: single statements, episodes in the user's words, summaries of whole sessions. The words of every
turn stand below them (`MemoryStore.search_turns`), the profile above (`memory.profile`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from memory.types import Memory, Recalled

Bank = Literal["statement", "episode", "session"]


def bank_of(memory: Memory) -> Bank:
    """Where a memory belongs: a summary covers a session, whatever its kind."""
    if memory.source.how == "summary":
        return "session"
    return "episode" if memory.kind == "episode" else "statement"


def within(found: Sequence[Recalled], budget: Mapping[Bank, int]) -> list[Recalled]:
    """The best of each bank up to its budget, in the order given; a bank without a budget gives nothing."""
    taken: Counter[Bank] = Counter()
    kept = []
    for one in found:
        bank = bank_of(one.memory)
        taken[bank] += 1
        if taken[bank] <= budget.get(bank, 0):
            kept.append(one)
    return kept
