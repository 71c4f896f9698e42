"""PEFT LoRA adapters, to be merged into the weights as these are read: W + scale * B @ A (Hu et al., 2021).

What an adapter may ask for beyond that (biases, whole modules, DoRA, starts that change the base weights) is refused
by name. Knows nothing about models.

N rows and K columns of a weight, r rank, E experts, D hidden width, F expert width.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.config import Config
from model.errors import BadCheckpoint, UnsupportedAdapter
from model.files import is_number, read_object
from model.tensors import quantizable

SETTINGS = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_MEND = "Save the adapter with PEFT again."

# What is read, what the weights show by themselves, training, and bookkeeping.
_INERT = frozenset(
    {
        "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "target_parameters",
        "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "task_type", "inference_mode",
        "base_model_name_or_path", "revision", "auto_mapping", "peft_version", "megatron_core", "megatron_config",
        "qalora_group_size", "eva_config", "runtime_config", "ensure_weight_tying",
    }
)  # fmt: skip

# Keys with the only values that are merged; of any other key, only empty values and False. Some starts (PiSSA, OLoRA,
# CorDA, LoftQ) move part of the base weights into the adapter, which then fits changed weights only.
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian", "eva", "orthogonal"),
}


class Factors(NamedTuple):
    """What an adapter adds to one weight."""

    a: Tensor
    """[r, K]"""
    b: Tensor
    """[N, r]"""
    scale: float

    def delta(self, device: torch.device) -> Tensor:
        """float32 [N, K]"""
        return self.scale * (self.b.to(device, torch.float32) @ self.a.to(device, torch.float32))


def read_adapter(folder: Path, config: Config) -> dict[str, Factors]:
    """What the adapter in `folder` adds, by the published names of the weights.

    Experts may be adapted one by one, as layers of their own, or stacked, as transformers 5 holds them.

    :raises UnsupportedAdapter: naming every setting and tensor that is not merged.
    :raises BadCheckpoint: files are missing, damaged or do not fit together.
    """
    settings = _read_settings(folder)
    pairs: dict[str, dict[str, Tensor]] = {}
    refused = []
    for name, tensor in _read_weights(folder).items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None:
            refused.append(name)
        else:
            pairs.setdefault(match[1], {})[match[2]] = tensor
    found: dict[str, Factors] = {}
    for path, pair in pairs.items():
        if len(pair) < 2 or any(one.ndim != 2 or not one.is_floating_point() for one in pair.values()):
            raise BadCheckpoint(f"{folder / WEIGHTS} holds no lora_A and lora_B, both matrices, for {path}.", _MEND)
        if not len(pair["A"]):
            raise BadCheckpoint(f"{folder / WEIGHTS} has factors of rank 0 for {path}.", _MEND)
        stack = re.fullmatch(r"(.+\.mlp\.experts)(?:\.base_layer)*", path)
        if stack is not None:
            found |= _unstack(stack[1], pair["A"], pair["B"], config, settings, folder)
        elif quantizable(f"{path}.weight"):
            found[f"{path}.weight"] = Factors(pair["A"], pair["B"], _scale(settings, path, len(pair["A"])))
        else:
            refused.append(path)
    if not pairs and not refused:
        raise BadCheckpoint(f"{folder / WEIGHTS} holds no lora_A and lora_B.", "Train or download it again.")
    if refused:
        raise UnsupportedAdapter(
            f"{folder / WEIGHTS} changes more than projections of attention, MLPs and experts: {', '.join(refused)}.",
            "Train an adapter without these targets.",
        )
    return found


def check_targets(adapter: Mapping[str, Factors], expected: Mapping[str, Tensor], folder: Path) -> None:
    """Compare with the shapes of the weights.

    :raises BadCheckpoint: naming every weight that the model lacks or that is of another shape.
    """
    problems = []
    for name, factors in adapter.items():
        shape = [len(factors.b), factors.a.shape[1]]
        if name not in expected:
            problems.append(f"the model has no {name}")
        elif shape != list(expected[name].shape) or factors.b.shape[1] != len(factors.a):
            problems.append(
                f"{name} is {list(expected[name].shape)}, not {list(factors.b.shape)} times {list(factors.a.shape)}"
            )
    if problems:
        raise BadCheckpoint(
            f"The adapter in {folder} does not fit the model: " + "; ".join(problems) + ".",
            "Check which model it was trained on.",
        )


def _read_settings(folder: Path) -> dict[str, Any]:
    file = folder / SETTINGS
    if not file.exists():
        raise BadCheckpoint(f"{folder} has no {SETTINGS}.", "Name the folder of a PEFT adapter.")
    settings = read_object(file)
    refused = [
        f"{key} = {value!r}"
        for key, value in settings.items()
        if (value not in _REQUIRED[key] if key in _REQUIRED else key not in _INERT and value)
    ]
    if refused:
        raise UnsupportedAdapter(
            f"{file} asks for what is not merged: {'; '.join(refused)}.", "Plain LoRA and rank-stabilised LoRA are."
        )
    if not is_number(settings.get("lora_alpha")):
        raise BadCheckpoint(f"{file} gives no lora_alpha.", _MEND)
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(_is_pattern(key) and is_number(patterns[key]) for key in patterns):
        raise BadCheckpoint(f"{file} has an alpha_pattern that is none: {patterns!r}.", _MEND)
    return settings


def _ends_with(pattern: str) -> str:
    """An expression for what ends with `pattern`, at the beginning of a name in its path."""
    return rf"(.*\.)?({pattern})$"


def _is_pattern(text: str) -> bool:
    try:
        re.compile(_ends_with(text))
    except re.error:
        return False
    return True


def _read_weights(folder: Path) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    if not file.exists():
        raise BadCheckpoint(f"{folder} has no {WEIGHTS}.", "Only safetensors weights are read.")
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{file} is damaged or incomplete: {error}.", "Download or copy it again.") from error


def _scale(settings: Mapping[str, Any], path: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) where rank-stabilised (Kalajdzievski, 2023); alpha by the first pattern that fits.

    The rank is that of the weights, which `rank_pattern` only repeats.
    """
    alphas = (settings.get("alpha_pattern") or {}).items()
    alpha = next((alpha for key, alpha in alphas if re.match(_ends_with(key), path)), settings["lora_alpha"])
    return float(alpha / (rank**0.5 if settings.get("use_rslora") else rank))


