"""Writes a model in the Hugging Face layout: config.json and safetensors, sharded or not, plain or block FP8."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.config import FP8_BLOCK
from model.deepseek import DeepseekForCausalLM
from model.files import INDEX, SINGLE
from model.fp8 import quantize
from model.tensors import SCALES, named_tensors, quantizable


def save_model(
    model: DeepseekForCausalLM,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    fp8_block: tuple[int, int] | None = None,
    power_of_two_scales: bool = False,
    shard_bytes: int = 4 << 30,
) -> None:
    """Write config.json and weights, as transformers and vLLM read them.

    Weights that the model keeps in FP8 are written as they are. Selection biases stay in float32. With `fp8_block` the
    other projections are quantised to FP8; embeddings, norms, routers and the output head are written in `dtype`. More
    than `shard_bytes` make several files and an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = named_tensors(model)
    kept = any(name.endswith(SCALES) for name in tensors)
    config = replace(
        model.config,
        fp8_block=fp8_block or (FP8_BLOCK if kept else None),
        fp8_power_of_two_scales=power_of_two_scales or (kept and model.config.fp8_power_of_two_scales),
    )
    described = config.to_json() | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    shards: list[list[str]] = [[]]
    size = 0
    sizes = {
        name: tensor.numel() * (1 if fp8_block and quantizable(name) else min(dtype.itemsize, tensor.element_size()))
        for name, tensor in tensors.items()
    }
    for name, tensor_bytes in sizes.items():
        if shards[-1] and size + tensor_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor_bytes

    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        written: dict[str, Tensor] = {}
        for name in names:
            written |= dict(_stored(name, tensors[name], dtype, fp8_block, power_of_two_scales))
        save_file(written, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(written, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _stored(
    name: str, tensor: Tensor, dtype: torch.dtype, fp8_block: tuple[int, int] | None, power_of_two: bool
) -> Iterator[tuple[str, Tensor]]:
    as_is = tensor.dtype == torch.float8_e4m3fn or name.endswith(SCALES)
    if fp8_block and quantizable(name) and not as_is:
        values, scales = quantize(tensor.cpu(), fp8_block, power_of_two)
        yield name, values
        yield f"{name}{SCALES}", scales
        return
    if as_is:
        dtype = tensor.dtype
    elif name.endswith("e_score_correction_bias"):
        dtype = torch.float32
    yield name, tensor.to(device="cpu", dtype=dtype).clone(memory_format=torch.contiguous_format)
