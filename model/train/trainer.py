"""The training loop: stages, schedule, balancing, log and checkpoints that resume exactly, in one process or several.

Knows nothing about where text and questions come from; it reads packed tokens through `streams`.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM, parameter_counts
from model.errors import BadRecipe
from model.mtp import MultiTokenPredictor
from model.saving import save_model
from model.train.ahead import Ahead
from model.train.batches import TextStream
from model.train.corpus import load_packed
from model.train.evaluate import evaluate_answers, evaluate_needles, evaluate_text
from model.train.extension import extend
from model.train.group import Group
from model.train.mean import mean_model
from model.train.needles import NeedleStream
from model.train.objective import Piece, piece
from model.train.optimizer import Optimizer
from model.train.policy_stage import PolicyStage
from model.train.recipe import Recipe, Stage
from model.train.rows import HELD_OUT
from model.train.runlog import Entry, RunLog
from model.train.streams import open_again, open_questions, open_stream
from model.train.supervised import Supervised

_ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""In this order on a GPU: cuDNN's takes keys wider than values as they are, and is the fastest (docs/LOG.md)."""

_NEEDLE_TOKENS = 524_288
"""Tokens in which hidden facts are looked for at the end of a stage."""

Sampler = Callable[[DeepseekForCausalLM], list[dict[str, str]]]
"""Continues some texts, for the log."""


def schedule(stage: Stage, progress: float) -> float:
    """Factor on the learning rates after `progress` (0 to 1) of a stage: warm-up, plateau, linear decay."""
    rise = min(progress / stage.warmup, 1.0) if stage.warmup else 1.0
    fall = min((1 - progress) / stage.decay, 1.0) if stage.decay else 1.0
    return max(min(rise, stage.floor + (1 - stage.floor) * max(fall, 0.0)), 1e-3)


