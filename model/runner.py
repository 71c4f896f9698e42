"""From a plan to hidden states: the one place where sequences become tensors and the model runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model.cache import LatentCache
from model.deepseek import DeepseekForCausalLM
from model.scheduler import Plan
from model.step import Reading, make_step


class Runner:
    """A model with its cache on one device."""

    def __init__(
        self, model: DeepseekForCausalLM, cache: LatentCache, device: torch.device, decodes_alone: bool
    ) -> None:
        """`decodes_alone`: one thread computes a single token.

        A token of a small model is too little work to share: on a busy machine, threads that wait for one another cost
        up to 20 times what they save.
        """
        self.model, self.cache, self.device = model, cache, device
        self._decodes_alone = decodes_alone

    @torch.inference_mode()
    def run(self, plan: Plan) -> Tensor:
        """Read what is planned; the hidden states [T, D], one sequence after the other."""
        for copy in plan.copies:
            self.cache.storage[:, copy.target] = self.cache.storage[:, copy.source]
        readings = [
            Reading([*sequence.tokens[sequence.held :], *sequence.drafts][:count], sequence.held, sequence.pages)
            for sequence, count in plan.reads
        ]
        alone = self._decodes_alone and len(plan.reads) == 1 and plan.reads[0][0].pending == 1
        with _threads(1 if alone else None):
            return self.model.step(make_step(readings, self.device), self.cache)


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
