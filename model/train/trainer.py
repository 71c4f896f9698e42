"""The training loop: stages, schedule, balancing, log and checkpoints that resume exactly, in one process or several.

Knows nothing about where text and questions come from; it reads packed tokens through `streams`.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM, parameter_counts, update_router_biases
from model.mtp import MultiTokenPredictor
from model.saving import save_model
from model.train.batches import Batch, Stream, TextStream
from model.train.corpus import load_packed
from model.train.evaluate import evaluate_needles, evaluate_text
from model.train.extension import extend
from model.train.group import Group
from model.train.needles import NeedleStream
from model.train.objective import Losses, Piece, losses, piece
from model.train.optimizer import Optimizer
from model.train.recipe import Recipe, Stage
from model.train.runlog import Entry, RunLog
from model.train.streams import open_stream

_ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""In this order on a GPU: cuDNN's takes keys wider than values as they are, and is the fastest (docs/LOG.md)."""

_SHAPES = 24
"""Micro-batches of a stage among which all its shapes occur."""

_NEEDLE_TOKENS = 524_288
"""Tokens in which hidden facts are looked for at the end of a stage."""

Sampler = Callable[[DeepseekForCausalLM], list[dict[str, str]]]
"""Continues some texts, for the log."""


def schedule(stage: Stage, progress: float) -> float:
    """Factor on the learning rates after `progress` (0 to 1) of a stage: warm-up, plateau, linear decay."""
    rise = min(progress / stage.warmup, 1.0) if stage.warmup else 1.0
    fall = min((1 - progress) / stage.decay, 1.0) if stage.decay else 1.0
    return max(min(rise, stage.floor + (1 - stage.floor) * max(fall, 0.0)), 1e-3)


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


