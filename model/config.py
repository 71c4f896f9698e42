"""The dimensions and features of a model of DeepSeek-V2/V3's architecture, read from a Hugging Face `config.json`.

Everything in the file that the torch engine does not implement is refused here, by name, before any weight is read.
Knows nothing about tensors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.config_keys import FAMILIES, Architecture, leading_dense, malformed, refuse_keys
from model.errors import BadCheckpoint, UnsupportedArchitecture
from model.files import is_number, read_object

FP8_BLOCK = (128, 128)
"""Rows and columns of an FP8 weight that share a factor, in every published checkpoint."""

_MEND = "Take the file anew from where the model is published."


@dataclass(frozen=True, slots=True)
class Yarn:
    """YaRN context extension (Peng et al., 2023), as DeepSeek configures it."""

    factor: float
    original_context: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 0.0

    def __post_init__(self) -> None:
        least = {"factor": 1.0, "original_context": 1, "beta_fast": 1e-3, "beta_slow": 1e-3}
        wrong = [
            f"{name} = {value!r}"
            for name in self.__dataclass_fields__
            if not is_number(value := getattr(self, name)) or value < least.get(name, -math.inf)
        ]
        if wrong:
            raise BadCheckpoint(f"YaRN cannot have {', '.join(wrong)}.")

    @property
    def rotation_scale(self) -> float:
        """Factor on cos and sin; 1 where `mscale` equals `mscale_all_dim`."""
        return yarn_mscale(self.factor, self.mscale) / yarn_mscale(self.factor, self.mscale_all_dim)

    @property
    def softmax_factor(self) -> float:
        """m^2, the factor on the softmax scale."""
        m = yarn_mscale(self.factor, self.mscale_all_dim)
        return m * m


def yarn_mscale(factor: float, mscale: float) -> float:
    """Attention temperature of YaRN: 0.1 * mscale * ln(factor) + 1 (YaRN paper, section 3.4)."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


_MOST = {
    "vocab_size": 1 << 24, "hidden_size": 1 << 20, "intermediate_size": 1 << 22, "moe_intermediate_size": 1 << 20,
    "num_hidden_layers": 1 << 10, "num_nextn_predict_layers": 1 << 6, "num_attention_heads": 1 << 12,
    "kv_lora_rank": 1 << 16, "q_lora_rank": 1 << 20, "qk_nope_head_dim": 1 << 14, "qk_rope_head_dim": 1 << 14,
    "v_head_dim": 1 << 14, "n_routed_experts": 1 << 16, "n_shared_experts": 1 << 10,
    "max_position_embeddings": 1 << 30,
}  # fmt: skip
"""Far above what exists: a damaged config.json is refused, instead of a model built of a million layers."""


