"""The work of a stage that learns from given tokens: text, or questions with their answers.

Knows nothing about the clock and the log; see trainer.py.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.deepseek import DeepseekForCausalLM, update_router_biases
from model.train.ahead import Ahead
from model.train.batches import Batch, Stream
from model.train.group import Group
from model.train.objective import Losses, Piece, losses
from model.train.optimizer import Optimizer
from model.train.recipe import Stage
from model.train.runlog import Entry

_SHAPES = 24
"""Micro-batches of a stage among which all its shapes occur."""


@dataclass(slots=True)
class _Since:
    """What the steps since the last line of the log add up to."""

    began: float
    steps: int = 0
    tokens: int = 0
    text: Tensor | float = 0.0
    drafts: Tensor | float = 0.0
    counts: Tensor | float = 0.0

    def add(self, tokens: int, part: Losses) -> None:
        self.steps += 1
        self.tokens += tokens
        self.text = self.text + part.text
        self.drafts = self.drafts + part.drafts
        self.counts = self.counts + (0.0 if part.counts is None else part.counts)


class Supervised:
    """Optimizer steps over a stream of micro-batches."""

    def __init__(
        self,
        model: DeepseekForCausalLM,
        optimizer: Optimizer,
        stage: Stage,
        stream: Stream,
        group: Group,
        device: torch.device,
        piece: Piece,
        compiled: bool,
    ) -> None:
        """`compiled`: the model's layers are; all shapes of the stage are then compiled here, before its clock runs.

        :raises BadRecipe: the processes of `group` cannot share a step evenly.
        """
        self.model, self.optimizer, self.stage, self.stream = model, optimizer, stage, stream
        self.group, self.device, self.piece = group, device, piece
        self.micro = max(stage.tokens // stage.micro_tokens, 1)
        group.check_share(self.micro, stage.name)
        if compiled:
            self._compile()
        self._worker = ThreadPoolExecutor(1, "batches")  # one, since streams are no place for two
        self._coming: tuple[int, Future[list[Batch]] | None] = (0, None)
        self._since = _Since(time.monotonic())

    def measure(self, number: int) -> Entry | None:
        return None

    def step(self, number: int, factor: float) -> float:
        # 1. Gradients of the mean loss over all weighted tokens of the step.
        batches = self._batches(number)
        part = self._gradients(batches)
        # 2. Update weights, then the selection biases from what the experts received.
        stage = self.stage
        norm = self.optimizer.step(factor * stage.muon_rate, factor * stage.adam_rate, stage.weight_decay)
        if part.counts is not None:
            update_router_biases(self.model, self.group.add(part.counts), factor * stage.bias_speed)
        self._since.add(self.group.size * sum(batch.inputs.size for batch in batches), part)
        return float(norm)

    def _batches(self, number: int) -> list[Batch]:
        """The micro-batches of a step; those of the next one are made while the device works on these."""
        expected, coming = self._coming
        batches = coming.result() if coming and expected == number else self._draw(number)
        self._coming = number + 1, self._worker.submit(self._draw, number + 1)
        return batches

    def _draw(self, number: int) -> list[Batch]:
        numbers = range(number * self.micro + self.group.rank, (number + 1) * self.micro, self.group.size)
        return [self.stream.batch(position) for position in numbers]

    def entry(self) -> Entry:
        since, self._since = self._since, _Since(time.monotonic())
        both = self.group.add(torch.stack([torch.as_tensor(since.text), torch.as_tensor(since.drafts)])) / since.steps
        text, drafts = (round(float(one), 4) for one in both)
        busiest, idlest = expert_load(since.counts) if isinstance(since.counts, Tensor) else ([], [])
        return {
            "loss": text,
            "draft_loss": drafts if len(self.model.mtp) else None,
            "tokens_per_second": round(since.tokens / max(time.monotonic() - since.began, 1e-9)),
            "load": busiest,
            "least": idlest,
        }

    def finish(self) -> Entry:
        self._worker.shutdown(cancel_futures=True)
        if isinstance(self.stream, Ahead):
            self.stream.close()
        return {}

    def state(self) -> None:
        return None

    def _gradients(self, batches: list[Batch]) -> Losses:
        """Leave the gradients of one step; its losses per weighted token, over this process's micro-batches."""
        weight = torch.tensor(sum(float(batch.weights.sum()) for batch in batches), device=self.device)
        weight = self.group.add(weight)
        text, drafts = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        counts: Tensor | None = None
        for batch in batches:
            part = self._forward(batch, weight)
            (part.text + self.stage.draft_weight * part.drafts).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            text, drafts = text + part.text.detach(), drafts + part.drafts.detach()
            counts = part.counts if counts is None or part.counts is None else counts + part.counts
        self.group.add_gradients(self.model.parameters())
        return Losses(text, drafts, counts)

    def _forward(self, batch: Batch, weight: Tensor) -> Losses:
        inputs, targets, weights = (
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (batch.inputs, batch.targets, batch.weights)
        )
        return losses(self.model, inputs, targets, weights / weight, self.stage.apart, self.piece)

    def _compile(self) -> None:
        """Compile all shapes of the stage; nothing of this is learned."""
        shapes = {batch.inputs.shape: batch for batch in (self.stream.batch(number) for number in range(_SHAPES))}
        for batch in shapes.values():
            part = self._forward(batch, torch.ones((), device=self.device))
            (part.text + self.stage.draft_weight * part.drafts).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for parameter in self.model.parameters():
            parameter.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def expert_load(counts: Tensor) -> tuple[list[float], list[float]]:
    """Of each routed layer, the busiest expert's tokens over the mean, less 1, and the idlest one's over the mean.

    counts [layers, E]; a predictor's block comes last.
    """
    mean = counts.float().mean(1)
    both: NDArray[np.float32] = torch.stack([counts.amax(1) / mean - 1, counts.amin(1) / mean]).cpu().numpy()
    busiest, idlest = ([round(float(one), 3) for one in row] for row in both)
    return busiest, idlest
