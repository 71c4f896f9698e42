"""What a model is made of, as far as memory and speed go: weights by class and layer, cache, dimensions.

Read from a GGUF file's header or from config.json and the headers of safetensors. Knows nothing about machines.
"""

import json
import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from model.config import Config, read_config
from model.errors import BadCheckpoint, why
from model.files import INDEX, SINGLE, read_object
from model.plan.gguf_header import GgufHeader, read_gguf

Class = Literal["attention", "dense", "shared experts", "router", "experts", "embedding", "output", "predictors"]
"""What a tensor is for; norms count with what they stand before."""
Attention = Literal["MLA", "GQA", "MHA"]

_CLASSES: tuple[tuple[str, Class], ...] = (
    (r"_exps?\.|mlp\.experts\.", "experts"),
    (r"_shexp\.|shared_experts?\.", "shared experts"),
    (r"ffn_gate_inp|exp_probs_b|mlp\.gate\.", "router"),
    (r"token_embd|embed_tokens", "embedding"),
    (r"^output|lm_head|^model\.norm\.", "output"),
    (r"attn_|self_attn|input_layernorm", "attention"),
    (r"", "dense"),
)


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes as they are stored, and how many numbers that is."""

    bytes: int = 0
    numbers: int = 0

    def __add__(self, other: "Weights") -> "Weights":
        return Weights(self.bytes + other.bytes, self.numbers + other.numbers)


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one of the main layers."""

    core: Weights
    """Attention, dense or shared feed-forward, router and norms: what every token uses."""
    experts: Weights
    largest: int = 0
    """bytes of the largest tensor of experts"""


_FLASH_ON_GPU = {(width, width) for width in (40, 64, 72, 80, 96, 112, 128, 256, 512)} | {
    (192, 128),
    (320, 256),
    (576, 512),
}
"""Widths of keys and values (ggml-cuda/fattn.cu of llama-cpp-python 0.3.36)."""


@dataclass(frozen=True, slots=True)
class Dims:
    """D hidden, H heads, G key-value heads, K key and V value width of a head, R latent rank, P rotary width."""

    hidden: int
    heads: int
    kv_heads: int
    key: int
    value: int
    vocabulary: int
    inner: int
    """width of the dense feed-forward"""
    expert_inner: int = 0
    experts: int = 0
    used: int = 0
    """experts that a token uses"""
    latent_rank: int = 0
    """0 where attention is not latent"""
    rotary: int = 0

    @property
    def attention(self) -> Attention:
        return "MLA" if self.latent_rank else "MHA" if self.kv_heads == self.heads else "GQA"

    @property
    def cached(self) -> int:
        """Numbers that a token leaves in the cache of one layer."""
        if self.latent_rank:
            return self.latent_rank + self.rotary
        return self.kv_heads * (self.key + self.value)

    @property
    def flash_on_gpu(self) -> bool:
        """Whether llama.cpp has flash attention for such widths on an NVIDIA GPU; else it goes without everywhere."""
        widths = (self.latent_rank + self.rotary, self.latent_rank) if self.latent_rank else (self.key, self.value)
        return widths in _FLASH_ON_GPU