@dataclass(frozen=True, slots=True)
class Config:
    """Hyperparameters, named as in `config.json`."""

    architecture: Architecture
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int = 1
    first_k_dense_replace: int = 1
    q_lora_rank: int | None = None
    n_group: int = 1
    topk_group: int = 1
    routed_scaling_factor: float = 1.0
    norm_topk_prob: bool = False
    """Whether the weights of the chosen experts are normalised to sum to 1 (before scaling)."""
    max_position_embeddings: int = 2048
    rope_theta: float = 10000.0
    rope_interleave: bool = True
    yarn: Yarn | None = None
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    attention_bias: bool = False
    tie_word_embeddings: bool = False
    num_nextn_predict_layers: int = 0
    """Multi-token-prediction layers that the checkpoint carries after the main ones."""
    fp8_block: tuple[int, int] | None = None
    """Block shape of an FP8 checkpoint's `weight_scale_inv`; None where weights are not quantised."""
    fp8_power_of_two_scales: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be positive, not {value}"
            for name in (
                "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "max_position_embeddings",
                "n_group", "topk_group",
            )
            if (value := getattr(self, name)) < 1
        ]  # fmt: skip
        problems += [
            f"{name} = {value} is beyond any model known ({most} at most)"
            for name, most in _MOST.items()
            if (value := getattr(self, name)) is not None and value > most
        ]
        problems += [
            f"{name} must not be negative, but is {value}"
            for name in (
                "first_k_dense_replace", "n_shared_experts", "num_nextn_predict_layers", "rms_norm_eps",
                "initializer_range", "routed_scaling_factor",
            )
            if (value := getattr(self, name)) < 0
        ]  # fmt: skip
        if self.q_lora_rank is not None and self.q_lora_rank < 1:
            problems.append(f"q_lora_rank must be positive or null, not {self.q_lora_rank}")
        if self.rope_theta <= 1:
            problems.append(f"rope_theta must be above 1, not {self.rope_theta}")
        if self.qk_rope_head_dim % 2:
            problems.append(f"qk_rope_head_dim must be even, not {self.qk_rope_head_dim}")
        if self.num_moe_layers:
            if self.n_routed_experts < 1 or self.n_routed_experts % max(self.n_group, 1):
                problems.append(f"n_routed_experts {self.n_routed_experts} must divide into n_group {self.n_group}")
            elif self.sigmoid_router and self.n_group > 1 and self.n_routed_experts // self.n_group < 2:
                problems.append("each expert group needs at least two experts")
            if self.topk_group > self.n_group:
                problems.append(f"topk_group {self.topk_group} exceeds n_group {self.n_group}")
            elif self.n_group and self.n_routed_experts // self.n_group * self.topk_group < self.num_experts_per_tok:
                problems.append(
                    f"num_experts_per_tok {self.num_experts_per_tok} exceeds the experts of topk_group groups"
                )
            if self.num_experts_per_tok < 1 or self.moe_intermediate_size < 1:
                problems.append("num_experts_per_tok and moe_intermediate_size must be positive")
        if problems:
            raise BadCheckpoint("The dimensions do not fit together: " + "; ".join(problems) + ".")

    @property
    def qk_head_dim(self) -> int:
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def latent_dim(self) -> int:
        """Width of one cached token of one layer: the compressed key-value and the shared rotary key."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    @property
    def softmax_scale(self) -> float:
        return (self.yarn.softmax_factor if self.yarn else 1.0) / math.sqrt(self.qk_head_dim)

    @property
    def sigmoid_router(self) -> bool:
        """V3 scores experts by a sigmoid plus a selection bias, V2 by a softmax."""
        return FAMILIES[self.architecture].scoring == "sigmoid"

    @property
    def num_moe_layers(self) -> int:
        return max(self.num_hidden_layers - self.first_k_dense_replace, 0)

    def to_json(self) -> dict[str, Any]:
        """The `config.json` that `from_json` (and transformers) read back."""
        family = FAMILIES[self.architecture]
        values: dict[str, Any] = {
            "architectures": [family.classes[0]],
            "model_type": self.architecture,
            "hidden_act": "silu",
            "num_key_value_heads": self.num_attention_heads,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": list(self.eos_token_ids)
            if len(self.eos_token_ids) > 1
            else next(iter(self.eos_token_ids), None),
            "rope_scaling": None,
        }
        values |= {name: getattr(self, name) for name in _FIELDS if name not in ("rope_interleave",)}
        method = "noaux_tc" if self.sigmoid_router else "group_limited_greedy" if self.n_group > 1 else "greedy"
        values |= {"scoring_func": family.scoring, "topk_method": method}
        if self.sigmoid_router:
            values["rope_interleave"] = self.rope_interleave
        if self.architecture == "glm4_moe_lite":
            values["mlp_layer_types"] = ["dense"] * self.first_k_dense_replace + ["sparse"] * self.num_moe_layers
        if self.yarn:
            values["rope_scaling"] = {
                "type": "yarn",
                "factor": self.yarn.factor,
                "original_max_position_embeddings": self.yarn.original_context,
                "beta_fast": self.yarn.beta_fast,
                "beta_slow": self.yarn.beta_slow,
                "mscale": self.yarn.mscale,
                "mscale_all_dim": self.yarn.mscale_all_dim,
            }
        if self.fp8_block:
            values["quantization_config"] = {
                "quant_method": "fp8",
                "fmt": "e4m3",
                "activation_scheme": "dynamic",
                "weight_block_size": list(self.fp8_block),
            } | ({"scale_fmt": "ue8m0"} if self.fp8_power_of_two_scales else {})
        return values


_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "moe_intermediate_size", "num_hidden_layers",
    "num_attention_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "n_routed_experts",
    "num_experts_per_tok", "n_shared_experts", "first_k_dense_replace", "q_lora_rank", "n_group", "topk_group",
    "routed_scaling_factor", "norm_topk_prob", "max_position_embeddings", "rope_theta", "rope_interleave",
    "rms_norm_eps", "initializer_range", "attention_bias", "tie_word_embeddings", "num_nextn_predict_layers",
)  # fmt: skip

_READ_APART = (
    "rope_parameters", "rope_scaling", "quantization_config", "mlp_layer_types", "bos_token_id", "eos_token_id",
)  # fmt: skip


def from_json(values: Mapping[str, Any], where: str = "config.json") -> Config:
    """The configuration in the parsed `config.json`.

    :raises UnsupportedArchitecture: naming every key whose value the engine does not implement.
    :raises BadCheckpoint: naming every missing or malformed key.
    """
    architecture = str(values.get("model_type"))
    if architecture not in FAMILIES:
        raise UnsupportedArchitecture(
            f"{where} says model_type {architecture!r}; the torch engine reads {', '.join(FAMILIES)}.",
            "Open the model as GGUF or through a server instead.",
        )
    family = FAMILIES[architecture]
    if wrong := malformed(values):
        raise BadCheckpoint(f"{where} is malformed: {'; '.join(wrong)}.", _MEND)
    unsupported = refuse_keys(values, family, {*_FIELDS, *_READ_APART})
    rope = dict(values.get("rope_parameters") or values.get("rope_scaling") or {})
    theta = rope.pop("rope_theta", None) or values.get("rope_theta") or 10000.0
    yarn = _read_yarn(rope, unsupported, where)
    block, power_of_two = _read_quantization(values.get("quantization_config"), unsupported)
    dense = leading_dense(values.get("mlp_layer_types"), values.get("num_hidden_layers"), unsupported)
    if unsupported:
        raise UnsupportedArchitecture(
            f"{where} asks for what the torch engine does not implement: " + "; ".join(unsupported) + ".",
            "Open the model as GGUF or through a server instead.",
        )

    defaults = {name: field.default for name, field in Config.__dataclass_fields__.items()} | dict(family.absent)
    read: dict[str, Any] = {"architecture": architecture, "yarn": yarn}
    problems = []
    for name in _FIELDS:
        value = values.get(name)
        if name == "rope_theta":
            value = theta
        elif name == "first_k_dense_replace" and dense is not None:
            value = dense
        if value is None and name != "q_lora_rank":
            value = defaults[name]
        if not _is_a(Config.__dataclass_fields__[name].type, value):
            missing = name not in values and name != "rope_theta"
            problems.append(f"{name} is missing" if missing else f"{name} = {value!r}")
        read[name] = value
    eos = values.get("eos_token_id")
    read["eos_token_ids"] = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
    read["bos_token_id"] = values.get("bos_token_id")
    read["fp8_block"], read["fp8_power_of_two_scales"] = block, power_of_two
    if problems:
        raise BadCheckpoint(f"{where} is incomplete: " + "; ".join(problems) + ".", _MEND)
    if (values.get("topk_method") or family.methods[0]) == "greedy":  # no group limit, whatever n_group says
        read["n_group"] = read["topk_group"] = 1
    try:
        return Config(**read)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{where}: {error.message}", _MEND) from None


def _is_a(kind: Any, value: object) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return is_number(value) if kind is float else isinstance(value, kind)


def _read_yarn(rope: dict[str, Any], unsupported: list[str], where: str) -> Yarn | None:
    kind = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
    rope.pop("type", None)
    if rope.get("partial_rotary_factor") == 1.0:  # qk_rope_head_dim says already how much is rotated
        del rope["partial_rotary_factor"]
    if kind == "default":
        unsupported += [f"rope_scaling.{key} = {value!r}" for key, value in rope.items() if value is not None]
        return None
    if kind != "yarn":
        unsupported.append(f"rope_scaling.type = {kind!r}")
        return None
    names = {
        "factor": "factor", "original_max_position_embeddings": "original_context", "beta_fast": "beta_fast",
        "beta_slow": "beta_slow", "mscale": "mscale", "mscale_all_dim": "mscale_all_dim",
    }  # fmt: skip
    unsupported += [f"rope_scaling.{key} = {rope[key]!r}" for key in rope if key not in names and rope[key] is not None]
    found = {names[key]: value for key, value in rope.items() if key in names and value is not None}
    if not {"factor", "original_context"} <= found.keys():
        unsupported.append("rope_scaling of type yarn without factor or original_max_position_embeddings")
        return None
    try:
        return Yarn(**found)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{where}: {error.message}", _MEND) from None


def _read_quantization(values: Any, unsupported: list[str]) -> tuple[tuple[int, int] | None, bool]:
    if not values:
        return None, False
    wanted = {
        "quant_method": ("fp8",),
        "fmt": ("e4m3", None),
        "activation_scheme": ("dynamic", None),
        "scale_fmt": ("ue8m0", "float", None),
    }
    # Which weights are not quantised is seen in the files, tensor by tensor.
    read_apart = ("weight_block_size", "modules_to_not_convert", "ignored_layers")
    for key, value in values.items():
        if key not in read_apart and (key not in wanted or value not in wanted[key]):
            unsupported.append(f"quantization_config.{key} = {value!r}")
    block = values.get("weight_block_size")
    if block != list(FP8_BLOCK):
        unsupported.append(f"quantization_config.weight_block_size = {block!r}")
    return FP8_BLOCK, values.get("scale_fmt") == "ue8m0"


def read_config(folder: Path) -> Config:
    """The configuration of the checkpoint in `folder`.

    :raises BadCheckpoint: `config.json` is missing, no JSON object, or see `from_json`.
    """
    file = folder / "config.json"
    if not file.exists():
        raise BadCheckpoint(f"{folder} has no config.json.", "Name a folder in the Hugging Face layout.")
    return from_json(read_object(file), str(file))
