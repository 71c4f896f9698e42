"""Ranks beside one another; on a CPU their memory is a file that all map. Ranks import it, so it stands alone."""

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from model import peers
from model.kernels import messages
from model.shard import Shard

Shape = tuple[int, ...]


class Near:
    """Draws values, and sums them through peers' memory."""

    def __init__(self, shard: Shard, device: torch.device) -> None:
        self.shard, self.device = shard, device

    def sums(self, shapes: Sequence[Shape], dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """One after the other; and what gloo or NCCL makes of the same in float64."""
        values = [self._draw(shape, dtype) for shape in shapes]
        exact = [self._exact(one) for one in values]
        return [self.shard.sum(one).cpu() for one in values], exact

    def handed(self, shapes: Sequence[Shape]) -> bool:
        """Whether parts of such shapes are collected and exchanged as they were given, sums between them."""
        everyone, right = range(self.shard.size), True
        for shape in shapes:
            given = [torch.arange(math.prod(shape)).view(shape).add(1000 * rank) for rank in everyone]
            parts = [one.to(self.device, torch.bfloat16) for one in given]
            right &= torch.equal(self.shard.collect(parts[self.shard.rank]), torch.stack(parts))
            self.shard.sum(parts[0].clone())
            to_each = torch.stack([parts[self.shard.rank] + peer for peer in everyone])
            own = torch.stack([part + self.shard.rank for part in parts])
            right &= torch.equal(self.shard.exchange(to_each), own)
        return bool(right)

    def replayed(self, shapes: Sequence[Shape], rounds: int) -> tuple[list[Tensor], list[Tensor]]:
        """Sums of bfloat16 in a CUDA graph, which is replayed with other values `rounds` times."""
        values = [self._draw(shape, torch.bfloat16) for shape in shapes]
        replay = self._record(values)
        exact: list[Tensor] = []
        for _ in range(rounds):
            for one in values:
                one.copy_(self._draw(tuple(one.shape), torch.bfloat16))
            exact = [self._exact(one) for one in values]
            replay()
        return [one.cpu() for one in values], exact

    def pace(self, shape: Shape, late: float) -> float:
        """us of a sum in a CUDA graph of 50, right after one for which the last rank was so many seconds late."""
        replay = self._record([self._draw(shape, torch.bfloat16)] * 50)
        time.sleep(late if self.shard.rank == self.shard.size - 1 else 0)
        replay()
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        for _ in range(4):
            replay()
        ended.record()
        torch.cuda.synchronize()
        return begun.elapsed_time(ended) / 200 * 1e3

    def vanish(self, rounds: int) -> None:
        """The last rank is killed while sums are made."""
        replay = self._record([self._draw((1, 7168), torch.bfloat16)] * 100)
        for number in range(rounds):
            if number == rounds // 2 and self.shard.rank == self.shard.size - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            replay()
            torch.cuda.synchronize()

    def near(self) -> bool:
        """Whether sums go through peers' memory."""
        return peers.peers() is not None

    def _draw(self, shape: Shape, dtype: torch.dtype) -> Tensor:
        """Other values in every rank, and each time."""
        self._drawn = getattr(self, "_drawn", self.shard.rank) + self.shard.size
        return torch.randn(shape, generator=torch.Generator().manual_seed(self._drawn)).to(self.device, dtype)

    def _exact(self, values: Tensor) -> Tensor:
        wide = values.double()
        torch.distributed.all_reduce(wide)
        return wide.cpu()

    def _record(self, values: Sequence[Tensor]) -> Callable[[], None]:
        def work() -> None:
            for one in values:
                self.shard.sum(one)

        work()  # which compiles the kernels
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
        return graph.replay


def build_mapped(folder: Path, shard: Shard, device: torch.device) -> Near:
    """On a CPU. Few programs, which the interpreter runs one after the other; two hops from some hundred words on."""
    messages._PROGRAMS, messages._HOP, peers.MOST = 8, 4096, 1 << 18
    words = peers.memory_words(shard.size)
    maps = [
        torch.from_file(str(folder / str(rank)), shared=True, size=words, dtype=torch.int64)
        for rank in range(shard.size)
    ]
    torch.distributed.barrier()
    peers._open = peers.Peers(shard.rank, [one.data_ptr() for one in maps], device, maps)
    return Near(shard, device)


def build_linked(shard: Shard, device: torch.device) -> Near:
    """On GPUs."""
    peers.close_peers()
    peers.open_peers(device)
    return Near(shard, device)
