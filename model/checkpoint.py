"""Checkpoints in the Hugging Face layout: `config.json` and safetensors, sharded or not, BF16, F16, F32 or block FP8.

Headers are checked against the architecture as a whole before anything is allocated. Knows nothing about tokenizers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config import Config, read_config
from model.deepseek import DeepseekForCausalLM
from model.errors import BadCheckpoint
from model.fp8 import block_grid, dequantize, quantize
from model.moe import Experts, Router

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_FP8 = "F8_E4M3"
_DTYPES = {"F32", "BF16", "F16"}
_SHOWN = 12
"""Problems spelled out in one error; the rest is counted."""


def named_tensors(model: DeepseekForCausalLM) -> dict[str, Tensor]:
    """The model's tensors under their names in files, as views: stacked experts appear one by one.

    Leaves out the output head where it is the embedding.
    """
    found: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, Experts):
            inner = module.down_proj.shape[-1]
            for expert in range(len(module.down_proj)):
                gate_up = module.gate_up_proj.data[expert]
                found[f"{prefix}.{expert}.gate_proj.weight"] = gate_up[:inner]
                found[f"{prefix}.{expert}.up_proj.weight"] = gate_up[inner:]
                found[f"{prefix}.{expert}.down_proj.weight"] = module.down_proj.data[expert]
            continue
        own = dict(module.named_parameters(recurse=False))
        found |= {f"{prefix}.{name}": parameter.data for name, parameter in own.items()}
        if isinstance(module, Router) and model.config.sigmoid_router:
            found[f"{prefix}.e_score_correction_bias"] = module.e_score_correction_bias
    if model.config.tie_word_embeddings:
        del found["lm_head.weight"]
    return found


def quantizable(name: str, tensor: Tensor) -> bool:
    """Whether FP8 checkpoints quantise this tensor: projections of attention and MLPs, and nothing else."""
    return tensor.ndim == 2 and name.endswith(("_proj.weight", "kv_a_proj_with_mqa.weight"))


class _Files:
    """The open safetensors files of one checkpoint, and where each tensor lies."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._open: dict[str, Any] = {}
        self.where: dict[str, str] = {}
        for name in weight_files(folder):
            try:
                file = stack.enter_context(safe_open(folder / name, framework="pt", device="cpu"))
            except (OSError, SafetensorError) as error:
                raise BadCheckpoint(
                    f"{folder / name} is damaged or incomplete: {error}.", "Download or copy it again."
                ) from error
            self._open[name] = file
            self.where |= dict.fromkeys(file.keys(), name)

    def header(self, name: str) -> tuple[list[int], str]:
        piece = self._open[self.where[name]].get_slice(name)
        return piece.get_shape(), piece.get_dtype()

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._open[self.where[name]].get_tensor(name)
        return tensor


def weight_files(folder: Path) -> list[str]:
    """Names of the checkpoint's safetensors files.

    :raises BadCheckpoint: the index is unreadable, or files that it names are missing.
    """
    index = folder / _INDEX
    if not index.exists():
        if not (folder / _SINGLE).exists():
            raise BadCheckpoint(f"{folder} has neither {_SINGLE} nor {_INDEX}.", "Only safetensors weights are read.")
        return [_SINGLE]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadCheckpoint(f"{index} is not a safetensors index: {error!r}.") from error
    if outside := [name for name in names if Path(name).name != name]:
        raise BadCheckpoint(f"{index} names files outside its folder: {', '.join(map(str, outside))}.")
    if missing := [name for name in names if not (folder / name).exists()]:
        raise BadCheckpoint(f"{folder} lacks {', '.join(missing)}.", "Finish the download.")
    return names


