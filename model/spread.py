"""A model on several devices: a runner whose every call is made by all of their processes.

Each rank holds its part of the weights (see shard.py) and either the whole latent cache, since all heads read the same
latents, or its share of every sequence (see split_cache.py, which also counts what each layout costs).
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.capacity import Capacity
from model.checkpoint import load_model
from model.files import Progress
from model.layout import Layout
from model.moe import skip_experts
from model.parallel import Ranks
from model.runner import Runner
from model.settings import ModelSettings
from model.shard import WHOLE, Shard
from model.step import Reading


class SpreadCache(LatentCache):
    """The caches of all ranks as one, for those who save and restore sequences."""

    def __init__(self, ranks: Ranks[Runner]) -> None:
        own = ranks.part.cache
        super().__init__(ranks.part.model.config, 0, own.dtype, ranks.part.device, own.fp8)
        self.storage = own.storage
        self._own, self._ranks = own, ranks
        self._calling = Lock()  # a file is read by several threads

    def stored(self, layer: int, pages: Sequence[int], length: int) -> Tensor:
        if self._own.shard.size == 1:
            return self._own.stored(layer, pages, length)
        rows: Tensor = self._ranks.call("stored", layer, pages[: -(-length // PAGE)], length)
        return rows

    def fill(self, layer: int, pages: Sequence[int], rows: Tensor) -> None:
        with self._calling:
            self._ranks.call("fill", layer, pages[: -(-len(rows) // PAGE)], rows)


class SpreadRunner(Runner):
    """The runners of all ranks as one."""

    def __init__(self, ranks: Ranks[Runner]) -> None:
        first = ranks.part
        super().__init__(first.model, first.dtype, first.device)
        self._ranks = ranks

    def capacity(self, settings: ModelSettings) -> Capacity:
        found: list[Capacity] = self._ranks.ask("capacity", settings)
        return min(found, key=lambda one: one.pages)

    def open_cache(self, pages: int, fp8: bool, split: bool = False) -> None:
        self._ranks.call("open_cache", pages, fp8, split)
        self.cache = SpreadCache(self._ranks)

    def read(self, copies: Sequence[tuple[int, int]], readings: Sequence[Reading], alone: bool) -> Tensor:
        hidden: Tensor = self._ranks.call("read", copies, readings, alone)
        return hidden

    def advances(self, sequences: int, drafts: int) -> bool:
        self._ranks.check()
        return self._ranks.part.advances(sequences, drafts)

    def advance_all(
        self, copies: Sequence[tuple[int, int]], readings: Sequence[Reading], drafts: int, vocabulary: int
    ) -> list[list[int]]:
        found: list[list[int]] = self._ranks.call("advance_all", copies, readings, drafts, vocabulary)
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._ranks.call("logits", hidden)
        return logits

    def branch(self, continuations: Sequence[Sequence[int]], history: int, pages: Sequence[int]) -> Tensor:
        logits: Tensor = self._ranks.call("branch", continuations, history, pages)
        return logits

    def follow(self, readings: Sequence[Reading], hidden: Tensor) -> None:
        self._ranks.call("follow", readings, hidden)

    def draft(self, readings: Sequence[Reading], hidden: Tensor, count: int, vocabulary: int) -> list[list[int]]:
        drafts: list[list[int]] = self._ranks.call("draft", readings, hidden, count, vocabulary)
        return drafts

    def guard(self) -> AbstractContextManager[None]:
        return self._ranks.guard()

    def close(self) -> None:
        self._ranks.close()


def load_runner(
    folder: Path,
    dtype: torch.dtype,
    layout: Layout,
    settings: ModelSettings,
    adapter: Path | None = None,
    progress: Progress | None = None,
    decodes_alone: bool = False,
) -> Runner:
    """The checkpoint in `folder` laid out over one device or several; its cache is to be opened yet.

    :raises BadCheckpoint: see `load_model`.
    :raises NotEnoughMemory: the same.
    :raises LostRank: a process ended while it loaded.
    """
    devices = layout.devices
    load = partial(_load_part, folder, dtype, adapter, settings, layout.expert_bytes)
    if len(devices) == 1:
        return load(progress, decodes_alone, WHOLE, devices[0])
    threads = None
    if devices[0].type == "cpu":
        threads = settings.threads or max((os.cpu_count() or 1) // len(devices), 1)
        torch.set_num_threads(threads)
    return SpreadRunner(Ranks(partial(load, None, False), devices, threads, build_first=partial(load, progress, False)))


def _load_part(
    folder: Path,
    dtype: torch.dtype,
    adapter: Path | None,
    settings: ModelSettings,
    expert_bytes: int | None,
    progress: Progress | None,
    decodes_alone: bool,
    shard: Shard,
    device: torch.device,
) -> Runner:
    model = load_model(
        folder, dtype, device, progress=progress, shard=shard, adapter=adapter, expert_bytes=expert_bytes
    )
    skip_experts(model, settings.expert_threshold)
    return Runner(model, dtype, device, decodes_alone, settings.attended_pages)