class Work(Protocol):
    """What a stage does: `Supervised`, or `PolicyStage`. A step is counted from 0."""

    def measure(self, number: int) -> Entry | None:
        """What is to be logged about held-out questions before step `number`, the end of the stage apart."""
        ...

    def step(self, number: int, factor: float) -> float:
        """One step, with the learning rates times `factor`; the norm of its gradients."""
        ...

    def entry(self) -> Entry:
        """What the steps since the last call come to, and `tokens_per_second`."""
        ...

    def finish(self) -> Entry:
        """Called after the last step; what is to be logged about the stage."""
        ...

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint has to hold beside the model, its optimizer, and the number of the step."""
        ...


class Trainer:
    """One run over the stages of a recipe.

    :param data: folder with the packed corpus (`*.u16`) and, for stages that need them, `rows/` and `tokenizer.json`.
    :param out: receives `log.jsonl`, the weights after each stage in BF16 (`stages/`), and `checkpoint.pt`, from which
        a run of the same recipe goes on; where there is none, it goes on after the last stage whose weights are there,
        with an optimizer that knows nothing of it.
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
            self._begin_with(initial)
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
        self.work: Work | None = None
        self.saved: dict[str, Any] | None = None
        """Of the work that a checkpoint interrupted"""
        if (out / "checkpoint.pt").exists():
            self.restore()
        elif done := [number for number, stage in enumerate(recipe.stages) if self._kept(stage.name).exists()]:
            self._begin_with(self._kept(recipe.stages[done[-1]].name))
            self.stage = done[-1] + 1
            self._forget_later()
        wanted = {name for stage in recipe.stages[self.stage :] for name in stage.of}
        passed = [stage.name for stage in recipe.stages[: self.stage]]
        if lost := [name for name in passed if name in wanted and not self._kept(name).exists()]:
            raise BadRecipe(
                f"A later stage is the mean of {', '.join(lost)}, which {out / 'stages'} has not kept.",
                "Put the weights back, or train in another folder.",
            )

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
                    self._keep(stage.name)
                self.stage, self.step, self.seconds = self.stage + 1, 0, 0.0
                self.save()
        return True

    def _run_stage(self, stage: Stage, until: float | None) -> bool:
        self._extend()
        if stage.data == "mean":
            self._load(mean_model([self._kept(name) for name in stage.of]).state_dict(), self._kept(stage.of[0]))
            self.optimizer = Optimizer(self.model)
            if self.group.first:
                self._log({"event": "stage", "stage": stage.name, "step": 0, "seconds": 0.0} | self.validate())
            return True
        self.model.recompute = stage.recompute
        work = self.work = self._open(stage)
        began = time.monotonic() - self.seconds
        if self.step == 0:
            self._measure(stage, work)
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
            # 2. Learn.
            factor = schedule(stage, progress)
            norm = work.step(self.step, factor)
            self.step += 1
            # 3. Log and keep.
            if self.step % self.recipe.log_every == 0:
                self._log_step(stage, work.entry(), factor, norm, time.monotonic() - began)
            if self.step % self.recipe.sample_every == 0:
                self._sample(stage)
            self._measure(stage, work)
            if self.step % self.recipe.checkpoint_every == 0:
                self.seconds = time.monotonic() - began
                self.save()
        found = work.finish()
        self.work = None
        if self.group.first:
            self._log(
                {
                    "event": "stage",
                    "stage": stage.name,
                    "step": self.step,
                    "seconds": round(time.monotonic() - began, 1),
                }
                | found
                | self.validate()
                | self._find_needles(stage)
            )
        self._sample(stage)
        return True

    def _open(self, stage: Stage) -> Work:
        if stage.data == "policy":
            questions, held_out = open_questions(self.recipe, self.stage, self.data, self.rows_ready)
            saved = self.saved if self.step else None
            seed = self.recipe.seed * 1000 + self.stage
            return PolicyStage(self.model, stage, questions, held_out, seed, self.group, saved)
        stream = open_stream(self.recipe, self.stage, self.text, self.data, self.rows_ready)
        if self.device.type == "cuda":  # on a CPU the arithmetic is what takes time
            stream = Ahead(partial(open_again, self.recipe, self.stage, self.data), self.group.size)
        return Supervised(self.model, self.optimizer, stage, stream, self.group, self.device, self.piece, self.compiled)

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

    def _log_step(self, stage: Stage, found: Entry, factor: float, norm: float, seconds: float) -> None:
        self._log(
            {"event": "step", "stage": stage.name, "step": self.step}
            | found
            | {
                "norm": round(norm, 3),
                "rate": round(factor, 4),
                "muon_rate": round(factor * stage.muon_rate, 7),
                "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if self.device.type == "cuda" else None,
                "seconds": round(seconds, 1),
                "left": round(self._left(stage, seconds, found["tokens_per_second"])),
            }
        )

    def _measure(self, stage: Stage, work: Work) -> None:
        if (found := work.measure(self.step)) is not None:
            self._log({"event": "reward", "stage": stage.name, "step": self.step} | found)

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

    def _answers(self, stage: Stage) -> dict[str, float]:
        """Held-out questions, where the stage's rows, or its policy, could have been learned by heart."""
        folder = self.data / "rows" / HELD_OUT
        asked = stage.data != "text" or stage.row_share
        return evaluate_answers(self.model, folder) if asked and folder.exists() else {}

    def _log(self, entry: Entry) -> None:
        if self.group.first:
            self.log.write(entry)
            self.observe(entry)

    # --- Checkpoints

    def _kept(self, stage: str) -> Path:
        return self.out / "stages" / stage

    def _keep(self, stage: str) -> None:
        """The weights after a stage, whole or not at all."""
        partial, kept = self._kept(f".{stage}"), self._kept(stage)
        save_model(self.model, partial)
        shutil.rmtree(kept, ignore_errors=True)
        partial.rename(kept)

    def _begin_with(self, folder: Path) -> None:
        self._load(load_model(folder, torch.float32, torch.device("cpu")).state_dict(), folder)

    def _load(self, weights: dict[str, Any], source: Path) -> None:
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise BadRecipe(
                f"{source} holds a model of another shape than the recipe's.", "Name another folder, or that shape."
            ) from error

    def save(self) -> None:
        """Everything that the next step depends on, written so that a kill leaves the old or the new file."""
        if self.group.first:
            state: dict[str, Any] = {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state(),
                "work": None if self.work is None else self.work.state(),
                "position": (self.stage, self.step, self.seconds),
                "random": torch.get_rng_state(),
            }
            partial = self.out / "checkpoint.partial"
            torch.save(state, partial)
            partial.replace(self.out / "checkpoint.pt")
        self.group.wait()

    def restore(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", map_location=self.device, weights_only=True)
        self._load(state["model"], self.out / "checkpoint.pt")
        self.optimizer.load(state["optimizer"])
        self.saved = state["work"]
        self.stage, self.step, self.seconds = state["position"]
        torch.set_rng_state(state["random"].cpu())
        self._forget_later()

    def _forget_later(self) -> None:
        """What the log holds beyond the step from which this run goes on."""
        if self.group.first:
            self.log.go_back([stage.name for stage in self.recipe.stages], self.stage, self.step)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
