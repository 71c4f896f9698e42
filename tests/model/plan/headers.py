"""Files that hold a published model's header and no weights: what a plan reads, in a few hundred kilobytes."""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

from model.config import FP8_BLOCK, Config
from model.deepseek import DeepseekForCausalLM
from model.fp8 import block_grid
from model.plan.gguf_header import BLOCKS
from model.tensors import named_tensors, quantizable


def gguf_header(config: Config, file: Path, kind: str = "Q4_K") -> Path:
    """A GGUF file of `config`, cut off where its weights would begin; matrices are of the type `kind`, or Q8_0 where
    their rows forbid it."""
    from gguf import GGMLQuantizationType, GGUFWriter

    from model.gguf import _write_config, gguf_tensors

    sizes = {name: (block, size) for name, block, size in BLOCKS.values()}
    writer = GGUFWriter(file, "deepseek2")
    _write_config(writer, config, "Planned", "f16")
    for tensor in gguf_tensors(config, "f16"):
        elements = math.prod(tensor.shape)
        fitting = kind if tensor.shape[-1] % sizes[kind][0] == 0 else "Q8_0"
        block, size = sizes[fitting]
        whole = tensor.dtype.itemsize == 4 or tensor.shape[-1] % block
        bytes = elements * tensor.dtype.itemsize if whole else elements // block * size
        raw = None if whole else GGMLQuantizationType[fitting]
        writer.add_tensor_info(tensor.name, tensor.shape, tensor.dtype, bytes, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return file


def safetensors_headers(config: Config, folder: Path, shards: int = 4) -> Path:
    """A folder in the Hugging Face layout: config.json, index, and shards that end where their weights would begin.

    On disk they are as long as the real ones, but sparse. Matrices are FP8 where the config says so, else BF16.
    """
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_json()), encoding="utf-8")
    with torch.device("meta"):
        model = DeepseekForCausalLM(config)
    described: dict[str, tuple[str, list[int], int]] = {}
    for name, tensor in named_tensors(model).items():
        fp8 = config.fp8_block is not None and quantizable(name)
        described[name] = ("F8_E4M3" if fp8 else "BF16", list(tensor.shape), tensor.numel() * (1 if fp8 else 2))
        if fp8:
            grid = list(block_grid((tensor.shape[0], tensor.shape[1]), FP8_BLOCK))
            described[f"{name}_scale_inv"] = ("F32", grid, grid[0] * grid[1] * 4)
    names, index = list(described), {}
    for shard in range(shards):
        own = names[len(names) * shard // shards : len(names) * (shard + 1) // shards]
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        index |= dict.fromkeys(own, file)
        _write_shard(folder / file, {name: described[name] for name in own})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    return folder


def _write_shard(file: Path, described: Mapping[str, tuple[str, list[int], int]]) -> None:
    header, at = {}, 0
    for name, (dtype, shape, size) in described.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + at)