def load_model(folder: Path, dtype: torch.dtype, device: torch.device) -> DeepseekForCausalLM:
    """The checkpoint in `folder`, in inference mode; routers stay in float32, FP8 weights are expanded to `dtype`.

    :raises UnsupportedArchitecture: before any weight is read.
    :raises BadCheckpoint: naming all missing, unexpected and misshapen tensors at once, before allocating.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = DeepseekForCausalLM(config)
    with ExitStack() as stack:
        files = _Files(folder, stack)
        _check(config, named_tensors(model), files, folder)
        _allocate(model, dtype, device)
        model.model.rotary_emb.reset(device)
        if config.tie_word_embeddings:
            model.lm_head.weight = model.model.embed_tokens.weight
        for name, target in named_tensors(model).items():
            target.copy_(_read(name, files, config, target.dtype))
    return model.eval().requires_grad_(False)


@contextmanager
def tensor_reader(folder: Path, config: Config) -> Iterator[Callable[[str], NDArray[np.float32]]]:
    """Reads one tensor at a time by its published name, FP8 expanded, as float32: for converters."""
    with ExitStack() as stack:
        files = _Files(folder, stack)

        def read(name: str) -> NDArray[np.float32]:
            if name not in files.where:
                raise BadCheckpoint(f"{folder}: {name} is missing.")
            values: NDArray[np.float32] = _read(name, files, config, torch.float32).float().numpy()
            return values

        yield read


def _allocate(model: DeepseekForCausalLM, dtype: torch.dtype, device: torch.device) -> None:
    """Give the tensors of a model on `meta` memory. `Module.to_empty` would do, but loads the compiler (over 1 s)."""
    for module in model.modules():
        kept = torch.float32 if isinstance(module, Router) else dtype
        for name, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, dtype=kept, device=device)
            setattr(module, name, torch.nn.Parameter(empty, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=torch.float32, device=device))


def _read(name: str, files: _Files, config: Config, dtype: torch.dtype) -> Tensor:
    values = files.read(name)
    if values.dtype != torch.float8_e4m3fn or config.fp8_block is None:
        return values
    return dequantize(values, files.read(f"{name}_scale_inv"), config.fp8_block, dtype)


def _check(config: Config, expected: dict[str, Tensor], files: _Files, folder: Path) -> None:
    problems = []
    read = set(expected)
    for name, tensor in expected.items():
        if name not in files.where:
            problems.append(f"{name} is missing")
            continue
        shape, dtype = files.header(name)
        if shape != list(tensor.shape):
            problems.append(f"{name} is {shape}, not {list(tensor.shape)}")
        if dtype == _FP8 and config.fp8_block and quantizable(name, tensor):
            scales = f"{name}_scale_inv"
            read.add(scales)
            grid = list(block_grid((tensor.shape[0], tensor.shape[1]), config.fp8_block))
            if scales not in files.where:
                problems.append(f"{scales} is missing")
            elif files.header(scales)[0] != grid:
                problems.append(f"{scales} is {files.header(scales)[0]}, not {grid}")
        elif dtype not in _DTYPES:
            problems.append(f"{name} is of type {dtype}")
    ignored = _ignorable(config)
    problems += [f"{name} is unexpected" for name in files.where if name not in read and not ignored.match(name)]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise BadCheckpoint(
            f"The weights in {folder} do not fit its config.json: " + "; ".join(problems[:_SHOWN]) + more + ".",
            "Check that both come from the same checkpoint.",
        )


def _ignorable(config: Config) -> re.Pattern[str]:
    """Names that a checkpoint may hold and inference does without."""
    patterns = [r".*\.rotary_emb\.inv_freq"]
    if config.tie_word_embeddings:
        patterns.append(r"lm_head\.weight")
    first = config.num_hidden_layers
    for layer in range(first, first + config.num_nextn_predict_layers):
        patterns.append(rf"model\.layers\.{layer}\..*")  # the multi-token-prediction layers
    return re.compile("|".join(f"(?:{pattern})$" for pattern in patterns))


def save_model(
    model: DeepseekForCausalLM,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    fp8_block: tuple[int, int] | None = None,
    power_of_two_scales: bool = False,
    shard_bytes: int = 4 << 30,
) -> None:
    """Write config.json and weights, as transformers and vLLM read them.

    Selection biases stay in float32. With `fp8_block` the projections are quantised to FP8; embeddings, norms, routers
    and the output head are written in `dtype`. More than `shard_bytes` make several files and an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(
        model.config,
        fp8_block=fp8_block,
        fp8_power_of_two_scales=power_of_two_scales,
        num_nextn_predict_layers=0,  # none are held, so none are written
    )
    described = config.to_json() | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    shards: list[list[str]] = [[]]
    size = 0
    sizes = {name: tensor.numel() * dtype.itemsize for name, tensor in named_tensors(model).items()}
    for name, tensor_bytes in sizes.items():
        if shards[-1] and size + tensor_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor_bytes

    tensors = named_tensors(model)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = _SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        written: dict[str, Tensor] = {}
        for name in names:
            written |= dict(_stored(name, tensors[name], dtype, config))
        save_file(written, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(written, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _stored(name: str, tensor: Tensor, dtype: torch.dtype, config: Config) -> Iterator[tuple[str, Tensor]]:
    if config.fp8_block and quantizable(name, tensor):
        values, scales = quantize(tensor.cpu(), config.fp8_block, config.fp8_power_of_two_scales)
        yield name, values
        yield f"{name}_scale_inv", scales
    else:
        kept = torch.float32 if name.endswith("e_score_correction_bias") else dtype
        yield name, tensor.to(device="cpu", dtype=kept).clone(memory_format=torch.contiguous_format)


def fingerprint(folder: Path) -> str:
    """A hash that tells models apart without reading all of a large one.

    Covers config.json, tokenizer.json, and of each weight file its size, its header and 64 evenly spaced pages: any two
    trainings of one architecture differ in them.
    """
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json"):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    for name in weight_files(folder):
        with (folder / name).open("rb") as file:
            size = file.seek(0, 2)
            digest.update(f"{name} {size}".encode())
            for page in range(64):
                file.seek(size * page // 64)
                digest.update(file.read(4096))
    return digest.hexdigest()
