"""Endless streams of micro-batches whose position is one integer, so that a run resumes where it stopped.

B rows, S tokens of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LENGTHS = (256, 512, 1024, 2048)
"""Widths to which question rows are filled up."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs and, one token later, targets: int64 [B, S] each; `weights` float32 [B, S] of the targets' losses."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]


class Stream(Protocol):
    def batch(self, position: int) -> Batch:
        """The micro-batch at `position`, a pure function of it and of the seed."""
        ...


class TextStream:
    """Windows of `length` tokens from the packed parts, each epoch shuffled and cut at another offset."""

    def __init__(self, parts: Sequence[NDArray[np.uint16]], length: int, tokens: int, seed: int) -> None:
        self.parts, self.length, self.seed = parts, length, seed
        self.rows = max(tokens // length, 1)
        windows = [(len(part) - length - 1) // length for part in parts]
        self.ends = np.cumsum(windows)
        self.per_epoch = int(self.ends[-1]) // self.rows
        if not self.per_epoch:
            raise ValueError(f"the corpus holds fewer than {self.rows} windows of {length} tokens")
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def window(self, number: int, offset: int) -> NDArray[np.int64]:
        part = int(np.searchsorted(self.ends, number, side="right"))
        start = (number - (int(self.ends[part - 1]) if part else 0)) * self.length + offset
        return self.parts[part][start : start + self.length + 1].astype(np.int64)

    def batch(self, position: int) -> Batch:
        epoch, step = divmod(position, self.per_epoch)
        if self._order[0] != epoch:
            random = np.random.default_rng([self.seed, epoch])
            self._order = (epoch, random.permutation(int(self.ends[-1])))
        offset = int(np.random.default_rng([self.seed, epoch, 1]).integers(self.length))
        numbers = self._order[1][step * self.rows : (step + 1) * self.rows]
        windows = np.stack([self.window(int(number), offset) for number in numbers])
        return Batch(windows[:, :-1], windows[:, 1:], np.ones((self.rows, self.length), np.float32))


class RowStream:
    """Question rows of similar length together, each row filled up with running text after its end.

    Only the answers count, with weight 1, and the filling text with `filler_weight`, so that the model does not
    unlearn the language.
    """

    def __init__(
        self,
        parts: Sequence[tuple[NDArray[np.uint16], NDArray[np.int64]]],
        text: TextStream,
        tokens: int,
        seed: int,
        filler_weight: float = 0.03,
    ) -> None:
        self.parts, self.text, self.tokens, self.seed, self.filler_weight = parts, text, tokens, seed, filler_weight
        where = np.concatenate([np.full(len(index), number) for number, (_, index) in enumerate(parts)])
        spans = np.concatenate([index for _, index in parts])
        lengths = spans[:, 2] - spans[:, 0] - 1  # targets are one token later
        bucket = np.searchsorted(LENGTHS, lengths)
        self.buckets = []
        for number, length in enumerate(LENGTHS):
            chosen = np.flatnonzero(bucket == number)
            if len(chosen) >= self._rows(length):
                self.buckets.append((length, where[chosen], spans[chosen]))
        if not self.buckets:
            raise ValueError("too few question rows for one micro-batch")
        self.per_epoch = sum(len(spans) // self._rows(length) for length, _, spans in self.buckets)
        self._plan: tuple[int, list[tuple[int, NDArray[np.int64]]]] = (-1, [])

    def _rows(self, length: int) -> int:
        return max(self.tokens // length, 1)

    def _epoch(self, epoch: int) -> list[tuple[int, NDArray[np.int64]]]:
        random = np.random.default_rng([self.seed, epoch])
        plan = []
        for number, (length, _, spans) in enumerate(self.buckets):
            rows, order = self._rows(length), random.permutation(len(spans))
            plan += [(number, order[first : first + rows]) for first in range(0, len(order) - rows + 1, rows)]
        random.shuffle(plan)
        return plan

    def batch(self, position: int) -> Batch:
        epoch, step = divmod(position, self.per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._epoch(epoch))
        number, chosen = self._plan[1][step]
        length, where, spans = self.buckets[number]
        windows = np.empty((len(chosen), length + 1), np.int64)
        weights = np.full((len(chosen), length), self.filler_weight, np.float32)
        fillers = np.random.default_rng([self.seed, position, 2]).integers(int(self.text.ends[-1]), size=len(chosen))
        for row, one in enumerate(chosen):
            start, answer, end = (int(value) for value in spans[one])
            size = end - start
            windows[row, :size] = self.parts[int(where[one])][0][start:end]
            weights[row, : answer - start - 1] = 0.0
            weights[row, answer - start - 1 : size - 1] = 1.0
            filler = self.text.window(int(fillers[row]), 0)
            rest = length + 1 - size
            windows[row, size:] = np.resize(filler, rest)
        return Batch(windows[:, :-1], windows[:, 1:], weights)


ROW_WEIGHT = 10.0
"""Weight of question rows amid text: their answers are a few tokens in hundreds, and would count for nothing."""


class Mixture:
    """Micro-batches of one stream with those of another among them, whose `share` is spread evenly."""

    def __init__(self, main: Stream, added: Stream, share: float, weight: float = 1.0) -> None:
        self.main, self.added, self.share, self.weight = main, added, share, np.float32(weight)

    def batch(self, position: int) -> Batch:
        before, after = int(position * self.share), int((position + 1) * self.share)
        if after == before:
            return self.main.batch(position - before)
        added = self.added.batch(before)
        return Batch(added.inputs, added.targets, added.weights * self.weight)