def _unstack(
    prefix: str, a: Tensor, b: Tensor, config: Config, settings: Mapping[str, Any], folder: Path
) -> Iterator[tuple[str, Factors]]:
    """Factors of each expert from those of a stack: a [E * r, K], experts outermost; b [N, r * E], experts innermost.

    Names do not say which of the two stacks is meant, but shapes do: `gate_up_proj` is [2F, D], `down_proj` [D, F].
    """
    experts, hidden, inner = config.n_routed_experts, config.hidden_size, config.moe_intermediate_size
    shape = (len(b), a.shape[1])
    if shape not in ((2 * inner, hidden), (hidden, inner)) or len(a) != b.shape[1] or len(a) % max(experts, 1):
        raise BadCheckpoint(
            f"The adapter in {folder} does not fit the model: lora_A {list(a.shape)} and lora_B {list(b.shape)} of "
            f"{prefix} are of none of its stacks.",
            "Check which model it was trained on.",
        )
    stack = "down_proj" if shape == (hidden, inner) else "gate_up_proj"
    rank = len(a) // experts
    scale = _scale(settings, f"{prefix}.{stack}", rank)
    for expert in range(experts):
        own_a = a.view(experts, rank, -1)[expert]
        own_b = b.view(len(b), rank, experts)[:, :, expert]
        if stack == "down_proj":
            yield f"{prefix}.{expert}.down_proj.weight", Factors(own_a, own_b, scale)
        else:
            yield f"{prefix}.{expert}.gate_proj.weight", Factors(own_a, own_b[:inner], scale)
            yield f"{prefix}.{expert}.up_proj.weight", Factors(own_a, own_b[inner:], scale)
