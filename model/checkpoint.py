"""Loads checkpoints in the Hugging Face layout: safetensors, sharded or not, BF16, F16, F32 or block FP8.

Headers are checked against the architecture as a whole before anything is allocated; then the files are read one after
the other, each tensor straight to its device and dtype. Knows nothing about tokenizers.
"""

import hashlib
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import Config, read_config
from model.deepseek import DeepseekForCausalLM
from model.errors import BadCheckpoint
from model.files import Progress
from model.fp8 import block_grid, dequantize
from model.layers import Linear
from model.lora import SETTINGS, WEIGHTS, Factors, check_targets, read_adapter
from model.moe import Experts, Router
from model.shard import WHOLE, Shard, check_split
from model.spill import SpilledExperts, place_experts, spill_experts
from model.tensors import SCALES, is_projection, named_tensors, published_modules
from model.weight_files import WeightFiles, weight_files

_FP8 = "F8_E4M3"
_BYTES = {"F32": 4, "BF16": 2, "F16": 2, _FP8: 1, "F8_E8M0": 1}
"""Sizes of the types that are read."""
_PLAIN = {"F32", "BF16", "F16"}
_SCALE_TYPES = {"F32", "BF16", "F8_E8M0"}
_SHOWN = 12
"""Problems spelled out in one error; the rest is counted."""


def load_model(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    keep_fp8: bool | None = None,
    progress: Progress | None = None,
    shard: Shard = WHOLE,
    adapter: Path | None = None,
    expert_bytes: int | None = None,
) -> DeepseekForCausalLM:
    """The checkpoint in `folder`, or the part of `shard`, in inference mode; routers stay in float32.

    FP8 weights are kept as they are with `keep_fp8` (None: on a GPU), otherwise expanded to `dtype`. A checkpoint
    without the predictors that its config.json announces (transformers drops them) is loaded without. The LoRA adapter
    in the folder `adapter` is merged; FP8 weights that it changes are expanded. Routed experts of more than
    `expert_bytes` are kept in host memory, and only the hot ones of them also on `device` (see spill.py).

    :raises UnsupportedArchitecture: before any weight is read.
    :raises CannotSplit: the same, where there are more ranks than its dimensions allow.
    :raises UnsupportedAdapter: it is no plain LoRA of projections.
    :raises BadCheckpoint: naming all missing, unexpected and misshapen tensors at once, before allocating.
    :raises NotEnoughMemory: `expert_bytes` are too few.
    """
    config = read_config(folder)
    check_split(config, shard.size)
    files = WeightFiles(folder)
    config = _as_held(config, files)
    with torch.device("meta"):
        whole = DeepseekForCausalLM(config)
        model = whole if shard.size == 1 else DeepseekForCausalLM(config, shard=shard)
    expected = named_tensors(whole)
    _check(config, expected, files)
    added = read_adapter(adapter, config) if adapter is not None else {}
    if adapter is not None:
        check_targets(added, expected, adapter)
    if keep_fp8 if keep_fp8 is not None else device.type == "cuda":
        _keep_fp8(model, files, added)
    _set_types(model, dtype)
    if expert_bytes is not None:
        spill_experts(model, expert_bytes)
    _allocate(model, device)
    model.model.rotary_emb.reset(device)
    model.tie()
    _fill(model, files, added, progress)
    return model.eval().requires_grad_(False)


def tensor_reader(folder: Path, config: Config) -> tuple[Config, Callable[[str], NDArray[np.float32]]]:
    """For converters: what reads one tensor at a time by its published name, FP8 expanded, as float32.

    The config comes back without predictors where it announces some that the files do not hold.
    """
    files = WeightFiles(folder)

    def read(name: str) -> NDArray[np.float32]:
        if name not in files.headers:
            raise BadCheckpoint(f"{folder}: {name} is missing.", "Check that the download is complete.")
        found = _expanded(name, files, config, torch.float32, torch.device("cpu"))
        values: NDArray[np.float32] = found.float().numpy()
        return values

    return _as_held(config, files), read


