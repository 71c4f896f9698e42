"""The processes that train one model together, each on its share of every step's micro-batches (data parallel).

They meet in torch.distributed, if they are several; see ranks.py for how they are started.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.errors import BadRecipe


@dataclass(frozen=True, slots=True)
class Group:
    """This process among `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process logs, measures and writes."""
        return self.rank == 0

    def check_share(self, micro: int, stage: str) -> None:
        """:raises BadRecipe: a step of `stage` has `micro` micro-batches, which do not divide among all."""
        if micro % self.size:
            raise BadRecipe(
                f"Stage {stage} has {micro} micro-batches a step, which {self.size} processes cannot share evenly.",
                "Change `tokens` or `micro_tokens`, or the number of ranks.",
            )

    def add(self, tensor: Tensor) -> Tensor:
        """`tensor`, in place the sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every gradient becomes the sum over all processes, in one exchange."""
        if self.size == 1:
            return
        gradients = [one.grad for one in parameters if one.grad is not None]
        flat = self.add(torch.cat([one.flatten() for one in gradients]))
        for gradient, summed in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def agree(self, value: float, device: torch.device) -> float:
        """What the first process says, such as how late it is."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(said, 0)
        return float(said)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()
