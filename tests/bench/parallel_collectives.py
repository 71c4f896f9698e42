"""What the ranks of parallel_bench.py exchange: alone, and steps without it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor

from model.config import Config
from model.shard import Shard
from tests.bench import parallel_apart


def kinds(ranks: int, layout: str, beyond: bool) -> list[str]:
    """The collectives of a layout that are to be timed; and `beyond` these, sums that the program does not use."""
    if ranks == 1:
        return []
    of = {
        "heads": ["all_reduce", "vocabulary"],
        "sequence": ["all_reduce", "vocabulary", "collect", "exchange"],
        "data": ["vocabulary", "gather", "scatter"],
    }
    return [*of[layout], *(["one_shot_all_reduce", "two_shot_all_reduce_"] if beyond else [])]


def per_step(layout: str, layers: int) -> dict[str, int]:
    """How often a step has each."""
    of = {
        "heads": {"all_reduce": 2 * layers},
        "sequence": {"all_reduce": 2 * layers, "collect": layers, "exchange": layers},
        "data": {"gather": layers + 1, "scatter": layers},
    }
    return {**of[layout], "vocabulary": 1}


def collective(kind: str, rows: int, config: Config, device: torch.device) -> Callable[[], Tensor]:
    """One of `kind`, as a step of `rows` tokens has it."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shard, width = Shard(dist.get_rank(), dist.get_world_size()), config.hidden_size
    heads, own = config.num_attention_heads // shard.size, max(rows // shard.size, 1)
    shapes = {
        "all_reduce": (rows, width),
        "vocabulary": (rows, config.vocab_size // shard.size),
        "collect": (rows, heads, config.latent_dim),
        "exchange": (shard.size, rows, heads, config.kv_lora_rank + 16),
        "gather": (own, width),
        "scatter": (own * shard.size, width),
    }
    works: dict[str, Callable[[Tensor], Tensor]] = {
        "all_reduce": shard.sum,
        "vocabulary": shard.collect,
        "collect": shard.collect,
        "exchange": shard.exchange,
        "gather": shard.collect,
        "scatter": partial(parallel_apart.sum_apart, shard),
    }
    if kind in works:
        return partial(works[kind], torch.zeros(shapes[kind], dtype=dtype, device=device))
    # Peers read one another's buffers directly: one kernel, no protocol. Works without NVLink multicast.
    import torch.distributed._symmetric_memory as symmetric

    group = dist.group.WORLD.group_name  # type: ignore[union-attr]
    buffer = symmetric.empty(rows, width, dtype=dtype, device=device)
    symmetric.rendezvous(buffer, group)
    return partial(getattr(torch.ops.symm_mem, kind), buffer, "sum", group)


@contextmanager
def silent() -> Iterator[None]:
    """Collectives send nothing and wait for nobody: what they return has the right shape, and wrong numbers."""

    def collect(shard: Shard, part: Tensor) -> Tensor:
        return part[None].expand(shard.size, *part.shape)

    def sum_apart(shard: Shard, partial: Tensor) -> Tensor:
        return partial[: len(partial) // shard.size]

    with (
        patch.multiple(Shard, sum=lambda _, partial: partial, collect=collect, exchange=lambda _, parts: parts),
        patch.object(parallel_apart, "sum_apart", sum_apart),
    ):
        yield


class Choices:
    """The experts that a step by kernels chose, layer by layer; another step can be made to choose them again.

    Without collectives, ranks would choose differently from one another.
    """

    def __init__(self) -> None:
        self.made: list[Tensor] = []
        """int32 [T, K] of each routed layer"""

    @contextmanager
    def noted(self) -> Iterator[None]:
        from model.kernels import routing  # needs Triton

        choose, self.made = routing.choose, []

        def note(*arguments: Any) -> tuple[Tensor, Tensor]:
            weights, chosen = choose(*arguments)
            self.made.append(chosen)
            return weights, chosen

        with patch.object(routing, "choose", note):
            yield

    @contextmanager
    def repeated(self) -> Iterator[None]:
        from model.kernels import routing  # needs Triton

        choose, turn = routing.choose, 0

        def repeat(*arguments: Any) -> tuple[Tensor, Tensor]:
            nonlocal turn
            turn += 1
            return choose(*arguments)[0], self.made[(turn - 1) % len(self.made)]

        with patch.object(routing, "choose", repeat):
            yield

    def experts(self, ranks: int, number: int) -> tuple[float, float]:
        """Distinct ones of `number` that a layer chose: in all, and on the rank that has the most of them; means."""
        totals, most = [], []
        for chosen in self.made:
            hit = torch.zeros(number, dtype=torch.int64, device=chosen.device)
            hit[chosen.flatten().long()] = 1
            totals.append(int(hit.sum()))
            most.append(int(hit.view(ranks, -1).sum(1).max()))
        return sum(totals) / len(totals), sum(most) / len(most)
