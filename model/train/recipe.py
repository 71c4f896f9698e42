"""A training recipe: the model's dimensions and its stages, read from TOML. Unknown keys are refused."""

import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from model.config import Config, Yarn
from model.errors import BadRecipe, why
from model.train.rewards import RewardWeights, negative_weights

LONGEST_APART = 32_768
"""Tokens of a window whose mask still fits."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a stage of group-relative policy optimisation goes (see policy_stage.py)."""

    questions: int = 512
    """Questions of a round."""
    group: int = 16
    """Answers sampled to each of them."""
    updates: int = 2
    """Optimizer steps over a round, each on its share of the questions."""
    answer_tokens: int = 24
    """Tokens after which an answer is cut off; questions whose right answer is longer are left out."""
    clip: float = 0.2
    """Change of a token's probability, relative, beyond which nothing more is gained by it."""
    kl_weight: float = 0.01
    """Weight of the divergence from the model that the stage began with."""
    fresh: bool = True
    """Whether it asks questions that no other stage reads, about one real question in eleven; else all of theirs."""
    scaled: bool = False
    """Whether advantages are divided by their group's standard deviation."""
    measure_every: int = 25
    """Rounds after which the held-out questions are answered."""
    rewards: RewardWeights = field(default_factory=RewardWeights)
    """A table of `f1`, `passage`, `form` and `refusal`."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training on one kind of data, with its own learning-rate schedule."""

    name: str
    data: Literal["text", "rows", "policy", "mean"]
    """`text` reads the packed corpus in fixed windows; `rows` reads questions with answers, each row by itself;
    `policy` answers the questions of these rows and learns from what that is worth; `mean` takes the mean of the
    weights of earlier stages, and no time."""
    of: tuple[str, ...] = ()
    """The stages whose weights a `mean` is of; one that went on from another lies in the same basin (mean.py)."""
    steps: int = 0
    """Optimizer steps (rounds of a policy); 0 means until `seconds` have passed."""
    seconds: float = 0.0
    """Wall clock of the stage, for a machine that is lent by the minute; such a stage does not repeat exactly."""
    length: int = 1024
    """Tokens in a window of text; in the longest prompt of a policy."""
    tokens: int = 262_144
    """Tokens in an optimizer step."""
    micro_tokens: int = 65_536
    """Tokens in one forward pass."""
    row_share: float = 0.0
    """Share of text steps' micro-batches that are question rows instead (a curriculum)."""
    needle_share: float = 0.0
    """Share of all micro-batches that are text of `length` with hidden facts and questions about them."""
    apart: bool = False
    """Whether a token sees only its own document of a window. It takes a mask of `length` squared."""
    yarn: Yarn | None = None
    """From this stage on; a table of `factor`, `original_context` and the others. None changes nothing."""
    recompute: bool = False
    """Whether each layer is computed again for its gradients, for windows whose inner results do not fit."""
    policy: Policy = Policy()
    """A table, for `data = "policy"`."""
    draft_weight: float = 0.3
    """Weight of the predictors' loss (lambda of the V3 report's equation 25)."""
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
class Source:
    """Where training text comes from, for the model card."""

    name: str
    terms: str
    use: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines a training run, apart from the data."""

    model: dict[str, Any]
    """Fields of `model.config.Config`."""
    stages: tuple[Stage, ...]
    name: str = "Loci embedded MoE"
    licence: str = "apache-2.0"
    sources: tuple[Source, ...] = ()
    seed: int = 0
    validation_tokens: int = 131_072
    validation_length: int = 1024
    """Tokens of the windows in which held-out text is read."""
    log_every: int = 20
    checkpoint_every: int = 500
    sample_every: int = 500
    """Steps after which some texts are continued, to be looked at."""
    compile: bool = True
    """Compile each layer on a GPU."""

    @property
    def needs_rows(self) -> bool:
        """Whether a stage reads questions with answers."""
        return any(stage.data in ("rows", "policy") or stage.row_share for stage in self.stages)

    def config(self, where: str = "the recipe") -> Config:
        """:raises BadRecipe: a dimension is unknown, missing or of another type."""
        values: dict[str, Any] = {"architecture": "deepseek_v3", "bos_token_id": 0, "eos_token_ids": (1,)}
        config: Config = _build(Config, values | self.model, f"{where}: model")
        return config


def read_recipe(file: Path) -> Recipe:
    """The recipe in a TOML file.

    :raises BadRecipe: it is no TOML, a key is unknown or missing, or a stage cannot be as it says.
    :raises BadCheckpoint: the model's dimensions do not fit together.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRecipe(
            f"{file} cannot be read: {why(error)}.", "Name a recipe in TOML, such as those in model/train."
        ) from None
    stages = tuple(_stage(stage, str(file)) for stage in values.pop("stage", []))
    sources = tuple(_build(Source, source, f"{file}: source") for source in values.pop("source", []))
    recipe: Recipe = _build(Recipe, values | {"stages": stages, "sources": sources}, str(file))
    if len({stage.name for stage in stages}) < len(stages):
        raise BadRecipe(f"{file}: two stages have one name.", "Rename one: the log tells them apart by it.")
    for number, stage in enumerate(stages):
        if missing := sorted(set(stage.of) - {one.name for one in stages[:number]}):
            raise BadRecipe(
                f"{file}: stage {stage.name} is of {', '.join(missing)}, which does not come before it.", "Name others."
            )
    recipe.config(str(file))
    return recipe


