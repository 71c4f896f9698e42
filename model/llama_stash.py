"""States that were read, kept in host memory while another prompt has the cache: chats that take turns, and what is
asked of the model between two turns, do not cost each other their beginnings.

Knows nothing about text; the least recently used state goes first.
"""

from collections.abc import Sequence

from model.beginnings import common
from model.llama_native import NativeModel

BUDGET = 256 << 20
"""Bytes of all states together."""
WORTH = 256
"""Tokens of reading that a copy must save."""


class Stash:
    """States by their tokens, the one that was used last at the end."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._states: list[tuple[list[int], bytes]] = []

    def put(self, tokens: Sequence[int], native: NativeModel) -> None:
        """Keep what the cache holds of `tokens`, if there is room; what it continues goes."""
        size = native.state_bytes()
        if size > self._budget:
            return
        self._states = [one for one in self._states if one[0] != list(tokens[: len(one[0])])]
        while self._states and sum(len(state) for _, state in self._states) + size > self._budget:
            self._states.pop(0)
        self._states.append((list(tokens), native.copy_state()))

    def take(self, tokens: Sequence[int], known: int, native: NativeModel) -> list[int] | None:
        """Put back the state that shares most with `tokens`, if that is worth it beyond the first `known`.

        The tokens then in the cache, or None where nothing was put back.
        """
        best = max(self._states, key=lambda one: common(one[0], tokens), default=None)
        if best is None or common(best[0], tokens) - known < WORTH:
            return None
        self._states.remove(best)
        return best[0] if native.restore_state(best[1]) else []

    def clear(self) -> None:
        self._states.clear()
