"""Parts that ranks build in tests: a model that steps, and ways to be lost. Ranks import it, so it stands alone."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from model import attention
from model.cache import LatentCache
from model.checkpoint import load_model
from model.errors import BadCheckpoint
from model.shard import Shard
from model.split_cache import SplitCache
from model.step import Reading, make_branches, make_step


def large_tiles() -> None:
    """Matrix-vector kernels of 32 rows a program: the interpreter takes as long for a large tile as for a small one."""
    from model.kernels import gemv  # needs Triton

    gemv._blocks = lambda n, k, columns: gemv.Blocks(32, 128, 4)


class ModelPart:
    """A checkpoint's part, with a cache of 32 pages."""

    def __init__(self, folder: Path, keep_fp8: bool, shard: Shard, device: torch.device) -> None:
        self.model = load_model(folder, torch.float32, device, keep_fp8=keep_fp8, shard=shard)
        self.cache = LatentCache(self.model.config, 32, torch.float32, device)
        self.pages = range(32)

    @torch.inference_mode()
    def read(self, tokens: Sequence[int], held: int) -> Tensor:
        """Logits [T, vocabulary] after each of `tokens`."""
        step = make_step([Reading(tokens, held, self.pages)], torch.device("cpu"))
        return self.model.logits(self.model.step(step, self.cache))

    @torch.inference_mode()
    def draft(self, tokens: Sequence[int], following: Sequence[int]) -> Tensor:
        """Logits [T, vocabulary] of the first predictor, after a step over `tokens` of a new sequence."""
        hidden = self.model.step(make_step([Reading(tokens, 0, self.pages)], torch.device("cpu")), self.cache)
        step = make_step([Reading(following, 0, self.pages)], torch.device("cpu"))
        return self.model.logits(self.model.draft(0, step, hidden, self.cache))

    @torch.inference_mode()
    def advance(self, readings: Sequence[Reading], drafts: int, vocabulary: int) -> list[list[int]]:
        """A round of speculation by the kernels."""
        from model import fast_rounds  # needs Triton

        large_tiles()
        step = make_step(readings, torch.device("cpu"))
        found: list[list[int]] = fast_rounds.advance(self.model, step, self.cache, drafts, vocabulary).tolist()
        return found

    def generate(self, prompt: Sequence[int], count: int) -> list[int]:
        """Greedily; every rank follows the same tokens by itself."""
        made: list[int] = []
        logits = self.read(prompt, 0)
        for number in range(count):
            made.append(int(logits[-1].argmax()))
            logits = self.read(made[-1:], len(prompt) + number)
        return made

    def weights(self) -> int:
        """Bytes held."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum({one.data_ptr(): one.numel() * one.element_size() for one in tensors}.values())


class SplitPart(ModelPart):
    """A checkpoint's part with its share of a cache of 39 pages, which is read in small blocks."""

    def __init__(self, folder: Path, fp8: bool, shard: Shard, device: torch.device) -> None:
        super().__init__(folder, False, shard, device)
        attention._HISTORY_BLOCK, attention._ABSORBED_SCORES = 256, 1 << 13  # restored by the test in rank 0
        self.shard = shard
        form = LatentCache if shard.size == 1 else partial(SplitCache, shard)
        self.cache = form(self.model.config, 40, torch.float32, device, fp8)
        self.cache.storage.fill_(0xFF if fp8 else float("nan"))  # so that what nobody wrote is noticed

    @torch.inference_mode()
    def read_all(self, readings: Sequence[Reading]) -> Tensor:
        """Logits [T, vocabulary] of a step over several sequences."""
        return self.model.logits(self.model.step(make_step(readings, torch.device("cpu")), self.cache))

    @torch.inference_mode()
    def decode(self, readings: Sequence[Reading]) -> Tensor:
        """`read_all` by the kernels."""
        from model import fast_decode  # needs Triton

        large_tiles()
        hidden = fast_decode.decode(self.model, make_step(readings, torch.device("cpu")), self.cache)
        return fast_decode.logits(self.model, hidden)

    @torch.inference_mode()
    def branch(self, continuations: Sequence[Sequence[int]], history: int, pages: Sequence[int]) -> Tensor:
        branches = make_branches(continuations, history, pages, torch.device("cpu"))
        return self.model.logits(self.model.branch(branches, self.cache))

    @torch.inference_mode()
    def draft_all(self, readings: Sequence[Reading], following: Sequence[Reading]) -> Tensor:
        """Logits [T, vocabulary] of the first predictor, after a step over `readings`."""
        hidden = self.model.step(make_step(readings, torch.device("cpu")), self.cache)
        step = make_step(following, torch.device("cpu"))
        return self.model.logits(self.model.draft(0, step, hidden, self.cache))

    @torch.inference_mode()
    def stored(self, pages: Sequence[int], length: int) -> Tensor:
        return torch.stack([self.cache.stored(layer, pages, length) for layer in range(len(self.cache.storage))])

    @torch.inference_mode()
    def fill(self, pages: Sequence[int], rows: Tensor) -> None:
        for layer, own in enumerate(rows):
            self.cache.fill(layer, pages, own)

    def held(self) -> list[int]:
        """Bytes of the cache, and tokens that were written: all but those of the spare page."""
        storage = self.cache.storage[0, :-1].float()
        return [self.cache.storage.nbytes, int((~storage.isnan()).all(-1).sum())]


def build_split(folder: Path, fp8: bool, shard: Shard, device: torch.device) -> SplitPart:
    return SplitPart(folder, fp8, shard, device)


def build_model(folder: Path, keep_fp8: bool, shard: Shard, device: torch.device) -> ModelPart:
    return ModelPart(folder, keep_fp8, shard, device)


class Fragile:
    """Sums over ranks, or is lost in one of many ways."""

    def __init__(self, shard: Shard, device: torch.device) -> None:
        self.shard = shard

    def sum(self, value: int) -> int:
        total = torch.tensor([value + self.shard.rank])
        dist.all_reduce(total)
        return int(total)

    def add(self, values: Tensor, more: int, others: Tensor) -> Tensor:
        """Tensors from rank 0 in rank 1 as well."""
        return values * 2 + others.float() + more + self.shard.rank

    def nothing(self, readings: object) -> None:
        """What a call costs."""

    def fail(self, rank: int) -> int:
        """An error in one rank, while the others wait for it."""
        if self.shard.rank == rank:
            raise ValueError(f"rank {rank} cannot")
        return self.sum(0)

    def vanish(self, rank: int, seconds: float = 0.0) -> int:
        """Killed in a step, without a word."""
        if self.shard.rank == rank:
            print("the last words of a rank", file=sys.stderr, flush=True)
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGKILL)
        return self.sum(0)

    def dawdle(self, rank: int) -> int:
        """Alive, but not where the others are."""
        if self.shard.rank == rank:
            time.sleep(60.0)
        return self.sum(0)

    def stop(self, rank: int) -> int:
        """Frozen: alive, but silent."""
        if self.shard.rank == rank:
            os.kill(os.getpid(), signal.SIGSTOP)
        return self.sum(0)


def build_fragile(shard: Shard, device: torch.device) -> Fragile:
    return Fragile(shard, device)


def vanish_in_build(rank: int, shard: Shard, device: torch.device) -> Fragile:
    """One rank is killed while the others load."""
    if shard.rank == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60.0)
    return Fragile(shard, device)


def refuse_in_build(rank: int, shard: Shard, device: torch.device) -> Fragile:
    """One rank finds its files damaged."""
    if shard.rank == rank:
        raise BadCheckpoint("a file is damaged", "mend it")
    return Fragile(shard, device)
