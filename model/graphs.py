"""Decode steps as CUDA graphs: what the host would launch kernel by kernel is recorded once and replayed.

A step's inputs are copied into the tensors that the recording reads. Steps of a number of sequences that was not
recorded are filled up with sequences that nobody waits for; they write into a page of their own.

N sequences, Q new tokens of each, K drafts, D model width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from model import fast_decode, fast_rounds
from model.cache import PAGE, LatentCache
from model.deepseek import DeepseekForCausalLM
from model.kernels import MOST
from model.step import Reading, Step

_MOST_QUERIES = 8
"""New tokens of one sequence up to which they count as a decode step: one, and what was drafted."""

_ALONE = 1
"""Marks the recordings of `draft` among those of as many sequences, tokens and drafts."""


class _Recording:
    """One number of sequences and new tokens: the tensors that the kernels read, and what replays them."""

    def __init__(self, sequences: int, new: int, width: int, spare: int, device: torch.device) -> None:
        self.new, self._spare = new, spare
        count = sequences * new
        # Tokens, positions and slots, and lengths as half as wide numbers: one copy brings them all.
        size = 3 * count + -(-sequences // 2)
        self._inputs = torch.zeros(size, dtype=torch.int64, device=device)
        tokens, positions, slots = self._inputs[: 3 * count].view(3, count)
        self.step = Step(
            tokens=tokens,
            positions=positions,
            slots=slots.fill_(spare * PAGE),
            tables=torch.full((sequences, width), spare, dtype=torch.int32, device=device),
            lengths=self._inputs[3 * count :].view(torch.int32)[:sequences].fill_(new),
            new=(new,) * sequences,
            totals=(),
            pages=(),
            decoding=(),
        )
        pinned = device.type == "cuda"
        self._next = torch.zeros(size, dtype=torch.int64, pin_memory=pinned)
        self._next_inputs = self._next[: 3 * count].numpy()
        self._next_lengths = self._next[3 * count :].view(torch.int32)[:sequences].numpy()
        self._copied = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._pages: list[list[int]] = [[spare] for _ in range(sequences)]
        self.replay: Callable[[], Tensor] = torch.Tensor

    def fill(self, readings: Sequence[Reading], ahead: int = 0) -> None:
        """What the next replay reads, and `ahead` tokens after it; a sequence's table only where it got a page.

        Where a sequence has fewer than Q tokens or too few pages, drafts are lacking and lost: they are written into
        the spare page.
        """
        idle = Reading([0] * self.new, 0, [self._spare])
        readings = [*readings, *[idle] * (len(self._pages) - len(readings))]
        tokens: list[int] = []
        places: list[int] = []
        slots: list[int] = []
        for row, one in enumerate(readings):
            own = range(one.held, one.held + self.new)
            used = list(one.pages[: -(-(own.stop + ahead) // PAGE)])
            used += [self._spare] * (-(-(own.stop + ahead) // PAGE) - len(used))
            tokens += [*one.tokens, *[fast_rounds.NO_DRAFT] * (self.new - len(one.tokens))]
            places += own
            slots += [used[place // PAGE] * PAGE + place % PAGE for place in own]
            if used != self._pages[row]:
                self.step.tables[row, : len(used)] = torch.tensor(used, dtype=torch.int32).to(self.step.tables.device)
                self._pages[row] = used
        if self._copied is not None:
            self._copied.synchronize()  # the last copy may still be on its way
        self._next_inputs[:] = tokens + places + slots
        self._next_lengths[:] = [one.held + self.new for one in readings]
        self._inputs.copy_(self._next, non_blocking=True)
        if self._copied is not None:
            self._copied.record()


class DecodeGraphs:
    """Of one model and cache, whose last page is nobody's."""

    def __init__(self, model: DeepseekForCausalLM, cache: LatentCache, width: int) -> None:
        """`width`: the most pages that a sequence may have."""
        self._model, self._cache = model, cache
        self._width = width + 1  # drafts may reach beyond the last page
        self._spare = cache.storage.shape[1] - 1
        # Places that were never written are read where a draft is lacking, and must hold numbers then.
        cache.storage.zero_()
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._hidden = cache.storage.new_zeros(MOST, model.config.hidden_size, dtype=cache.dtype)
        self._pool: Any = None

    def covers(self, readings: Sequence[Reading]) -> bool:
        """Whether these are a decode step: the same few new tokens of each sequence."""
        new = len(readings[0].tokens)
        few = new <= _MOST_QUERIES and _bucket(len(readings)) * new <= MOST
        return few and all(len(one.tokens) == new for one in readings)

    def run(self, readings: Sequence[Reading]) -> Tensor:
        """Read them into the cache; hidden states [N * Q, D], which the next run overwrites."""
        new = len(readings[0].tokens)
        recording = self._recording(len(readings), new, partial(fast_decode.decode, self._model))
        recording.fill(readings)
        return recording.replay()[: len(readings) * new]

    def advances(self, sequences: int, drafts: int) -> bool:
        """Whether `advance` takes so many sequences and drafts."""
        return drafts < _MOST_QUERIES and _bucket(sequences) * (1 + drafts) <= MOST

    def advance(self, readings: Sequence[Reading], drafts: int, vocabulary: int) -> Tensor:
        """Read the last token of each sequence and at most `drafts` = Q - 1 after it, judge these, and draft as many.

        int64 [N, Q + K] as `fast_rounds.advance` has it, which the next run overwrites.
        """

        def work(step: Step, cache: LatentCache) -> Tensor:
            return fast_rounds.advance(self._model, step, cache, drafts, vocabulary)

        recording = self._recording(len(readings), 1 + drafts, work, drafts, vocabulary)
        recording.fill(readings, max(drafts - 1, 0))
        return recording.replay()[: len(readings)]

    def drafts(self, readings: Sequence[Reading]) -> bool:
        """Whether `draft` takes these."""
        new = max(len(one.tokens) for one in readings)
        return new <= _MOST_QUERIES and _bucket(len(readings)) * new <= MOST

    def draft(self, readings: Sequence[Reading], hidden: Tensor, drafts: int, vocabulary: int) -> Tensor:
        """int64 [N, K]: `drafts` tokens after each of `readings` (see `speculate.draft`); the next run overwrites."""
        new = max(len(one.tokens) for one in readings)

        def work(step: Step, cache: LatentCache) -> Tensor:
            return fast_rounds.draft(self._model, step, self._hidden[: len(step.tokens)], cache, drafts, vocabulary)

        recording = self._recording(len(readings), new, work, drafts, vocabulary, _ALONE)
        recording.fill(readings, drafts - 1)
        rows = [row * new + column for row, one in enumerate(readings) for column in range(len(one.tokens))]
        self._hidden[torch.tensor(rows, device=hidden.device)] = hidden
        return recording.replay()[: len(readings)]

    def logits(self, hidden: Tensor) -> Tensor:
        """[T, D] -> [T, vocabulary]; T is at most MOST."""
        return fast_decode.logits(self._model, hidden)

    def _recording(
        self, sequences: int, new: int, work: Callable[[Step, LatentCache], Tensor], *kind: int
    ) -> _Recording:
        """That of `work`, which `kind` tells from other work on as many tokens."""
        key = (_bucket(sequences), new, *kind)
        recording = self._recordings.get(key)
        if recording is None:
            recording = _Recording(_bucket(sequences), new, self._width, self._spare, self._cache.storage.device)
            recording.replay = self._record(partial(work, recording.step, self._cache))
            self._recordings[key] = recording
        return recording

    def _record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        # The first run compiles the kernels, which cannot be recorded.
        work()
        torch.cuda.synchronize(self._cache.storage.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads (NCCL's watchdog) may call CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            out = work()
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay


def _bucket(sequences: int) -> int:
    """The number of sequences that is recorded for so many: powers of two, and multiples of 16 above."""
    return 1 << (sequences - 1).bit_length() if sequences <= 16 else -(-sequences // 16) * 16