class Trainer:
    """One run over the stages of a recipe.

    :param data: folder with the packed corpus (`*.u16`) and, for stages that need them, `rows/` and `tokenizer.json`.
    :param out: receives `log.jsonl`, the weights after each stage in BF16 (`stages/`), and `checkpoint.pt`, from which
        a run of the same recipe goes on.
    :param initial: folder of a model to start from, instead of random weights.
    :param group: the processes that train together; this one alone where there is none.
    :param rows_ready: waits for `rows/`, called when a stage needs them.
    :param sampler: makes the entries `sample` of the log.
    :param observe: is told every entry of the log, in the first process.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        out: Path,
        device: torch.device,
        initial: Path | None = None,
        group: Group | None = None,
        rows_ready: Callable[[], None] = lambda: None,
        sampler: Sampler | None = None,
        observe: Callable[[Entry], None] = lambda entry: None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.out, self.device = recipe, data, out, device
        self.group, self.rows_ready, self.sampler, self.observe = group or Group(), rows_ready, sampler, observe
        out.mkdir(parents=True, exist_ok=True)
        self.log = RunLog(out)
        self.model = DeepseekForCausalLM(recipe.config(), torch.bfloat16 if device.type == "cuda" else None)
        self.model.init_weights(torch.Generator().manual_seed(recipe.seed))
        if initial is not None:
            self.model.load_state_dict(load_model(initial, torch.float32, torch.device("cpu")).state_dict())
        self.model.to(device)
        self.optimizer = Optimizer(self.model)
        self.piece: Piece = piece
        self.compiled = device.type == "cuda" and recipe.compile
        if self.compiled:
            torch._dynamo.config.recompile_limit = 128  # shapes of all stages
            for layer in [*self.model.model.layers, *(cast(MultiTokenPredictor, one).block for one in self.model.mtp)]:
                layer.compile(dynamic=False)
            self.piece = torch.compile(piece, dynamic=False)
        self.text = load_packed(data)
        self.validation = np.fromfile(data / "validation.u16", dtype=np.uint16)
        self.stage, self.step, self.seconds = 0, 0, 0.0
        if (out / "checkpoint.pt").exists():
            self.restore()

    def run(self, until: float | None = None) -> bool:
        """Train, and return whether all stages are done; not so where the monotonic clock passed `until` before."""
        total, active = parameter_counts(self.model)
        described = {"recipe": asdict(self.recipe), "model": asdict(self.model.config)}
        self._log({"event": "start", "parameters": total, "active": active, "device": _name(self.device)} | described)
        self._extend()
        with self._attention():
            while self.stage < len(self.recipe.stages):
                stage = self.recipe.stages[self.stage]
                if not self._run_stage(stage, until):
                    return False
                if self.group.first:
                    save_model(self.model, self.out / "stages" / stage.name)
                self.stage, self.step, self.seconds = self.stage + 1, 0, 0.0
                self.save()
        return True

    def _run_stage(self, stage: Stage, until: float | None) -> bool:
        self._extend()
        self.model.recompute = stage.recompute
        stream = open_stream(self.recipe, self.stage, self.text, self.data, self.rows_ready)
        micro = max(stage.tokens // stage.micro_tokens, 1)
        self.group.check_share(micro, stage.name)
        if self.compiled:
            self._compile(stage, stream)
        began = time.monotonic() - self.seconds
        since = _Since(time.monotonic())
        while True:
            # 1. How far the stage is, and with it the learning rates. All processes go by the first one's clock.
            now = self.group.agree(time.monotonic() - began, self.device)
            progress = self.step / stage.steps if stage.steps else now / stage.seconds
            if progress >= 1:
                break
            if until is not None and self.group.agree(float(time.monotonic() > until), self.device):
                self.seconds = now
                self.save()
                return False
            factor = schedule(stage, progress)
            # 2. Gradients of the mean loss over all weighted tokens of the step.
            numbers = range(self.step * micro + self.group.rank, (self.step + 1) * micro, self.group.size)
            batches = [stream.batch(number) for number in numbers]
            part = self._gradients(stage, batches)
            # 3. Update weights, then the selection biases from what the experts received.
            norm = self.optimizer.step(factor * stage.muon_rate, factor * stage.adam_rate, stage.weight_decay)
            if part.counts is not None:
                update_router_biases(self.model, self.group.add(part.counts), factor * stage.bias_speed)
            self.step += 1
            since.add(self.group.size * sum(batch.inputs.size for batch in batches), part)
            # 4. Log and keep.
            if self.step % self.recipe.log_every == 0:
                self._log_step(stage, since, factor, float(norm), time.monotonic() - began)
                since = _Since(time.monotonic())
            if self.step % self.recipe.sample_every == 0:
                self._sample(stage)
            if self.step % self.recipe.checkpoint_every == 0:
                self.seconds = time.monotonic() - began
                self.save()
        if self.group.first:
            self._log(
                {
                    "event": "stage",
                    "stage": stage.name,
                    "step": self.step,
                    "seconds": round(time.monotonic() - began, 1),
                }
                | self.validate()
                | self._find_needles(stage)
            )
        self._sample(stage)
        return True

    def _gradients(self, stage: Stage, batches: list[Batch]) -> Losses:
        """Leave the gradients of one step; its losses per weighted token, over this process's micro-batches."""
        weight = torch.tensor(sum(float(batch.weights.sum()) for batch in batches), device=self.device)
        weight = self.group.add(weight)
        text, drafts = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        counts: Tensor | None = None
        for batch in batches:
            part = self._forward(stage, batch, weight)
            (part.text + stage.draft_weight * part.drafts).backward()  # type: ignore[no-untyped-call]
            text, drafts = text + part.text.detach(), drafts + part.drafts.detach()
            counts = part.counts if counts is None or part.counts is None else counts + part.counts
        self.group.add_gradients(self.model.parameters())
        return Losses(text, drafts, counts)

    def _forward(self, stage: Stage, batch: Batch, weight: Tensor) -> Losses:
        inputs, targets, weights = (
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (batch.inputs, batch.targets, batch.weights)
        )
        return losses(self.model, inputs, targets, weights / weight, stage.apart, self.piece)

    def _compile(self, stage: Stage, stream: Stream) -> None:
        """Compile all shapes of a stage before its clock runs; nothing of this is learned."""
        shapes = {batch.inputs.shape: batch for batch in (stream.batch(number) for number in range(_SHAPES))}
        for batch in shapes.values():
            part = self._forward(stage, batch, torch.ones((), device=self.device))
            (part.text + stage.draft_weight * part.drafts).backward()  # type: ignore[no-untyped-call]
        for parameter in self.model.parameters():
            parameter.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def _extend(self) -> None:
        """The window and YaRN that hold in the present stage (after the last one, in that)."""
        reached = self.recipe.stages[: self.stage + 1]
        window = max([self.recipe.config().max_position_embeddings, *(stage.length for stage in reached)])
        given = [stage.yarn for stage in reached if stage.yarn is not None]
        extend(self.model, window, given[-1] if given else self.recipe.config().yarn)

    def _attention(self) -> AbstractContextManager[Any]:
        chosen: AbstractContextManager[Any] = sdpa_kernel(_ATTENTION, set_priority=True)
        return chosen if self.device.type == "cuda" else nullcontext()

    # --- What is logged

    def _log_step(self, stage: Stage, since: _Since, factor: float, norm: float, seconds: float) -> None:
        both = self.group.add(torch.stack([torch.as_tensor(since.text), torch.as_tensor(since.drafts)])) / since.steps
        rate = since.tokens / max(time.monotonic() - since.began, 1e-9)
        text, drafts = (round(float(one), 4) for one in both)
        busiest, idlest = expert_load(since.counts) if isinstance(since.counts, Tensor) else ([], [])
        self._log(
            {
                "event": "step",
                "stage": stage.name,
                "step": self.step,
                "loss": text,
                "draft_loss": drafts if len(self.model.mtp) else None,
                "norm": round(norm, 3),
                "rate": round(factor, 4),
                "muon_rate": round(factor * stage.muon_rate, 7),
                "tokens_per_second": round(rate),
                "load": busiest,
                "least": idlest,
                "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if self.device.type == "cuda" else None,
                "seconds": round(seconds, 1),
                "left": round(self._left(stage, seconds, rate)),
            }
        )

    def _left(self, stage: Stage, seconds: float, rate: float) -> float:
        """Seconds until the last stage is done, if later stages are as fast as this one."""
        here = stage.seconds - seconds if stage.seconds else seconds / self.step * (stage.steps - self.step)
        later = self.recipe.stages[self.stage + 1 :]
        return here + sum(one.seconds or one.steps * one.tokens / rate for one in later)

    def _sample(self, stage: Stage) -> None:
        if self.sampler is None or not self.group.first:
            return
        with torch.compiler.set_stance("force_eager"):
            samples = self.sampler(self.model)
        self._log({"event": "sample", "stage": stage.name, "step": self.step, "samples": samples})

    def validate(self) -> dict[str, float]:
        """Held-out text, as `evaluate_text` measures it."""
        return evaluate_text(self.model, self.validation, self.recipe.validation_length, self.recipe.validation_tokens)

    def _find_needles(self, stage: Stage) -> dict[str, float]:
        """How many hidden facts the model finds in windows of the stage's length, where it was to learn that."""
        if not stage.needle_share:
            return {}
        text = TextStream(self.text, stage.length, stage.length, self.recipe.seed)
        batches = max(_NEEDLE_TOKENS // stage.length, 2)
        stream = NeedleStream(text, self.data / "tokenizer.json", self.recipe.seed)
        return evaluate_needles(self.model, stream, min(batches, 32))

    def _log(self, entry: Entry) -> None:
        if self.group.first:
            self.log.write(entry)
            self.observe(entry)

    # --- Checkpoints

    def save(self) -> None:
        """Everything that the next step depends on, written so that a kill leaves the old or the new file."""
        if self.group.first:
            state: dict[str, Any] = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state(),
                "position": (self.stage, self.step, self.seconds),
                "random": torch.get_rng_state(),
            }
            partial = self.out / "checkpoint.partial"
            torch.save(state, partial)
            partial.replace(self.out / "checkpoint.pt")
        self.group.wait()

    def restore(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load(state["optimizer"])
        self.stage, self.step, self.seconds = state["position"]
        torch.set_rng_state(state["random"].cpu())
        if self.group.first:
            self.log.go_back([stage.name for stage in self.recipe.stages], self.stage, self.step)


def expert_load(counts: Tensor) -> tuple[list[float], list[float]]:
    """Of each routed layer, the busiest expert's tokens over the mean, less 1, and the idlest one's over the mean.

    counts [layers, E]; a predictor's block comes last.
    """
    mean = counts.float().mean(1)
    both: NDArray[np.float32] = torch.stack([counts.amax(1) / mean - 1, counts.amin(1) / mean]).cpu().numpy()
    busiest, idlest = ([round(float(one), 3) for one in row] for row in both)
    return busiest, idlest


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
