"""The model's tensors under their published names: routed experts one by one, predictors as layers after the last.

Knows nothing about files.
"""

import re
from collections.abc import Iterator

from torch import Tensor, nn

from model.deepseek import DeepseekForCausalLM
from model.moe import Experts, Router

SCALES = "_scale_inv"
"""Follows the name of an FP8 weight in the name of its scales."""


def published_modules(model: DeepseekForCausalLM) -> Iterator[tuple[str, nn.Module]]:
    """Every module under its name in files."""
    for path, module in model.named_modules():
        yield _published(path, model.config.num_hidden_layers), module


def named_tensors(model: DeepseekForCausalLM) -> dict[str, Tensor]:
    """The model's tensors under their names in files, as views: stacked experts appear one by one.

    Weights kept in FP8 are followed by their scales. Leaves out the output head where it is the embedding.
    """
    found: dict[str, Tensor] = {}
    for prefix, module in published_modules(model):
        if isinstance(module, Experts):
            found |= _expert_tensors(prefix, module)
            continue
        own = dict(module.named_parameters(recurse=False))
        found |= {f"{prefix}.{name}": parameter.data for name, parameter in own.items()}
        scales = getattr(module, "weight_scale_inv", None)
        if scales is not None:
            found[f"{prefix}.weight{SCALES}"] = scales
        if isinstance(module, Router) and model.config.sigmoid_router:
            found[f"{prefix}.e_score_correction_bias"] = module.e_score_correction_bias
    if model.config.tie_word_embeddings:
        del found["lm_head.weight"]
    return found


def is_projection(name: str) -> bool:
    """Whether `name` is the weight of a projection: of attention, MLPs, experts, or into a predictor."""
    return re.search(r"_proj(_with_mqa)?\.weight$", name) is not None


def quantizable(name: str) -> bool:
    """Whether FP8 checkpoints quantise this tensor: projections of attention and MLPs, and nothing else."""
    return is_projection(name) and not name.endswith(".eh_proj.weight")


def _published(path: str, layers: int) -> str:
    """A module's name in files: predictor k is layer `layers` + k, its block's parts and its own side by side."""
    match = re.fullmatch(r"mtp\.(\d+)(?:\.(.+))?", path)
    if match is None:
        return path
    own = re.sub(r"^block(\.|$)", "", match[2] or "")
    own = "shared_head.norm" if own == "norm" else own
    return f"model.layers.{layers + int(match[1])}.{own}".rstrip(".")


def _expert_tensors(prefix: str, module: Experts) -> Iterator[tuple[str, Tensor]]:
    inner = module.down_proj.shape[-1]
    for expert in range(len(module.down_proj)):
        name = f"{prefix}.{module.first + expert}"
        gate_up = module.gate_up_proj.data[expert]
        yield f"{name}.gate_proj.weight", gate_up[:inner]
        yield f"{name}.up_proj.weight", gate_up[inner:]
        yield f"{name}.down_proj.weight", module.down_proj.data[expert]
        if module.gate_up_scale_inv is not None and module.down_scale_inv is not None:
            yield f"{name}.gate_proj.weight{SCALES}", module.gate_up_scale_inv[expert, 0]
            yield f"{name}.up_proj.weight{SCALES}", module.gate_up_scale_inv[expert, 1]
            yield f"{name}.down_proj.weight{SCALES}", module.down_scale_inv[expert]
