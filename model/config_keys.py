"""The model families whose `config.json` is read, and what its keys may say: everything else is refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Architecture = Literal["deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite"]
"""A `model_type`."""


@dataclass(frozen=True, slots=True)
class Family:
    """What the models of one `model_type` have in common."""

    classes: tuple[str, ...]
    """The names that `architectures` may give; the first is written."""
    scoring: Literal["softmax", "sigmoid"]
    methods: tuple[str, ...]
    """The values of `topk_method`, the first where the key is absent."""
    absent: Mapping[str, Any] = field(default_factory=dict)
    """What an absent key means, where that differs from the defaults of `Config`."""


_V3_ABSENT = {
    "first_k_dense_replace": 3, "n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5, "norm_topk_prob": True,
}  # fmt: skip

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "deepseek_v2": Family(
            ("DeepseekV2ForCausalLM",), "softmax", ("greedy", "group_limited_greedy"),
            {"first_k_dense_replace": 0, "n_shared_experts": 2},
        ),
        # V3, R1, V3.1, Moonlight
        "deepseek_v3": Family(("DeepseekV3ForCausalLM",), "sigmoid", ("noaux_tc",), _V3_ABSENT),
        # V3's architecture under a name of its own
        "kimi_k2": Family(("DeepseekV3ForCausalLM", "KimiK2ForCausalLM"), "sigmoid", ("noaux_tc",), _V3_ABSENT),
        "glm4_moe_lite": Family(
            ("Glm4MoeLiteForCausalLM",), "sigmoid", ("noaux_tc",),
            {
                "routed_scaling_factor": 1.8, "norm_topk_prob": True, "rms_norm_eps": 1e-5,
                "max_position_embeddings": 202_752,
            },
        ),
    }
)  # fmt: skip

# Keys that change nothing about inference: bookkeeping, training, generation defaults, and dimensions that
# transformers derives from others.
INERT = frozenset(
    {
        "architectures", "auto_map", "transformers_version", "torch_dtype", "dtype", "use_cache",
        "pretraining_tp", "seq_aux", "aux_loss_alpha", "ep_size", "pad_token_id", "sep_token_id",
        "attention_dropout", "output_router_logits", "router_aux_loss_coef", "head_dim", "qk_head_dim",
        "num_key_value_heads", "_name_or_path", "_attn_implementation", "return_dict", "output_attentions",
        "output_hidden_states", "id2label", "label2id", "num_labels", "problem_type",
        "chunk_size_feed_forward", "is_encoder_decoder", "is_decoder", "architecture_version", "name",
        "num_experts", "num_local_experts", "num_mtp_layers", "_experts_implementation", "pp_size", "tp_size",
        "unsloth_version", "unsloth_fixed",
    }
)  # fmt: skip

# Keys with the only values that the engine implements.
REQUIRED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "moe_layer_freq": (1,),
    "mlp_bias": (False, None),
    "tie_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
    "sliding_window": (None,),
    "partial_rotary_factor": (None, 1.0),
}


def refuse_keys(values: Mapping[str, Any], family: Family, known: set[str]) -> list[str]:
    """Every `key = value` that the engine does not implement; the values of `known` keys are judged elsewhere."""
    refused = [
        f"{key} = {values[key]!r}" for key, allowed in REQUIRED.items() if values.get(key) not in (*allowed, None)
    ]
    classes = values.get("architectures") or [family.classes[0]]
    if not set(classes) <= set(family.classes):
        refused.append(f"architectures = {classes!r}")
    scoring = values.get("scoring_func") or family.scoring
    if scoring != family.scoring:
        refused.append(f"scoring_func = {scoring!r}")
    method = values.get("topk_method") or family.methods[0]
    if method not in family.methods:
        refused.append(f"topk_method = {method!r}")
    if family.scoring == "softmax" and values.get("norm_topk_prob"):
        # The reference code then leaves out the scaling factor and transformers the normalisation.
        refused.append("norm_topk_prob = True with a softmax router")
    judged = {*known, *INERT, *REQUIRED, "model_type", "architectures", "scoring_func", "topk_method"}
    return refused + [f"{key} = {values[key]!r}" for key in values if key not in judged]


_KINDS = {
    "architectures": list, "mlp_layer_types": list, "rope_parameters": dict, "rope_scaling": dict,
    "quantization_config": dict,
}  # fmt: skip


def malformed(values: Mapping[str, Any]) -> list[str]:
    """Every `key = value` that is no list or object where one belongs."""
    wrong = [key for key, kind in _KINDS.items() if values.get(key) is not None and not isinstance(values[key], kind)]
    names = values.get("architectures") or []
    if "architectures" not in wrong and not all(isinstance(name, str) for name in names):
        wrong.append("architectures")
    return [f"{key} = {values[key]!r}" for key in wrong]


def leading_dense(types: Any, layers: Any, unsupported: list[str]) -> int | None:
    """How many dense layers come first, where `mlp_layer_types` lists every layer's kind."""
    if types is None:
        return None
    dense = types.index("sparse") if "sparse" in types else len(types)
    if len(types) != layers or types != ["dense"] * dense + ["sparse"] * (len(types) - dense):
        unsupported.append(f"mlp_layer_types = {types!r}")
    return dense
