"""Whether several ranks compute what one does, and what becomes of the others when one is lost."""

import time
from typing import Any

import torch
from torch import Tensor

from model.cache import PAGE
from model.config import Config
from model.errors import LostRank
from model.parallel import Ranks
from model.random_weights import random_model
from model.shard import WHOLE, Shard
from model.tensors import named_tensors
from tests.bench.parallel_journal import Journal
from tests.bench.parallel_parts import Cell, Held, Part, build_random


class Twin:
    """On each rank the whole of a small model beside the rank's part of it."""

    def __init__(self, config: Config, fp8: bool, shard: Shard, device: torch.device) -> None:
        self.config, self.fp8, self.shard, self.device = config, fp8, shard, device

    def logits(self, cell: Cell, layout: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, str]:
        """Of the part in a layout, and of the whole by itself, each [batch, vocabulary]; and how they were computed.

        In float32 by the plain path; otherwise by the kernels, where there are any.
        """
        config, fp8, device = self.config, self.fp8, self.device
        held = Held(cell.pages(), layout, fp8 and dtype == torch.bfloat16)
        # 1. The whole, which every rank draws alike.
        whole = Part(random_model(config, dtype, device, fp8), dtype, device)
        whole.open(Held(held.pages, "heads", held.fp8))
        plain = dtype == torch.float32
        whole.prepare(cell, plain)
        expected = whole.step()
        # 2. The part, cut from it.
        part = build_random(config, dtype, fp8, self.shard, device)
        part.open(held)
        sources, predictor = named_tensors(whole.model), f"model.layers.{config.num_hidden_layers}."
        for name, target in named_tensors(part.model).items():
            uncut = layout == "data" and ".self_attn." in name and not name.startswith(predictor)
            of = WHOLE if uncut else self.shard
            target.copy_(sources[name][of.slices(name, tuple(sources[name].shape), config)])
        path = part.prepare(cell, plain)["path"]
        return part.step(), expected, path


def check(ranks: Ranks[Twin], dtype: torch.dtype, layout: str, journal: Journal) -> None:
    """Logits of a toy model in a layout beside those of one rank; in bfloat16 some tokens choose other experts."""
    found: list[tuple[Tensor, Tensor, str]] = ranks.ask("logits", Cell(8, 300), layout, dtype)
    own, expected, path = found[0]
    figures: dict[str, Any] = {
        "largest_difference": max(float((one[0] - expected).abs().max()) for one in found),
        "spread": float(expected.std()),
        "relative": float((own - expected).norm() / expected.norm()),
        "same_on_all_ranks": all(torch.equal(one[0], own) for one in found),
        "same_token": float((own.argmax(-1) == expected.argmax(-1)).float().mean()),
    }
    journal.tell(what="check", ranks=ranks.size, layout=layout, dtype=str(dtype), path=path, **figures)


def lose(ranks: Ranks[Part], journal: Journal) -> None:
    """Kill a rank in the middle of a step: how long until that is an error, and which. The end of `ranks`."""
    part = ranks.part
    context = min(300, (part.cache.storage.shape[1] - 1) * PAGE)
    ranks.call("prepare", Cell(ranks.size if part.layout == "data" else 1, context), False)
    journal.tell(what="losing", ranks=ranks.size, layout=part.layout)  # rank 0 may end with the others
    begun = time.perf_counter()
    try:
        ranks.call("lose")
    except LostRank as error:
        journal.tell(what="lost", ranks=ranks.size, seconds=round(time.perf_counter() - begun, 2), error=str(error))
    else:
        journal.tell(what="lost", ranks=ranks.size, error="none was raised")