@dataclass(frozen=True, slots=True)
class Shape:
    """A model in one form and quantisation, without its weights."""

    name: str
    architecture: str
    form: Literal["gguf", "safetensors"]
    quantization: str
    dims: Dims
    trained_context: int
    layers: tuple[Layer, ...]
    """the main ones; predictors are apart"""
    classes: dict[Class, Weights]
    config: Config | None = field(default=None, compare=False)
    """of a folder that the torch engine reads"""

    @property
    def weights(self) -> Weights:
        """What its engine loads: llama.cpp leaves predictors in the file."""
        left_out = {"predictors"} if self.form == "gguf" else set()
        return sum((one for kind, one in self.classes.items() if kind not in left_out), Weights())

    @property
    def tied(self) -> bool:
        """Whether the embedding is the output head, too."""
        return self.of("output").numbers < self.dims.vocabulary * self.dims.hidden

    @property
    def active(self) -> Weights:
        """What one token reads: its own experts, and the head, but not the embedding, of which it is one row."""
        share = self.dims.used / self.dims.experts if self.dims.experts else 1.0
        idle = _part(self.of("experts"), 1 - share)
        unread = Weights() if self.tied else self.of("embedding")
        rest = self.weights
        skipped = idle + unread + (self.of("predictors") if self.form == "safetensors" else Weights())
        return Weights(rest.bytes - skipped.bytes, rest.numbers - skipped.numbers)

    @property
    def head(self) -> int:
        """Bytes of what makes logits; where the embedding does, its own."""
        return self.of("output").bytes + (self.of("embedding").bytes if self.tied else 0)

    @property
    def largest_experts(self) -> int:
        """Bytes of the largest tensor of routed experts."""
        return max((layer.largest for layer in self.layers), default=0)

    def of(self, kind: Class) -> Weights:
        return self.classes.get(kind, Weights())


def read_shape(path: Path) -> Shape:
    """Of a .gguf file, or of a folder in the Hugging Face layout.

    :raises BadCheckpoint: a header is damaged or lacks what a plan needs.
    :raises UnsupportedArchitecture: the folder is of a model that the torch engine does not run.
    """
    return shape_of_header(read_gguf(path), path) if path.suffix == ".gguf" else _of_folder(path)


def shape_of_config(config: Config, name: str, quantization: str, bits: float) -> Shape:
    """What a GGUF of `config` would be in a quantisation of so many bits a weight, before there is one."""
    from model.gguf import gguf_tensors

    found = []
    for tensor in gguf_tensors(config, "f16"):
        numbers = math.prod(tensor.shape)
        narrow = len(tensor.shape) > 1 and tensor.dtype.itemsize == 2
        found.append((tensor.name, round(numbers * bits / 8) if narrow else numbers * 4, numbers))
    classes, layers = _sorted(found, re.compile(r"blk\.(\d+)\."), config.num_hidden_layers)
    return Shape(
        name, "deepseek2", "gguf", quantization, _dims(config), config.max_position_embeddings, layers, classes
    )


