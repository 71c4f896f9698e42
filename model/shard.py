"""Which part of a model one of several ranks holds, and how the parts make a whole again.

Heads, the inner width of dense and shared MLPs, routed experts and the rows of the output head are split; embedding,
norms, routers and the projections into the latents are held by every rank. Knows nothing about processes (see
parallel.py) or files.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from model.config import Config
from model.errors import CannotSplit
from model.peers import peers

_BLOCK = 128
"""Rows and columns of an FP8 weight that share a factor: no split runs through them."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Rank `rank` of `size`. The whole model is the one rank of one."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank contributes what must be counted once."""
        return self.rank == 0

    def part(self, total: int, unit: int = 1) -> slice:
        """This rank's share of `total`: contiguous, in whole units but for the last, as even as they allow."""
        units = -(-total // unit)
        start, stop = (min(units * rank // self.size * unit, total) for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def inner(self, width: int) -> slice:
        """Its share of an MLP's inner width: whole FP8 blocks where there is one for every rank."""
        return self.part(width, _BLOCK if width >= _BLOCK * self.size else 1)

    def width(self, width: int) -> int:
        """How much of an MLP's inner width that is."""
        share = self.inner(width)
        return len(range(share.start, share.stop))

    def slices(self, name: str, shape: tuple[int, ...], config: Config) -> tuple[slice, ...] | None:
        """What this rank holds of the tensor of `shape` that files call `name`; None where it holds nothing.

        The scales of an FP8 weight are split as its blocks are.
        """
        whole = tuple(slice(0, length) for length in shape)
        scales = name.endswith("_scale_inv")
        inner = self.part if scales else self.inner
        kind = name.removesuffix("_scale_inv").removesuffix(".weight").rpartition(".")[2]
        if routed := re.search(r"\.mlp\.experts\.(\d+)\.", name):
            experts = self.part(config.n_routed_experts)
            return whole if experts.start <= int(routed[1]) < experts.stop else None
        if kind in ("q_proj", "q_b_proj", "kv_b_proj", "lm_head"):
            return self.part(shape[0]), *whole[1:]
        if kind in ("gate_proj", "up_proj"):
            return inner(shape[0]), whole[1]
        if kind == "down_proj":
            return whole[0], inner(shape[1])
        if kind == "o_proj":
            return whole[0], self.part(shape[1])
        if name.endswith("o_proj.bias"):
            return whole if self.first else None
        return whole

    def sum(self, partial: Tensor) -> Tensor:
        """The sum over all ranks, in place; every rank gets the same bits. Can be captured in a CUDA graph."""
        if self.size == 1:
            return partial
        near = peers()
        if near is not None and near.takes(partial):
            return near.sum(partial)
        torch.distributed.all_reduce(partial)
        return partial

    def gather(self, part: Tensor, total: int) -> Tensor:
        """Every rank's [..., its share of `total`] -> [..., total]."""
        if self.size == 1:
            return part
        widest = -(-total // self.size)
        gathered = self.collect(torch.nn.functional.pad(part, (0, widest - part.shape[-1])))
        shares = [Shard(rank, self.size).part(total) for rank in range(self.size)]
        return torch.cat(
            [own[..., : share.stop - share.start] for own, share in zip(gathered, shares, strict=True)], -1
        )

    def collect(self, part: Tensor) -> Tensor:
        """What every rank gives, in equal shapes, one after the other: [...] -> [ranks, ...]."""
        if self.size == 1:
            return part[None]
        near = peers()
        if near is not None and near.carries(part):
            return near.collect(part)
        whole = part.new_empty(self.size, part.numel())
        # Newer versions of torch have another name for it, and warn of the older one.
        named = "all_gather_single" if hasattr(torch.distributed, "all_gather_single") else "all_gather_into_tensor"
        getattr(torch.distributed, named)(whole.view(-1), part.reshape(-1))
        return whole.view(self.size, *part.shape)

    def exchange(self, parts: Tensor) -> Tensor:
        """Part k of [ranks, ...] goes to rank k; of the same shape, what every rank has for this one."""
        parts, near = parts.contiguous(), peers()
        if near is not None and near.carries(parts[0]):
            return near.exchange(parts)
        received = torch.empty_like(parts)
        torch.distributed.all_to_all_single(received, parts)
        return received


WHOLE = Shard()


def check_split(config: Config, size: int) -> None:
    """Refuse what `size` ranks cannot share.

    :raises CannotSplit: naming every dimension that does not divide, and the numbers of ranks that would do.
    """
    problems = _obstacles(config, size)
    if problems:
        raise CannotSplit(
            f"The model cannot be split over {size} ranks: " + "; ".join(problems) + ".",
            f"Numbers of ranks that fit: {', '.join(map(str, fitting_ranks(config)))}.",
        )


def fitting_ranks(config: Config) -> list[int]:
    """The numbers of ranks that a model can be split over."""
    return [size for size in range(1, config.num_attention_heads + 1) if not _obstacles(config, size)]


def _obstacles(config: Config, size: int) -> list[str]:
    found = []
    if size < 1:
        return ["there must be at least one"]
    if config.num_attention_heads % size:
        found.append(f"num_attention_heads {config.num_attention_heads} does not divide")
    if config.num_moe_layers and config.n_routed_experts % size:
        found.append(f"n_routed_experts {config.n_routed_experts} does not divide")
    if config.fp8_block is not None and size > 1:
        heads = config.num_attention_heads // size
        widths = {
            "heads of qk_head_dim": heads * config.qk_head_dim,
            "heads of qk_nope_head_dim and v_head_dim": heads * (config.qk_nope_head_dim + config.v_head_dim),
            "heads of v_head_dim": heads * config.v_head_dim,
        }
        found += [f"{heads} {what} cut through FP8 blocks" for what, width in widths.items() if width % _BLOCK]
        inner = {"intermediate_size": config.intermediate_size if config.first_k_dense_replace else 0}
        inner["the shared experts' width"] = config.n_shared_experts * config.moe_intermediate_size
        found += [
            f"{what} {width} has fewer FP8 blocks than ranks"
            for what, width in inner.items()
            if 0 < width < _BLOCK * size
        ]
    return found
