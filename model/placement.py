"""Where and how a checkpoint is run: device, dtype, window and capabilities. Knows nothing about generation."""

from pathlib import Path
from typing import Any, Literal, get_args

import torch

from model.config import Config
from model.deepseek import DeepseekForCausalLM, parameter_counts
from model.engine import Capability
from model.errors import BadCheckpoint, UnfitSetting
from model.files import as_path, read_object
from model.settings import ModelSettings
from model.tokenizer import Tokenizer, has_chat_template

_SMALL_MODEL = 1 << 30
"""Parameters up to which `auto` computes in float32 on a CPU: its matrix-vector products are faster there, and the
memory does not matter."""

_ENGINE_CAPABILITIES: frozenset[Capability] = frozenset({"score", "choice", "json_schema", "grammar", "prefix"})


def count_parameters(config: Config) -> tuple[int, int]:
    """Total and active parameters, without allocating any."""
    with torch.device("meta"):
        return parameter_counts(DeepseekForCausalLM(config))


def adapter_folder(settings: ModelSettings) -> Path | None:
    """Folder of the LoRA adapter, if there is one."""
    return None if settings.adapter is None else as_path(settings.adapter)


def choose_device(name: str) -> torch.device:
    """The device that `name` (`auto`, `cpu`, `cuda`, `cuda:N`) means here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UnfitSetting(f"There is no device {name!r}.", "Set model.device to auto, cpu, cuda or cuda:N.") from None
    if device.type not in ("cpu", "cuda"):
        raise UnfitSetting(
            f"The torch engine does not run on {name!r}.", "Set model.device to auto, cpu, cuda or cuda:N."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnfitSetting(f"There is no GPU for {name!r}.", "Set model.device to auto or cpu.")
    return device


def choose_dtype(name: str, parameters: int, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" and parameters <= _SMALL_MODEL else torch.bfloat16
    return torch.float32 if name == "float32" else torch.bfloat16


def choose_drafts(asked: int | Literal["auto"], predictors: int) -> int:
    """Tokens to draft before each pass of a checkpoint with so many prediction layers."""
    if asked == "auto":
        return min(1, predictors)
    if asked and not predictors:
        raise UnfitSetting("The checkpoint has no layers that predict ahead.", "Leave model.speculate at auto.")
    return asked


def choose_chunk(active_parameters: int, device: torch.device) -> int:
    """Tokens read between two chances to cancel: large ones are faster, but a CPU takes long over a large model's."""
    if device.type != "cpu":
        return 8192 if active_parameters <= 5_000_000_000 else 2048  # of a larger model, that many take gigabytes
    return 1024 if is_small(active_parameters) else 64


def is_small(active_parameters: int) -> bool:
    """Whether a CPU core reads hundreds of tokens of the model in a second."""
    return active_parameters <= 100_000_000


def choose_context(asked: int | None, config: Config) -> int:
    """The window in tokens: what was asked for, within what the model was made for."""
    made_for = config.max_position_embeddings
    if asked is not None and asked > made_for:
        raise UnfitSetting(f"The model was made for {made_for} tokens, not {asked}.", "Lower model.context.")
    return made_for if asked is None else asked


def read_card(folder: Path) -> dict[str, Any]:
    """`loci.json`: the name and capabilities that this project's own models carry; empty for other checkpoints."""
    return read_object(folder / "loci.json")


def read_capabilities(folder: Path) -> frozenset[Capability]:
    """What the model in `folder` is for: as its `loci.json` says, else chat where it has a chat template."""
    declared = read_card(folder).get("capabilities")
    if declared is None:
        return _ENGINE_CAPABILITIES | ({"chat"} if has_chat_template(folder) else frozenset())
    known: tuple[Capability, ...] = get_args(Capability)
    if not isinstance(declared, list):
        raise BadCheckpoint(
            f"{folder / 'loci.json'} gives no list of capabilities.", f"Name some of {', '.join(known)}."
        )
    if unknown := [name for name in declared if name not in known]:
        raise BadCheckpoint(
            f"{folder / 'loci.json'} names unknown capabilities: {', '.join(map(str, unknown))}.",
            f"Known are {', '.join(known)}.",
        )
    return frozenset(name for name in known if name in declared)


def end_tokens(folder: Path, config: Config, tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that end an answer: of config.json, generation_config.json and the tokenizer together."""
    generation = read_object(folder / "generation_config.json").get("eos_token_id")
    more = generation if isinstance(generation, list) else [generation]
    found = [*config.eos_token_ids, *more, tokenizer.eos_id]
    return frozenset(token for token in found if isinstance(token, int) and 0 <= token < tokenizer.vocab_size)