def shape_of_header(header: GgufHeader, file: Path) -> Shape:
    """What the GGUF `file` with this header holds.

    :raises BadCheckpoint: it is no language model's.
    """
    number = header.number
    heads, hidden = number("attention.head_count"), number("embedding_length")
    count, predictors = number("block_count"), number("nextn_predict_layers")
    if min(heads, hidden, count - predictors) < 1:
        raise BadCheckpoint(
            f"{file} says neither its layers, nor its width and heads.", "Only language models can be planned for."
        )
    if count > sum(one.elements > 0 for one in header.tensors):
        raise BadCheckpoint(f"{file} lacks the weights of its layers.", "Name a file that holds them.")
    embedding = next((one for one in header.tensors if one.name == "token_embd.weight"), None)
    latent = number("attention.kv_lora_rank")
    dims = Dims(
        hidden=hidden,
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        key=number("attention.key_length_mla" if latent else "attention.key_length", hidden // heads),
        value=number("attention.value_length_mla" if latent else "attention.value_length", hidden // heads),
        vocabulary=embedding.shape[1] if embedding and len(embedding.shape) > 1 else number("vocab_size"),
        inner=number("feed_forward_length"),
        expert_inner=number("expert_feed_forward_length"),
        experts=number("expert_count"),
        used=number("expert_used_count"),
        latent_rank=latent,
        rotary=number("rope.dimension_count") if latent else 0,
    )
    found = [(one.name, one.bytes, one.elements) for one in header.tensors]
    kinds: dict[str, int] = defaultdict(int)
    for one in header.tensors:
        kinds[one.type] += one.elements
    classes, layers = _sorted(found, re.compile(r"blk\.(\d+)\."), count - predictors)
    return Shape(
        name=str(header.metadata.get("general.name") or file.stem),
        architecture=header.architecture,
        form="gguf",
        quantization=max(kinds, key=lambda kind: kinds[kind]),
        dims=dims,
        trained_context=max(number("context_length"), 0) or 4096,
        layers=layers,
        classes=classes,
    )


def _of_folder(folder: Path) -> Shape:
    config = read_config(folder)
    found = _safetensors(folder)
    first = config.num_hidden_layers
    classes, layers = _sorted(found, re.compile(r"model\.layers\.(\d+)\."), first)
    return Shape(
        name=str(read_object(folder / "loci.json").get("name") or folder.name),
        architecture=config.architecture,
        form="safetensors",
        quantization="FP8" if config.fp8_block else "BF16",
        dims=_dims(config),
        trained_context=config.max_position_embeddings,
        layers=layers,
        classes=classes,
        config=config,
    )


def _dims(config: Config) -> Dims:
    return Dims(
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_attention_heads,
        key=config.qk_head_dim,
        value=config.v_head_dim,
        vocabulary=config.vocab_size,
        inner=config.intermediate_size,
        expert_inner=config.moe_intermediate_size,
        experts=config.n_routed_experts if config.num_moe_layers else 0,
        used=config.num_experts_per_tok,
        latent_rank=config.kv_lora_rank,
        rotary=config.qk_rope_head_dim,
    )


def _safetensors(folder: Path) -> list[tuple[str, int, int]]:
    """(name, bytes, numbers) of every tensor of the folder's files; factors of FP8 blocks are bytes, not numbers."""
    index = read_object(folder / INDEX).get("weight_map")
    names = sorted(set(index.values())) if isinstance(index, dict) else [SINGLE]
    found: list[tuple[str, int, int]] = []
    for name in names:
        for tensor, described in _safetensors_header(folder / str(name)).items():
            start, end = described["data_offsets"]
            numbers = 1
            for length in described["shape"]:
                numbers *= length
            found.append((tensor, end - start, 0 if tensor.endswith("_scale_inv") else numbers))
    return found


def _safetensors_header(file: Path) -> dict[str, dict[str, list[int]]]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 1 << 28)))
            header.pop("__metadata__", None)
            return {name: {key: one[key] for key in ("shape", "data_offsets")} for name, one in header.items()}
    except OSError as error:
        raise BadCheckpoint(f"{file} cannot be read: {why(error)}.", "Finish the download.") from error
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadCheckpoint(f"{file} is no safetensors file: {error}.", "Download or copy it again.") from error


def _sorted(
    tensors: Iterable[tuple[str, int, int]], layer_of: re.Pattern[str], count: int
) -> tuple[dict[Class, Weights], tuple[Layer, ...]]:
    """Weights by class, and by layer for the first `count` layers; what comes after them predicts ahead."""
    classes: dict[Class, Weights] = defaultdict(Weights)
    cores, experts = [Weights()] * count, [Weights()] * count
    largest = [0] * count
    for name, size, numbers in tensors:
        weights = Weights(size, numbers)
        layer = int(match[1]) if (match := layer_of.match(name)) else None
        kind: Class = next(kind for pattern, kind in _CLASSES if re.search(pattern, name))
        if layer is not None and layer >= count:
            kind = "predictors"
        classes[kind] += weights
        if layer is None or layer >= count:
            continue
        if kind == "experts":
            experts[layer] += weights
            largest[layer] = max(largest[layer], size)
        else:
            cores[layer] += weights
    found = tuple(Layer(*one) for one in zip(cores, experts, largest, strict=True))
    return dict(classes), found


def scaled(shape: Shape, share: float) -> Shape:
    """The same model with weights of so many times the bytes: what another quantisation would be."""

    def less(weights: Weights) -> Weights:
        return replace(weights, bytes=round(weights.bytes * share))

    layers = tuple(Layer(less(one.core), less(one.experts), round(one.largest * share)) for one in shape.layers)
    return replace(shape, layers=layers, classes={kind: less(one) for kind, one in shape.classes.items()})


def _part(weights: Weights, share: float) -> Weights:
    return Weights(round(weights.bytes * share), round(weights.numbers * share))
