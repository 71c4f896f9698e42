"""The training loop: stages, schedule, balancing, log and checkpoints that resume exactly. One device.

Knows nothing about where text and questions come from; it reads packed tokens (`corpus`, `rows`) through `batches`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM, parameter_counts, update_router_biases
from model.saving import save_model
from model.train.batches import Batch, Mixture, RowStream, Stream, TextStream
from model.train.corpus import load_packed
from model.train.optimizer import Optimizer
from model.train.recipe import Recipe, Stage
from model.train.rows import load_rows


def schedule(stage: Stage, progress: float) -> float:
    """Factor on the learning rates after `progress` (0 to 1) of a stage: warm-up, plateau, linear decay."""
    rise = min(progress / stage.warmup, 1.0) if stage.warmup else 1.0
    fall = min((1 - progress) / stage.decay, 1.0) if stage.decay else 1.0
    return max(min(rise, stage.floor + (1 - stage.floor) * max(fall, 0.0)), 1e-3)


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum of weighted cross-entropies in float32: logits [N, V], targets and weights [N]."""
    return (F.cross_entropy(logits.float(), targets, reduction="none") * weights).sum()


class Trainer:
    """One run over the stages of a recipe.

    :param data: folder with the packed corpus (`*.u16`) and, for stages that need them, `rows/`.
    :param out: receives `log.jsonl`, the weights after each stage in BF16 (`stages/`), and `checkpoint.pt`, from which
        a run of the same recipe goes on.
    :param initial: folder of a model to start from, instead of random weights.
    """

    def __init__(
        self, recipe: Recipe, data: Path, out: Path, device: torch.device, initial: Path | None = None
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.out, self.device = recipe, data, out, device
        out.mkdir(parents=True, exist_ok=True)
        config = recipe.config()
        self.model = DeepseekForCausalLM(config, torch.bfloat16 if device.type == "cuda" else None)
        self.model.init_weights(torch.Generator().manual_seed(recipe.seed))
        if initial is not None:
            self.model.load_state_dict(load_model(initial, torch.float32, torch.device("cpu")).state_dict())
        self.model.to(device)
        self.optimizer = Optimizer(self.model)
        self.loss: Callable[[Tensor, Tensor, Tensor], Tensor] = self._loss
        if device.type == "cuda" and recipe.compile:
            torch._dynamo.config.recompile_limit = 128  # shapes of all stages
            for layer in self.model.model.layers:
                layer.compile(dynamic=False)
            self.loss = torch.compile(self._loss, dynamic=False)
        self.text = load_packed(data)
        self.validation = np.fromfile(data / "validation.u16", dtype=np.uint16)
        self.stage, self.step, self.seconds = 0, 0, 0.0
        if (out / "checkpoint.pt").exists():
            self.restore()

    def run(self) -> None:
        total, active = parameter_counts(self.model)
        self._log({"event": "start", "parameters": total, "active": active, "model": asdict(self.model.config)})
        while self.stage < len(self.recipe.stages):
            self._run_stage(self.recipe.stages[self.stage])
            save_model(self.model, self.out / "stages" / self.recipe.stages[self.stage].name)
            self.stage, self.step, self.seconds = self.stage + 1, 0, 0.0
            self.save()

    def stream(self, stage: Stage) -> Stream:
        seed = self.recipe.seed * 1000 + self.recipe.stages.index(stage)
        text = TextStream(self.text, stage.length, stage.micro_tokens, seed)
        if stage.data == "text" and not stage.row_share:
            return text
        rows = RowStream(load_rows(self.data / "rows"), text, stage.micro_tokens, seed)
        return rows if stage.data == "rows" else Mixture(text, rows, stage.row_share)

    def _run_stage(self, stage: Stage) -> None:
        stream = self.stream(stage)
        micro = max(stage.tokens // stage.micro_tokens, 1)
        began = time.monotonic() - self.seconds
        logged, tokens = time.monotonic(), 0
        counts_since = losses_since = None
        while True:
            # 1. How far the stage is, and with it the learning rates.
            self.seconds = time.monotonic() - began
            progress = self.step / stage.steps if stage.steps else self.seconds / stage.seconds
            if progress >= 1:
                break
            factor = schedule(stage, progress)
            # 2. Gradients of the mean loss over all weighted tokens of the step.
            batches = [stream.batch(self.step * micro + number) for number in range(micro)]
            weight = sum(float(batch.weights.sum()) for batch in batches)
            loss = torch.zeros((), device=self.device)
            counts = None
            for batch in batches:
                part, load = self._forward(batch, weight)
                part.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                loss += part.detach()
                counts = load if counts is None or load is None else counts + load
            # 3. Update weights, then the selection biases from what the experts received.
            norm = self.optimizer.step(factor * stage.muon_rate, factor * stage.adam_rate, stage.weight_decay)
            if counts is not None:
                update_router_biases(self.model, counts, factor * stage.bias_speed)
                counts_since = counts if counts_since is None else counts_since + counts
            losses_since = loss if losses_since is None else losses_since + loss
            self.step += 1
            tokens += sum(batch.inputs.size for batch in batches)
            # 4. Log and keep.
            if self.step % self.recipe.log_every == 0:
                now = time.monotonic()
                self._log(
                    {
                        "event": "step",
                        "stage": stage.name,
                        "step": self.step,
                        "loss": round(float(losses_since) / self.recipe.log_every, 4),
                        "norm": round(float(norm), 3),
                        "rate": round(factor, 4),
                        "tokens_per_second": round(tokens / (now - logged)),
                        "load": [] if counts_since is None else expert_load(counts_since),
                        "seconds": round(now - began, 1),
                    }
                )
                logged, tokens, counts_since, losses_since = now, 0, None, None
            if self.step % self.recipe.checkpoint_every == 0:
                self.seconds = time.monotonic() - began
                self.save()
        nats = self.validate()
        self._log({"event": "stage", "stage": stage.name, "steps": self.step, "validation_nats_per_token": nats})

    def _forward(self, batch: Batch, weight: float) -> tuple[Tensor, Tensor | None]:
        inputs, targets, weights = (
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (batch.inputs, batch.targets, batch.weights)
        )
        hidden, load = self.model.hidden(inputs, load=True)
        return self.loss(hidden, targets, weights) / weight, None if load is None else load.counts

    def _loss(self, hidden: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return weighted_loss(self.model.logits(hidden).flatten(0, 1), targets.flatten(), weights.flatten())

    @torch.no_grad()
    def validate(self, length: int = 1024) -> float:
        """Mean loss on held-out text, nats per token, in windows of `length`."""
        with torch.compiler.set_stance("force_eager"):  # too few batches to pay for a compilation
            return self._validate(length)

    def _validate(self, length: int) -> float:
        count = min(self.recipe.validation_tokens, len(self.validation) - 1) // length
        total = 0.0
        for first in range(0, count, 32):
            size = min(32, count - first)
            piece = self.validation[first * length : (first + size) * length + 1].astype(np.int64)
            both = torch.from_numpy(piece).to(self.device)
            hidden, _ = self.model.hidden(both[:-1].view(size, length))
            logits = self.model.logits(hidden).flatten(0, 1)
            total += float(weighted_loss(logits, both[1:], torch.ones_like(both[1:], dtype=torch.float32)))
        return round(total / max(count * length, 1), 4)

    def save(self) -> None:
        """Everything that the next step depends on, written so that a kill leaves the old or the new file."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state(),
            "position": (self.stage, self.step, self.seconds),
            "random": torch.get_rng_state(),
        }
        partial = self.out / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.out / "checkpoint.pt")

    def restore(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load(state["optimizer"])
        self.stage, self.step, self.seconds = state["position"]
        torch.set_rng_state(state["random"].cpu())

    def _log(self, entry: dict[str, Any]) -> None:
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
        if entry["event"] != "start":
            print(json.dumps(entry), flush=True)


def expert_load(counts: Tensor) -> list[float]:
    """Of each routed layer, the busiest expert's tokens over the mean, less 1: counts [layers, E]."""
    load: NDArray[np.float32] = (counts.amax(1) / counts.float().mean(1) - 1).cpu().numpy()
    return [round(float(one), 3) for one in load]
