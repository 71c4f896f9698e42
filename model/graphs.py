"""Decode steps as CUDA graphs: what the host would launch kernel by kernel is recorded once and replayed.

A step's inputs are copied into the tensors that the recording reads. Steps of a number of sequences that was not
recorded are filled up with sequences that nobody waits for; they write into a page of their own.

N sequences, Q new tokens of each, D model width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from model import fast_decode
from model.cache import PAGE, LatentCache
from model.deepseek import DeepseekForCausalLM
from model.kernels import MOST
from model.step import Reading, Step

_MOST_QUERIES = 8
"""New tokens of one sequence up to which they count as a decode step: one, and what was drafted."""


class _Recording:
    """One number of sequences and new tokens: the tensors that the kernels read, and what replays them."""

    def __init__(self, sequences: int, new: int, width: int, spare: int, device: torch.device) -> None:
        self.new, self._spare = new, spare
        count = sequences * new
        self._inputs = torch.zeros(3 * count, dtype=torch.int64, device=device)
        tokens, positions, slots = self._inputs.view(3, count)
        self.step = Step(
            tokens=tokens,
            positions=positions,
            slots=slots.fill_(spare * PAGE),
            tables=torch.full((sequences, width), spare, dtype=torch.int32, device=device),
            lengths=torch.full((sequences,), new, dtype=torch.int32, device=device),
            new=(new,) * sequences,
            totals=(),
            pages=(),
            decoding=(),
        )
        pinned = device.type == "cuda"
        self._next_inputs = torch.empty(3 * count, dtype=torch.int64, pin_memory=pinned)
        self._next_lengths = torch.empty(sequences, dtype=torch.int32, pin_memory=pinned)
        self._copied = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._pages: list[list[int]] = [[spare] for _ in range(sequences)]
        self.replay: Callable[[], Tensor] = torch.Tensor

    def fill(self, readings: Sequence[Reading]) -> None:
        """What the next replay reads; a sequence's table only where it got a page."""
        idle = Reading([0] * self.new, 0, [self._spare])
        readings = [*readings, *[idle] * (len(self._pages) - len(readings))]
        held = [(one, range(one.held, one.held + self.new)) for one in readings]
        tokens = [token for one in readings for token in one.tokens]
        places = [place for _, own in held for place in own]
        slots = [one.pages[place // PAGE] * PAGE + place % PAGE for one, own in held for place in own]
        if self._copied is not None:
            self._copied.synchronize()  # the last copy may still be on its way
        self._next_inputs.copy_(torch.tensor(tokens + places + slots))
        self._next_lengths.copy_(torch.tensor([own.stop for _, own in held]))
        self._inputs.copy_(self._next_inputs, non_blocking=True)
        self.step.lengths.copy_(self._next_lengths, non_blocking=True)
        if self._copied is not None:
            self._copied.record()
        for row, (one, own) in enumerate(held):
            used = list(one.pages[: -(-own.stop // PAGE)])
            if used != self._pages[row]:
                self.step.tables[row, : len(used)] = torch.tensor(used, dtype=torch.int32).to(self.step.tables.device)
                self._pages[row] = used


class DecodeGraphs:
    """Of one model and cache, whose last page is nobody's."""

    def __init__(self, model: DeepseekForCausalLM, cache: LatentCache, width: int) -> None:
        """`width`: the most pages that a sequence may have."""
        self._model, self._cache, self._width = model, cache, width
        self._spare = cache.storage.shape[1] - 1
        self._recordings: dict[tuple[int, int], _Recording] = {}
        self._pool: Any = None

    def covers(self, readings: Sequence[Reading]) -> bool:
        """Whether these are a decode step: the same few new tokens of each sequence."""
        new = len(readings[0].tokens)
        few = new <= _MOST_QUERIES and _bucket(len(readings)) * new <= MOST
        return few and all(len(one.tokens) == new for one in readings)

    def run(self, readings: Sequence[Reading]) -> Tensor:
        """Read them into the cache; hidden states [N * Q, D], which the next run overwrites."""
        new = len(readings[0].tokens)
        size = _bucket(len(readings))
        recording = self._recordings.get((size, new))
        if recording is None:
            recording = _Recording(size, new, self._width, self._spare, self._cache.storage.device)
            recording.replay = self._record(recording.step)
            self._recordings[size, new] = recording
        recording.fill(readings)
        return recording.replay()[: len(readings) * new]

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, D] -> [T, vocabulary]; T is at most MOST."""
        return fast_decode.logits(self._model, hidden)

    def _record(self, step: Step) -> Callable[[], Tensor]:
        # The first run compiles the kernels, which cannot be recorded.
        fast_decode.decode(self._model, step, self._cache)
        torch.cuda.synchronize(self._cache.storage.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads (NCCL's watchdog) may call CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = fast_decode.decode(self._model, step, self._cache)
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return hidden

        return replay


def _bucket(sequences: int) -> int:
    """The number of sequences that is recorded for so many: powers of two, and multiples of 16 above."""
    return 1 << (sequences - 1).bit_length() if sequences <= 16 else -(-sequences // 16) * 16
