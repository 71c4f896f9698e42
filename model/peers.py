"""Memory of the ranks' GPUs that all of them write into: small messages go through it (see kernels/messages.py).

NCCL takes 17 us for the sum of a token's hidden states over two GPUs and 34 over eight, nearly all of it its protocol.
Like torch's process group, this is one of the process, which has one model of several ranks at most.
"""

import time
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.kernels import available

MOST = 4 << 20
"""Bytes of a sum; larger ones are NCCL's."""

_open: "Peers | None" = None


class Peers:
    """This rank's view of the memory of all."""

    def __init__(self, rank: int, addresses: list[int], device: torch.device, held: object) -> None:
        """`addresses`: of every rank's memory of `memory_words` int64, all 0; it exists as long as `held` does."""
        from model.kernels.messages import programs, slot_words

        self.rank, self.ranks, self._held = rank, len(addresses), held
        self._given_up = torch.zeros(1, dtype=torch.int32, pin_memory=device.type == "cuda")
        # A GPU reads pinned memory of the host under the host's own address.
        self._table = torch.tensor([*addresses, self._given_up.data_ptr()], device=device)
        self._slot = slot_words(MOST // 4, self.ranks)
        self._epochs = torch.zeros(programs(self.ranks), dtype=torch.int32, device=device)

    def takes(self, values: Tensor) -> bool:
        """Whether `sum` adds these; the same in every rank, whose `values` are alike."""
        return values.dtype in (torch.bfloat16, torch.float32) and _words(values) and 0 < values.nbytes <= MOST

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place, added in float32. This and the others can be recorded in a CUDA graph."""
        from model.kernels.messages import sum_peers

        sum_peers(values, self._table, self._epochs, self.rank, self.ranks, self._slot)
        return values

    def carries(self, part: Tensor) -> bool:
        """Whether every rank's `part` finds room; the same in every rank."""
        from model.kernels.messages import fits

        return _words(part) and part.nbytes > 0 and fits(part.nbytes // 4, self.ranks, self._slot)

    def collect(self, part: Tensor) -> Tensor:
        """What every rank gives, one after the other: [...] -> [ranks, ...]."""
        return self._send(part, part.new_empty(self.ranks, *part.shape), apart=False)

    def exchange(self, parts: Tensor) -> Tensor:
        """Part k of [ranks, ...] goes to rank k; of the same shape, what every rank has for this one."""
        return self._send(parts, torch.empty_like(parts), apart=True)

    def _send(self, values: Tensor, out: Tensor, apart: bool) -> Tensor:
        from model.kernels.messages import send_peers

        words, received = (one.view(-1).view(torch.int32) for one in (values, out))
        rows = received.view(self.ranks, -1)
        send_peers(words, rows, self._table, self._epochs, self.rank, self.ranks, self._slot, apart)
        return out

    def give_up(self) -> None:
        """Sums that wait for a lost rank end within milliseconds, and so does every later one; all are worthless."""
        self._given_up.fill_(1)


def _words(values: Tensor) -> bool:
    """Whether these are whole words of 4 bytes."""
    return values.is_contiguous() and not values.nbytes % 4 and not values.storage_offset() * values.itemsize % 4


def memory_words(ranks: int) -> int:
    """int64 of each rank's memory."""
    from model.kernels.messages import slot_words

    return 2 * slot_words(MOST // 4, ranks)


def peers() -> Peers | None:
    """Those of this process, if they are open."""
    return _open


def open_peers(device: torch.device) -> None:
    """Called by all ranks at once, after they met; does nothing where one of their GPUs does not reach all others."""
    global _open
    if device.type != "cuda" or not available() or not _all(_reaches(device), device):
        return
    made = None
    with suppress(RuntimeError, ImportError):  # a driver, a container or a build of torch may lack it
        made = _map(device)
    if _all(made is not None, device):
        _open = made


def close_peers() -> None:
    """Let go of the memory."""
    global _open
    _open = None


def _reaches(device: torch.device) -> bool:
    """Whether this GPU reaches the memory of those of all ranks."""
    numbers = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    own = torch.cuda.current_device() if device.index is None else device.index
    dist.all_gather(numbers, torch.tensor([own], device=device))
    return all(int(other) == own or torch.cuda.can_device_access_peer(own, int(other)) for other in numbers)


def _all(here: bool, device: torch.device) -> bool:
    """Whether it is so in every rank."""
    said = torch.tensor([int(here)], device=device)
    dist.all_reduce(said, dist.ReduceOp.MIN)
    return bool(said)


def _map(device: torch.device) -> Peers:
    """Allocate this rank's memory and find that of the others."""
    from torch._C._distributed_c10d import _register_process_group, _SymmetricMemory
    from torch.distributed._symmetric_memory import rendezvous

    rank, ranks = dist.get_rank(), dist.get_world_size()
    # Not `empty` of that module, whose memory comes from a pool and may have been that of ranks before.
    buffer = _SymmetricMemory.empty_strided_p2p((memory_words(ranks),), (1,), torch.int64, device).zero_()
    # Torch remembers by their names how groups met, and every first group of a process has the same one.
    number = torch.tensor([time.time_ns()], device=device)
    dist.broadcast(number, 0)
    name: Any = f"peers {int(number)}"  # versions of torch differ in its type
    world: Any = dist.group.WORLD
    _register_process_group(name, world)
    view = rendezvous(buffer, name)
    # The buffer may be a part of what was mapped.
    offset = torch.tensor([buffer.data_ptr() - view.buffer_ptrs[rank]], device=device)
    offsets = [torch.empty_like(offset) for _ in range(ranks)]
    dist.all_gather(offsets, offset)  # after which every rank's memory is 0
    addresses = [start + int(own) for start, own in zip(view.buffer_ptrs, offsets, strict=True)]
    return Peers(rank, addresses, device, (buffer, view))