def _as_held(config: Config, files: WeightFiles) -> Config:
    predictors = _predictors(config)
    if any(predictors.match(name) for name in files.headers):
        return config
    return replace(config, num_nextn_predict_layers=0)


def _keep_fp8(model: DeepseekForCausalLM, files: WeightFiles, changed: Container[str]) -> None:
    """Give weights of a model on `meta` the types in which the files hold them, where these are FP8 and unchanged."""
    if model.config.fp8_block is None:
        return

    def stays(name: str) -> bool:
        return name in files.headers and files.headers[name].dtype == _FP8 and name not in changed

    for prefix, module in published_modules(model):
        if isinstance(module, Linear) and stays(f"{prefix}.weight"):
            module.weight, module.weight_scale_inv = _fp8_like(module.weight, model.config.fp8_block)
        elif isinstance(module, Experts):
            parts = ("gate_proj", "up_proj", "down_proj")
            held = range(module.first, module.first + len(module.down_proj))
            names = [f"{prefix}.{expert}.{part}.weight" for expert in held for part in parts]
            if all(stays(name) for name in names):
                module.gate_up_proj, scales = _fp8_like(module.gate_up_proj, model.config.fp8_block, 2)
                module.gate_up_scale_inv = scales
                module.down_proj, scales = _fp8_like(module.down_proj, model.config.fp8_block)
                module.down_scale_inv = scales


