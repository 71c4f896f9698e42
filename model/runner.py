"""From a plan to hidden states: the one place where sequences become tensors and the model runs.

T tokens of a call, N sequences, D hidden width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.cache import LatentCache
from model.capacity import Capacity, choose_capacity
from model.deepseek import DeepseekForCausalLM
from model.errors import NotANumber
from model.kernels import MOST, supports
from model.page_selection import PageSelection
from model.prefix import PrefixFile, read_prefix
from model.scheduler import Plan
from model.settings import ModelSettings
from model.speculate import draft, follow
from model.spill import spilled_layers
from model.split_cache import SplitCache
from model.step import Reading, make_branches, make_step

if TYPE_CHECKING:
    from model.graphs import DecodeGraphs


class Runner:
    """A model with its cache on one device; of a model on several, the part of one rank (see spread.py).

    Arguments are values of the host and hidden states, so that a call can be repeated by other processes.
    """

    def __init__(
        self,
        model: DeepseekForCausalLM,
        dtype: torch.dtype,
        device: torch.device,
        decodes_alone: bool = False,
        attended_pages: int | None = None,
    ) -> None:
        """`decodes_alone`: one thread computes a single token.

        A token of a small model is too little work to share: on a busy machine, threads that wait for one another cost
        up to 20 times what they save. `attended_pages`: of each sequence, those that a token of its answer attends to
        (see page_selection.py); None is all of them.
        """
        self.model, self.dtype, self.device = model, dtype, device
        self._decodes_alone, self._attended_pages = decodes_alone, attended_pages
        self.cache = LatentCache(model.config, 0, dtype, device)
        self._graphs: DecodeGraphs | None = None

    def capacity(self, settings: ModelSettings) -> Capacity:
        """What the cache can hold beside the model.

        :raises NotEnoughMemory: less than the window that is asked for.
        """
        return choose_capacity(self.model.config, settings, self.dtype, self.device, 0, self.model.shard.size)

    def open_cache(self, pages: int, fp8: bool, split: bool = False) -> None:
        """Of a model on several devices, `split` leaves to each its share of every sequence (see split_cache.py)."""
        # A recorded step cannot ask the host which experts are missing, nor which pages matter.
        asks = self._attended_pages is not None or bool(spilled_layers(self.model))
        recorded = not asks and supports(self.model.config, self.device, self.dtype, fp8)
        spare = int(split or recorded)  # the last page is then nobody's
        form = partial(SplitCache, self.model.shard) if split else LatentCache
        self._graphs = None
        del self.cache  # there may be no room for both
        self.cache = form(self.model.config, pages + spare, self.dtype, self.device, fp8)
        if self._attended_pages is not None:
            self.cache.selection = PageSelection(
                self.model.config, pages, self.dtype, self.device, self._attended_pages
            )
        if recorded:
            from model.graphs import DecodeGraphs  # Triton takes 0.3 s, and is not everywhere

            self._graphs = DecodeGraphs(self.model, self.cache, pages)

    def run(self, plan: Plan) -> Tensor:
        """Read what is planned; the hidden states [T, D], one sequence after the other."""
        alone = self._decodes_alone and len(plan.reads) == 1 and plan.reads[0][0].pending == 1
        return self.read(_copies(plan), _readings(plan), alone)

    def advance(self, plan: Plan, drafts: int, vocabulary: int) -> list[list[int]]:
        """Read what is planned, one token and the drafts of each sequence, judge these and draft anew: on the device.

        Of each sequence, the likeliest token after each that was read, Q = 1 + `drafts` of them whatever was planned,
        then `drafts` after those that stay (see fast_rounds.py). Only where `advances` says that this can be done.

        :raises NotANumber: the model's output is not one.
        """
        found = self.advance_all(_copies(plan), _readings(plan), drafts, vocabulary)
        if any(-1 in own[:count] for own, (_, count) in zip(found, plan.reads, strict=True)):
            raise NotANumber("The model's output is not a number (NaN or infinity).", NotANumber.usual_mend)
        return found

    def advances(self, sequences: int, drafts: int) -> bool:
        """Whether `advance` takes so many sequences, with up to `drafts` drafts each."""
        return self._graphs is not None and self._graphs.advances(sequences, drafts)

    @torch.inference_mode()
    def read(self, copies: Sequence[tuple[int, int]], readings: Sequence[Reading], alone: bool) -> Tensor:
        """Copy pages (source, target), then read; `alone` on one thread. Hidden states [T, D]."""
        self._copy(copies)
        if self._graphs is not None and self._graphs.covers(readings):
            return self._graphs.run(readings).clone()
        with _threads(1 if alone else None):
            return self.model.step(make_step(readings, self.device), self.cache)

    @torch.inference_mode()
    def advance_all(
        self, copies: Sequence[tuple[int, int]], readings: Sequence[Reading], drafts: int, vocabulary: int
    ) -> list[list[int]]:
        """Copy pages (source, target), then `advance`; -1 is a token whose logits are not numbers."""
        assert self._graphs is not None  # see `advances`
        self._copy(copies)
        found: list[list[int]] = self._graphs.advance(readings, drafts, vocabulary).tolist()
        return found

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[T, D] -> [T, V]"""
        if self._graphs is not None and len(hidden) <= MOST:
            return self._graphs.logits(hidden)
        return self.model.logits(hidden)

    @torch.inference_mode()
    def branch(self, continuations: Sequence[Sequence[int]], history: int, pages: Sequence[int]) -> Tensor:
        """Logits [T, V] after each token of `continuations` of the first `history` tokens that `pages` hold."""
        return self.model.logits(
            self.model.branch(make_branches(continuations, history, pages, self.device), self.cache)
        )

    def follow(self, readings: Sequence[Reading], hidden: Tensor) -> None:
        """Let the first predictor read what the model has read (see speculate.py)."""
        follow(self.model, self.cache, readings, hidden)

    @torch.inference_mode()
    def draft(self, readings: Sequence[Reading], hidden: Tensor, count: int, vocabulary: int) -> list[list[int]]:
        """`count` likely tokens after each of `readings` (see speculate.py)."""
        if self._graphs is not None and self._graphs.drafts(readings):
            found: list[list[int]] = self._graphs.draft(readings, hidden, count, vocabulary).tolist()
            return found
        return draft(self.model, self.cache, readings, hidden, count, vocabulary)

    def restore(self, prefix: PrefixFile, pages: Sequence[int], length: int) -> None:
        """Put the first `length` tokens of a file into `pages`.

        :raises BadCheckpoint: a part of them is damaged.
        """
        read_prefix(prefix, self.cache, pages, length)

    def stored(self, layer: int, pages: Sequence[int], length: int) -> Tensor:
        """The first `length` tokens of `pages` as the cache stores them [length, C or row]."""
        return self.cache.stored(layer, pages, length)

    def fill(self, layer: int, pages: Sequence[int], rows: Tensor) -> None:
        """The inverse of `stored`."""
        self.cache.fill(layer, pages, rows)

    def guard(self) -> AbstractContextManager[None]:
        """Around what waits for results."""
        return nullcontext()

    def close(self) -> None:
        """End what runs elsewhere; model and cache go with this object."""

    def _copy(self, pages: Sequence[tuple[int, int]]) -> None:
        for source, target in pages:
            self.cache.storage[:, target] = self.cache.storage[:, source]


def _copies(plan: Plan) -> list[tuple[int, int]]:
    return [(copy.source, copy.target) for copy in plan.copies]


def _readings(plan: Plan) -> list[Reading]:
    return [
        Reading(
            [*sequence.tokens[sequence.held : sequence.held + count], *sequence.drafts][:count],
            sequence.held,
            sequence.pages,
            sequence.decoding,
        )
        for sequence, count in plan.reads
    ]


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with `number` CPU threads, and with as many as before afterwards."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
