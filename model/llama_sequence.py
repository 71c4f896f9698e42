"""The one sequence that a GGUF model holds: read step by step, rewound to what the next prompt shares, drawn from.

Knows nothing about text, chat or requests.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.beginnings import common
from model.llama_native import NativeModel, Sampler
from model.llama_shelves import LlamaShelves
from model.llama_stash import WORTH, Stash
from model.lookup import Lookup


class LlamaSequence:
    """`tokens` are those that the cache holds; `last` the logits [1, vocabulary] after the last token read."""

    def __init__(self, native: NativeModel, step: int, shelves: LlamaShelves | None) -> None:
        """`step`: tokens of a prompt that are read at once."""
        self.tokens: list[int] = []
        self.last: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.drafted = 0
        """Tokens drafted, and `accepted` those of them that came, since the last `draw` began."""
        self.accepted = 0
        self._native, self._step, self._shelves = native, step, shelves
        self._stash = Stash()
        self._unread = False
        """Whether the cache holds drafts after `tokens`."""

    def keep(self, tokens: Sequence[int]) -> int:
        """Keep what the cache, the stash or a shelf shares with `tokens`, all but the last; the number kept.

        What the cache would lose by that goes to the stash, if it is much.
        """
        self.forget_drafts()
        shared = common(self.tokens, tokens)
        if len(self.tokens) - shared >= WORTH:
            self._stash.put(self.tokens, self._native)
        restored = self._stash.take(tokens, shared, self._native)
        if restored is None and self._shelves is not None:
            restored = self._shelves.restore(tokens, shared, self._native)
        if restored is not None:
            self.tokens = restored
        kept = self._native.rewind(common(self.tokens, tokens[:-1]))
        del self.tokens[kept:]
        return kept

    def read(self, tokens: Sequence[int]) -> Iterator[int]:
        """Read the rest of `tokens`, yielding how many are read after each step."""
        while (read := len(self.tokens)) < len(tokens):
            some = tokens[read : read + self._step]
            self.last = self._native.decode(some, read)
            self.tokens.extend(some)
            yield len(self.tokens)

    def read_all(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits [1, vocabulary] after `tokens`."""
        self.keep(tokens)
        for _ in self.read(tokens):
            pass
        return self.last

    def read_every(self, tokens: Sequence[int], start: int) -> NDArray[np.float32]:
        """Logits [T, vocabulary] of `tokens` at `start`, which do not count as read."""
        size = self._native.batch
        rows = [
            self._native.decode(tokens[at : at + size], start + at, every=True) for at in range(0, len(tokens), size)
        ]
        return np.concatenate(rows) if rows else np.empty((0, self._native.vocabulary), np.float32)

    def draw(self, sampler: Sampler, most: int, drafts: int) -> Iterator[int]:
        """At most `most` tokens as they are drawn; at each, `last` are the logits that it was drawn from.

        Before a pass `drafts` tokens are drafted. Where one foretold what is drawn, its logits are there already.
        """
        self.drafted = self.accepted = 0
        lookup = Lookup(self.tokens) if drafts else None
        foretold: list[int] = []
        rows, row = self.last, -1
        for made in range(1, most + 1):
            token = sampler.sample(row)
            yield token
            if made == most:
                return
            if lookup is not None:
                lookup.add(token)
            if foretold and foretold.pop(0) == token:
                row, self.accepted = row + 1, self.accepted + 1
            else:
                self.forget_drafts()
                room = min(drafts, most - made - 1, self._native.context_length - len(self.tokens) - 1)
                foretold = lookup.draft(room) if lookup is not None and room > 0 else []
                self.drafted += len(foretold)
                rows = self._native.decode([token, *foretold], len(self.tokens), every=bool(foretold))
                self._unread, row = bool(foretold), 0 if foretold else -1
            self.tokens.append(token)
            self.last = rows[row : row + 1] if row >= 0 else rows

    def forget(self) -> None:
        """Nothing that was read stays in memory, for what it says is to be forgotten."""
        self._stash.clear()
        self.tokens = self.tokens[: self._native.rewind(0)]
        self._unread = False

    def forget_drafts(self) -> None:
        """Take from the cache what was drafted and did not come."""
        if self._unread:
            self._native.rewind(len(self.tokens))
            self._unread = False