def _fp8_like(weight: Tensor, block: tuple[int, int], joined: int = 1) -> tuple[nn.Parameter, Tensor]:
    """Values and scales for `weight` [..., N, K], which is `joined` matrices with scales of their own."""
    values = torch.empty(weight.shape, dtype=torch.float8_e4m3fn, device=weight.device)
    grid = block_grid((weight.shape[-2] // joined, weight.shape[-1]), block)
    scales = torch.empty(*weight.shape[:-2], *([joined] if joined > 1 else []), *grid, device=weight.device)
    return nn.Parameter(values, requires_grad=False), scales


def _set_types(model: DeepseekForCausalLM, dtype: torch.dtype) -> None:
    """Give the tensors of a model on `meta` the types that they will have."""
    for module in model.modules():
        plain = torch.float32 if isinstance(module, Router) else dtype
        for name, parameter in list(module.named_parameters(recurse=False)):
            kept = parameter.dtype if parameter.dtype == torch.float8_e4m3fn else plain
            setattr(module, name, nn.Parameter(parameter.to(kept), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.float())


def _allocate(model: DeepseekForCausalLM, device: torch.device) -> None:
    """Give the tensors of a model on `meta` memory. `Module.to_empty` would do, but loads the compiler (over 1 s)."""
    for module in model.modules():
        if isinstance(module, SpilledExperts):
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty_like(buffer, device=device))
    place_experts(model, device)


def _fill(
    model: DeepseekForCausalLM, files: WeightFiles, added: Mapping[str, Factors], progress: Progress | None
) -> None:
    """Copy every tensor, or what the model holds of it, with what is `added` to it, in the order of the files."""
    targets = named_tensors(model)
    names = [name for name in files.headers if name in targets]
    sizes = {name: targets[name].numel() * _BYTES[files.headers[name].dtype] for name in names}
    done, total = 0, sum(sizes.values())
    for name in names:
        target = targets[name]
        if target.dtype == torch.float8_e4m3fn or name.endswith(SCALES):
            target.copy_(files.read(name, _part(name, files, model.config, model.shard)).to(target.dtype))
        elif name in added:
            values = _expanded(name, files, model.config, torch.float32, target.device, model.shard)
            delta = added[name].delta(target.device)[_part(name, files, model.config, model.shard) or ()]
            target.copy_(values.to(target.device, torch.float32) + delta)
        else:
            target.copy_(_expanded(name, files, model.config, target.dtype, target.device, model.shard))
        done += sizes[name]
        if progress is not None:
            progress(done, total)


def _part(name: str, files: WeightFiles, config: Config, shard: Shard) -> tuple[slice, ...] | None:
    """What `shard` holds of a tensor; None is all of it."""
    return None if shard.size == 1 else shard.slices(name, tuple(files.headers[name].shape), config)


def _expanded(
    name: str, files: WeightFiles, config: Config, dtype: torch.dtype, device: torch.device, shard: Shard = WHOLE
) -> Tensor:
    """A tensor as it is in its file; if that is FP8, multiplied out on `device`, in `dtype`."""
    values = files.read(name, _part(name, files, config, shard))
    if values.dtype != torch.float8_e4m3fn or config.fp8_block is None:
        return values
    scales = files.read(f"{name}{SCALES}", _part(f"{name}{SCALES}", files, config, shard))
    return dequantize(values.to(device), scales.to(device), config.fp8_block, dtype)


def _check(config: Config, expected: dict[str, Tensor], files: WeightFiles) -> None:
    problems = []
    read = set(expected)
    for name, tensor in expected.items():
        if name not in files.headers:
            problems.append(f"{name} is missing")
            continue
        _, shape, dtype = files.headers[name]
        if shape != list(tensor.shape):
            problems.append(f"{name} is {shape}, not {list(tensor.shape)}")
        if dtype == _FP8 and config.fp8_block and is_projection(name):
            scales = f"{name}{SCALES}"
            read.add(scales)
            grid = list(block_grid((tensor.shape[0], tensor.shape[1]), config.fp8_block))
            if scales not in files.headers:
                problems.append(f"{scales} is missing")
            elif files.headers[scales].shape != grid:
                problems.append(f"{scales} is {files.headers[scales].shape}, not {grid}")
            elif files.headers[scales].dtype not in _SCALE_TYPES:
                problems.append(f"{scales} is of type {files.headers[scales].dtype}")
        elif dtype not in _PLAIN:
            problems.append(f"{name} is of type {dtype}")
    ignored = _ignorable(config)
    problems += [f"{name} is unexpected" for name in files.headers if name not in read and not ignored.match(name)]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BadCheckpoint(
            f"The weights in {files.folder} do not fit its config.json: " + "; ".join(problems[:_SHOWN]) + more + ".",
            "Check that both come from the same checkpoint.",
        )


def _ignorable(config: Config) -> re.Pattern[str]:
    """Names that a checkpoint may hold and inference does without."""
    patterns = [r".*\.rotary_emb\.inv_freq"]
    if config.tie_word_embeddings:
        patterns.append(r"lm_head\.weight")
    # Predictors share embedding and head with the main model; files repeat them.
    patterns.append(_predictors(config).pattern + r"(embed_tokens|shared_head\.head)\.weight")
    return re.compile("|".join(f"(?:{pattern})$" for pattern in patterns))


def _predictors(config: Config) -> re.Pattern[str]:
    """How names of the predictors' tensors begin."""
    first = config.num_hidden_layers
    layers = [str(layer) for layer in range(first, first + config.num_nextn_predict_layers)]
    return re.compile(rf"model\.layers\.(?:{'|'.join(layers) or '(?!)'})\.")


def fingerprint(folder: Path, adapter: Path | None = None) -> str:
    """A hash that tells models, with the adapter merged into them, apart without reading all of a large one.

    Covers config.json, tokenizer.json, and of each weight file its size, its header and 64 evenly spaced pages: any two
    trainings of one architecture differ in them.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json"):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    files = [folder / name for name in weight_files(folder)]
    if adapter is not None:
        digest.update((adapter / SETTINGS).read_bytes())
        files.append(adapter / WEIGHTS)
    for one in files:
        with one.open("rb") as file:
            size = file.seek(0, 2)
            digest.update(f"{one.name} {size}".encode())
            for page in range(64):
                file.seek(size * page // 64)
                digest.update(file.read(4096))
    return digest.hexdigest()
