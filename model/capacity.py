"""How many pages the cache gets, and the window that they make possible. Knows nothing about what fills them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from model.cache import PAGE, token_bytes
from model.config import Config
from model.errors import NotEnoughMemory
from model.page_selection import selection_bytes
from model.placement import choose_context
from model.plan.machine import host_memory
from model.settings import ModelSettings
from model.weight_files import weight_files

_GIB = 1 << 30
_WINDOWS = 4
"""Windows that the cache holds where memory allows: running answers and beginnings that may come again."""
_CPU_CACHE = _GIB
"""Up to this size a CPU's cache holds several windows; its memory is not touched before it is used."""
_WORKSPACE = 3 * _GIB
"""GPU memory left to a step's intermediate results, at most."""
_LEAST_CONTEXT = 512
_SPILLED_CONTEXT = 8192
"""The window that experts leave room for where none is asked for."""
_PACKED = 0.97
"""Of memory for weights, what they fill: an allocator rounds up."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What there is to hold a model."""

    gpus: int
    """how many"""
    gpu_free: int
    """bytes of each"""
    gpu_total: int
    host: int

    @property
    def workspace(self) -> int:
        """Bytes of a GPU that are left to a step's intermediate results."""
        return min(_WORKSPACE, self.gpu_total // 7)

    @property
    def room(self) -> int:
        """Bytes of a GPU that weights and cache may take."""
        return self.gpu_free - self.workspace


def memory_here(device: torch.device) -> Memory:
    """This machine's, where `device` is the first that is used."""
    total, _ = host_memory()
    if device.type != "cuda":
        return Memory(0, 0, 0, total)
    return Memory(torch.cuda.device_count(), *torch.cuda.mem_get_info(device), total)


@dataclass(frozen=True, slots=True)
class Capacity:
    context: int
    """tokens of prompt and answer together"""
    pages: int
    """at least those of one window"""


def choose_capacity(
    config: Config,
    settings: ModelSettings,
    dtype: torch.dtype,
    device: torch.device,
    weights: int,
    ranks: int = 1,
    memory: Memory | None = None,
) -> Capacity:
    """What the cache can hold beside `weights` bytes that are still to be loaded onto `device`, one of `ranks`.

    Where no window is asked for, it is what the model was made for, or what fits. `memory` is this machine's unless
    another is planned for.

    :raises NotEnoughMemory: the window asked for does not fit.
    """
    page = page_bytes(config, settings, dtype, ranks)
    context = choose_context(settings.context, config)
    window = -(-context // PAGE)
    wanted = _WINDOWS * window * page
    memory = memory or memory_here(device)
    here = (memory.room if device.type == "cuda" else memory.host) - weights
    if here < 0:
        raise NotEnoughMemory(
            f"The weights take {weights / _GIB:.1f} GiB; {(here + weights) / _GIB:.1f} GiB are to be had on {device}.",
            "Take a smaller or a quantised model, or a machine with more memory.",
        )
    room = here if device.type == "cuda" else min(here, max(min(wanted, _CPU_CACHE), window * page))
    if settings.cache_gib is not None:
        wanted = int(settings.cache_gib * _GIB)
        room = min(room if device.type == "cuda" else here, wanted)
    pages = min(room, wanted) // page
    if pages >= window:
        return Capacity(context, pages)
    if settings.context is not None or pages * PAGE < min(_LEAST_CONTEXT, context):
        raise NotEnoughMemory(
            f"A window of {context} tokens takes {window * page / _GIB:.2f} GiB of cache; "
            f"{max(room, 0) / _GIB:.2f} GiB are to be had on {device}.",
            "Lower model.context, raise model.cache_gib where memory allows, or set model.cache_type to fp8.",
        )
    return Capacity(pages * PAGE, pages)


def checkpoint_bytes(folder: Path, config: Config, parameters: int, dtype: torch.dtype, device: torch.device) -> int:
    """Bytes that the weights of the checkpoint in `folder` will take on `device`."""
    if config.fp8_block and device.type == "cuda":  # kept as published
        return sum((folder / name).stat().st_size for name in weight_files(folder))
    return parameters * dtype.itemsize


def expert_room(
    config: Config, settings: ModelSettings, dtype: torch.dtype, memory: Memory, others: int, ranks: int = 1
) -> int:
    """Bytes of a GPU that routed experts may take beside `others` bytes of weights and the cache of one window."""
    context = settings.context or min(_SPILLED_CONTEXT, config.max_position_embeddings)
    window = -(-context // PAGE) * page_bytes(config, settings, dtype, ranks)
    cache = max(window, int((settings.cache_gib or 0.0) * _GIB))
    return max(int((memory.room - cache) * _PACKED) - others, 0)


def page_bytes(config: Config, settings: ModelSettings, dtype: torch.dtype, ranks: int) -> int:
    """Bytes of a page on each of `ranks`, and of what is known of it where pages are selected."""
    sharing = ranks if settings.attention_layout == "sequence" else 1
    known = 0 if settings.attended_pages is None else selection_bytes(config, dtype)
    return token_bytes(config, dtype, settings.cache_type == "fp8") * PAGE // sharing + known
