"""A whole training run: prepare, train, export, measure. What the out folder holds is kept, and gone on from."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.checkpoint import load_model
from model.train.evaluate import evaluate_rows, evaluate_text
from model.train.export import export
from model.train.group import Group
from model.train.prepare import RowsBuilding, prepare
from model.train.ranks import run_ranks
from model.train.recipe import Recipe, read_recipe
from model.train.runlog import Entry
from model.train.samples import make_sampler
from model.train.trainer import Trainer

_OF_FRESH = 5
"""Rows for each one of questions that are left to policy optimisation."""

Observe = Callable[[Entry], None]
"""Is told every entry of the log, and `{"event": "note", "text": ...}` for what is not logged."""


@dataclass(frozen=True)
class Options:
    """Where a run reads and writes, and how much of the machine it takes."""

    recipe: Path
    corpus: Path
    out: Path
    """Receives log, checkpoint, the weights after each stage, and the model as it is published."""
    data: Path | None = None
    """Packed tokens and rows; `data` in `out` where None."""
    tokenizer: Path | None = None
    dropped: Path | None = None
    """List of `model.train.decontaminate`: what shares text with evaluation sets is left out."""
    initial: Path | None = None
    rows: int = 300_000
    workers: int = max((os.cpu_count() or 2) - 2, 1)
    evaluate: int = 900
    """Held-out question rows to measure at the end."""
    ranks: int = 1
    """Processes, one GPU each where there are GPUs."""
    stop_after: float | None = None
    """Seconds from the call on after which training stops at a checkpoint, for a machine that is lent by the minute."""

    @property
    def prepared(self) -> Path:
        return self.data or self.out / "data"


def train(options: Options, observe: Observe) -> bool:
    """Follow a recipe to its end, and return whether it came to it: not so if `stop_after` came first.

    :raises BadRecipe: recipe, corpus and tokenizer do not fit together.
    :raises TrainingFailed: a process that works beside this one ended too early.
    """
    until = None if options.stop_after is None else time.monotonic() + options.stop_after
    recipe = read_recipe(options.recipe)

    def say(text: str) -> None:
        observe({"event": "note", "text": text})

    prepare(recipe, options.corpus, options.prepared, options.workers, options.tokenizer, options.dropped, say)
    rows: RowsBuilding | None = None
    if recipe.needs_rows:
        fresh = any(stage.data == "policy" and stage.policy.fresh for stage in recipe.stages)
        count = options.rows // _OF_FRESH if fresh else 0
        rows = RowsBuilding(options.corpus, options.prepared, options.rows, options.workers, count)
    try:
        if options.ranks > 1:
            if rows is not None:
                rows.wait()
            return run_ranks(options, until, observe)
        return train_rank(options, recipe, Group(), _device(0), until, observe, rows)
    finally:
        if rows is not None:
            rows.close()


def train_rank(
    options: Options,
    recipe: Recipe,
    group: Group,
    device: torch.device,
    until: float | None,
    observe: Observe,
    rows: RowsBuilding | None = None,
) -> bool:
    """One process's part of a run whose data is prepared; the first one exports and measures."""
    tokenizer = options.prepared / "tokenizer.json"
    validation = np.fromfile(options.prepared / "validation.u16", dtype=np.uint16)
    trainer = Trainer(
        recipe,
        options.prepared,
        options.out,
        device,
        initial=options.initial,
        group=group,
        rows_ready=rows.wait if rows is not None else lambda: None,
        sampler=make_sampler(tokenizer, validation),
        observe=observe,
    )
    if not trainer.run(until):
        return False
    if group.first:
        observe({"event": "note", "text": "Writing the model and measuring it."})
        export(trainer.model, tokenizer, options.out / "model", recipe.name)
        _measure(options, recipe, trainer, tokenizer)
    group.wait()
    return True


def _measure(options: Options, recipe: Recipe, trainer: Trainer, tokenizer: Path) -> None:
    """Write `evaluation.json`: held-out text as trained and as exported, and held-out questions if rows were used."""
    from tokenizers import Tokenizer

    tokens, length = trainer.validation[: recipe.validation_tokens], recipe.validation_length
    characters = len(Tokenizer.from_file(str(tokenizer)).decode(tokens.tolist()))
    exported = load_model(options.out / "model", torch.bfloat16, trainer.device, keep_fp8=False)
    text = trainer.validate()
    nats = text["validation_nats_per_token"]
    text["exported_nats_per_token"] = evaluate_text(exported, tokens, length, len(tokens))["validation_nats_per_token"]
    text["characters_per_token"] = round(characters / len(tokens), 4)
    text["bits_per_character"] = round(nats / np.log(2) * len(tokens) / characters, 4)
    measured: dict[str, dict[str, float]] = {"text": text}
    if (options.prepared / "rows").exists() and options.evaluate:
        measured |= evaluate_rows(trainer.model, options.corpus, tokenizer, options.evaluate)
    (options.out / "evaluation.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def _device(rank: int) -> torch.device:
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
