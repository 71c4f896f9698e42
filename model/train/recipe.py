"""A training recipe: the model's dimensions and its stages, read from TOML. Unknown keys are refused."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from model.config import Config


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training on one kind of data, with its own learning-rate schedule."""

    name: str
    data: Literal["text", "rows"]
    """`text` reads the packed corpus in fixed windows; `rows` reads questions with answers, each row by itself."""
    steps: int = 0
    """Optimizer steps; 0 means until `seconds` have passed."""
    seconds: float = 0.0
    """Wall clock of the stage, for a machine that is lent by the minute; such a stage does not repeat exactly."""
    length: int = 1024
    """Tokens in a window of text."""
    tokens: int = 262_144
    """Tokens in an optimizer step."""
    micro_tokens: int = 65_536
    """Tokens in one forward pass."""
    row_share: float = 0.0
    """Share of text steps' micro-batches that are question rows instead (a curriculum)."""
    muon_rate: float = 4e-3
    adam_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup: float = 0.02
    """Share of the stage over which the rates rise."""
    decay: float = 1.0
    """Share of the stage, at its end, over which the rates fall linearly to `floor`."""
    floor: float = 0.0
    bias_speed: float = 0.004
    """Step of the selection bias of under- and overloaded experts, scaled with the learning rate."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines a training run, apart from the data."""

    model: dict[str, Any]
    """Fields of `model.config.Config`."""
    stages: tuple[Stage, ...]
    seed: int = 0
    validation_tokens: int = 131_072
    log_every: int = 20
    checkpoint_every: int = 500
    compile: bool = True
    """Compile each layer on a GPU."""

    def config(self) -> Config:
        values: dict[str, Any] = {"architecture": "deepseek_v3", "bos_token_id": 0, "eos_token_ids": (1,)}
        return Config(**(values | self.model))


def read_recipe(file: Path) -> Recipe:
    """The recipe in a TOML file.

    :raises ValueError: a key is unknown, or a stage has neither steps nor seconds.
    """
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    stages = tuple(_build(Stage, stage, f"{file}: stage") for stage in values.pop("stage", []))
    for stage in stages:
        if bool(stage.steps) == bool(stage.seconds):
            raise ValueError(f"{file}: stage {stage.name} needs either steps or seconds.")
    recipe: Recipe = _build(Recipe, values | {"stages": stages}, str(file))
    recipe.config()
    return recipe


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    known = {one.name for one in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
    return kind(**values)