def _stage(values: dict[str, Any], where: str) -> Stage:
    if "yarn" in values:
        values = values | {"yarn": _build(Yarn, values["yarn"], f"{where}: yarn")}
    if "policy" in values:
        terms = dict(values["policy"])
        if "rewards" in terms:
            terms["rewards"] = _build(RewardWeights, terms["rewards"], f"{where}: rewards")
        values = values | {"policy": _build(Policy, terms, f"{where}: policy")}
    stage: Stage = _build(Stage, values, f"{where}: stage")
    if not re.fullmatch(r"\w[\w .-]*", stage.name):
        raise BadRecipe(f"{where}: a stage is named {stage.name!r}.", "Use letters, digits, '-', '_', '.' and spaces.")
    if (stage.data == "mean") != bool(stage.of):
        raise BadRecipe(f"{where}: stage {stage.name} names stages in `of`, or is a mean, and not both.", "Mend it.")
    if stage.data != "mean" and bool(stage.steps) == bool(stage.seconds):
        raise BadRecipe(f"{where}: stage {stage.name} needs either steps or seconds.", "Give one of them.")
    if stage.apart and stage.length > LONGEST_APART:
        raise BadRecipe(
            f"{where}: stage {stage.name} keeps documents apart in windows of {stage.length} tokens.",
            f"The mask fits up to {LONGEST_APART}; leave `apart` out.",
        )
    if negative := negative_weights(stage.policy.rewards):
        raise BadRecipe(
            f"{where}: stage {stage.name} gives {', '.join(negative)} a weight below 0.", "Leave it out, or give it 0."
        )
    if stage.policy.questions % stage.policy.updates:
        raise BadRecipe(
            f"{where}: stage {stage.name} cannot share {stage.policy.questions} questions evenly among "
            f"{stage.policy.updates} updates.",
            "Change one of them.",
        )
    return stage


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    known = {one.name: one for one in fields(kind)}
    if unknown := sorted(set(values) - known.keys()):
        raise BadRecipe(f"{where}: unknown keys {', '.join(unknown)}.", f"Known are {', '.join(sorted(known))}.")
    needed = [name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    if missing := sorted(set(needed) - values.keys()):
        raise BadRecipe(f"{where}: {', '.join(missing)} is missing.", "Add it.")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))} ({one['input']!r}): {one['msg']}" for one in error.errors()]
        raise BadRecipe(f"{where}: {'; '.join(wrong)}.", "Correct it.") from None
