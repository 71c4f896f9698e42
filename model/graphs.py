"""Decode steps as CUDA graphs: what the host would launch kernel by kernel is recorded once and replayed.

A step's inputs are copied into the tensors that the recording reads. Steps of a number of sequences that was not
recorded are filled up with sequences that nobody waits for; they write into a page of their own.

N sequences, Q new tokens of each, D model width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    step: Step
    hidden: Tensor


class DecodeGraphs:
    """Of one model and cache, whose last page is nobody's."""

    def __init__(self, model: DeepseekForCausalLM, cache: LatentCache, width: int) -> None:
        """`width`: pages of the longest sequence."""
        self._model, self._cache, self._width = model, cache, width
        self._spare = cache.storage.shape[1] - 1
        self._recordings: dict[tuple[int, int], _Recording] = {}
        self._pool: Any = None

    def covers(self, readings: Sequence[Reading]) -> bool:
        """Whether these are a decode step: the same few new tokens of each sequence."""
        new = len(readings[0].tokens)
        return new <= _MOST_QUERIES and len(readings) * new <= MOST and all(len(one.tokens) == new for one in readings)

    def run(self, readings: Sequence[Reading]) -> Tensor:
        """Read them into the cache; hidden states [N * Q, D], which the next run overwrites."""
        new = len(readings[0].tokens)
        size = _bucket(len(readings))
        recording = self._recordings.get((size, new))
        if recording is None:
            recording = self._recordings[size, new] = self._record(size, new)
        spare = Reading([0] * new, 0, [self._spare])
        self._fill(recording.step, [*readings, *[spare] * (size - len(readings))])
        recording.graph.replay()
        return recording.hidden[: len(readings) * new]

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, D] -> [T, vocabulary]; T is at most MOST."""
        return fast_decode.logits(self._model, hidden)

    def _fill(self, step: Step, readings: Sequence[Reading]) -> None:
        """One copy for all small tensors, one for the tables of pages."""
        places = [place for one in readings for place in range(one.held, one.held + len(one.tokens))]
        slots = [
            one.pages[place // PAGE] * PAGE + place % PAGE
            for one in readings
            for place in range(one.held, one.held + len(one.tokens))
        ]
        tokens = [token for one in readings for token in one.tokens]
        packed = torch.tensor([tokens, places, slots], dtype=torch.int64).pin_memory()
        lengths = torch.tensor([one.held + len(one.tokens) for one in readings], dtype=torch.int32).pin_memory()
        longest = max(-(-(one.held + len(one.tokens)) // PAGE) for one in readings)
        tables = torch.zeros(len(readings), longest, dtype=torch.int32)
        for row, one in enumerate(readings):
            used = list(one.pages[: -(-(one.held + len(one.tokens)) // PAGE)])
            tables[row, : len(used)] = torch.tensor(used, dtype=torch.int32)
        for target, source in zip((step.tokens, step.positions, step.slots), packed, strict=True):
            target.copy_(source, non_blocking=True)
        step.lengths.copy_(lengths, non_blocking=True)
        step.tables[:, :longest].copy_(tables.pin_memory(), non_blocking=True)

    def _record(self, sequences: int, new: int) -> _Recording:
        device = self._cache.storage.device
        count = sequences * new
        step = Step(
            tokens=torch.zeros(count, dtype=torch.int64, device=device),
            positions=torch.zeros(count, dtype=torch.int64, device=device),
            slots=torch.full((count,), self._spare * PAGE, dtype=torch.int64, device=device),
            tables=torch.full((sequences, self._width), self._spare, dtype=torch.int32, device=device),
            lengths=torch.full((sequences,), new, dtype=torch.int32, device=device),
            new=(new,) * sequences,
            totals=(),
            pages=(),
        )
        # The first run compiles the kernels, which cannot be recorded.
        fast_decode.decode(self._model, step, self._cache)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        # Other threads (NCCL's watchdog) may call CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = fast_decode.decode(self._model, step, self._cache)
        self._pool = graph.pool()
        return _Recording(graph, step, hidden)


def _bucket(sequences: int) -> int:
    """The number of sequences that is recorded for so many: powers of two, and multiples of 16 above."""
    return 1 << (sequences - 1).bit_length() if sequences <= 16 else -(-sequences // 16) * 16
