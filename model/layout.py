"""On how many devices a model is laid out, and whether its routed experts stay there; before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

import torch

from model.cache import PAGE
from model.capacity import Memory, checkpoint_bytes, choose_capacity, expert_room, memory_here
from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.errors import CannotSplit, NotEnoughMemory, UnfitSetting
from model.moe import Experts
from model.settings import ModelSettings
from model.shard import WHOLE, Shard, check_split
from model.split_cache import check_sharing
from model.tensors import published_modules, quantizable

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Layout:
    devices: tuple[torch.device, ...]
    """of all ranks"""
    expert_bytes: int | None = None
    """memory of each for routed experts, the others being in the host's; None holds all"""


def choose_layout(
    folder: Path,
    config: Config,
    settings: ModelSettings,
    dtype: torch.dtype,
    device: torch.device,
    parameters: int,
    memory: Memory | None = None,
) -> Layout:
    """As many devices as are asked for, or the fewest whose memory holds weights and a window.

    Where all GPUs together are too small, routed experts spill to the host, unless the settings forbid it. `memory` is
    this machine's unless another is planned for.

    :raises CannotSplit: the model's dimensions do not allow as many as are asked for.
    :raises NotEnoughMemory: they do not fit; no weight was read.
    :raises UnfitSetting: there are not so many GPUs.
    """
    on_gpu = device.type == "cuda"
    several = on_gpu and device.index is None
    memory = memory or memory_here(device)
    sizes = _sizes(config, settings, memory.gpus if several else 1, on_gpu)
    weights = checkpoint_bytes(folder, config, parameters, dtype, device)
    asked = settings.experts_gib
    budget = int(asked * _GIB) if isinstance(asked, float) and config.num_moe_layers else None
    for size in sizes:
        held = int(weights * held_share(config, size))
        if budget is not None and on_gpu:
            routed, others = rank_bytes(config, size, dtype, on_gpu)
            held = others + min(routed, budget)
        try:
            choose_capacity(config, settings, dtype, device, held, size, memory)
        except NotEnoughMemory:
            if size != sizes[-1]:
                continue
            if not (asked == "auto" and on_gpu and config.num_moe_layers):
                raise
            routed, others = rank_bytes(config, size, dtype, on_gpu)
            budget = expert_room(config, settings, dtype, memory, others, size)
        else:
            break
    if budget is not None:
        _check_host(size * rank_bytes(config, size, dtype, on_gpu)[0], memory.host)
    return Layout(tuple(torch.device("cuda", rank) if several else device for rank in range(size)), budget)


def _sizes(config: Config, settings: ModelSettings, here: int, on_gpu: bool) -> list[int]:
    """Numbers of ranks to try, in ascending order."""
    if settings.attention_layout == "sequence" and settings.attended_pages is not None:
        raise CannotSplit(
            "Pages are selected (attended_pages) where a rank holds whole ones, not its share of each.",
            "Set model.attention_layout to heads, or unset model.attended_pages.",
        )
    if settings.ranks == "auto":
        sizes = [size for size in range(1, here + 1) if _splits(config, size)]
        if settings.attention_layout == "sequence":
            sizes = [size for size in sizes if size > 1 and PAGE % size == 0]
            check_sharing(config, sizes[-1] if sizes else 1)
        return sizes
    check_split(config, settings.ranks)
    if settings.attention_layout == "sequence":
        check_sharing(config, settings.ranks)
    if settings.ranks > here and on_gpu:
        raise UnfitSetting(
            f"There are {here} GPUs for {settings.ranks} ranks.", "Lower model.ranks; let model.device be auto."
        )
    return [settings.ranks]


def _check_host(routed: int, host: int) -> None:
    """:raises NotEnoughMemory: the host cannot hold so many bytes of experts either."""
    if routed > host:
        raise NotEnoughMemory(
            f"The model's experts take {routed / _GIB:.1f} GiB; this machine has {host / _GIB:.1f} GiB of memory "
            "beside its GPUs.",
            "Choose a smaller model, or one with FP8 weights.",
        )


def held_share(config: Config, size: int) -> float:
    """The part of all weights that each of `size` ranks holds."""
    if size == 1:
        return 1.0
    whole, part = (
        sum(one.numel() for one in model.parameters()) for model in (_skeleton(config, 1), _skeleton(config, size))
    )
    return part / whole


def rank_bytes(config: Config, size: int, dtype: torch.dtype, on_gpu: bool) -> tuple[int, int]:
    """Bytes of the routed experts that each of `size` ranks holds, and of everything else."""
    fp8 = config.fp8_block is not None and on_gpu  # kept as published
    found = {True: 0, False: 0}
    counted: set[int] = set()
    for name, module in published_modules(_skeleton(config, size)):
        routed = isinstance(module, Experts)
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in counted:  # a tied head is the embedding
                counted.add(id(parameter))
                narrow = fp8 and (routed or quantizable(f"{name}.{key}"))
                found[routed] += parameter.numel() * (1 if narrow else dtype.itemsize)
    return found[True], found[False]


def _skeleton(config: Config, size: int) -> DeepseekForCausalLM:
    """The largest part of a model over `size` ranks, without memory: the last rank's (see `Shard.part`)."""
    with torch.device("meta"):
        return DeepseekForCausalLM(config, shard=WHOLE if size == 1 else Shard(size - 1, size))


def _splits(config: Config, size: int) -> bool:
    try:
        check_split(config, size)
    except CannotSplit:
        return False
    return True
