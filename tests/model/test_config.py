"""config.json as published: every family that is read, and refusals of every other by name."""

from typing import Any

import pytest

from model.config import Config, Yarn, from_json
from model.config_keys import FAMILIES
from model.errors import BadCheckpoint, UnsupportedArchitecture

FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}


def yarn(**changes: float) -> dict[str, Any]:
    return {
        "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096, "type": "yarn", **changes,
    }  # fmt: skip


V2: dict[str, Any] = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"},
    "aux_loss_alpha": 0.001,
    "bos_token_id": 100000,
    "eos_token_id": 100001,
    "ep_size": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "initializer_range": 0.02,
    "intermediate_size": 12288,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v2",
    "moe_intermediate_size": 1536,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 160,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_attention_heads": 128,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 60,
    "num_key_value_heads": 128,
    "pretraining_tp": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_scaling": yarn(),
    "rope_theta": 10000,
    "routed_scaling_factor": 16.0,
    "scoring_func": "softmax",
    "seq_aux": True,
    "tie_word_embeddings": False,
    "topk_group": 3,
    "topk_method": "group_limited_greedy",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.39.3",
    "use_cache": True,
    "v_head_dim": 128,
    "vocab_size": 102400,
}
V2_LITE = V2 | {
    "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_group": 1,
    "n_routed_experts": 64, "num_attention_heads": 16, "num_hidden_layers": 27, "num_key_value_heads": 16,
    "q_lora_rank": None, "rope_scaling": yarn(mscale=0.707, mscale_all_dim=0.707), "routed_scaling_factor": 1.0,
    "topk_group": 1, "topk_method": "greedy",
}  # fmt: skip
V3 = V2 | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "bos_token_id": 0, "eos_token_id": 1, "first_k_dense_replace": 3, "hidden_size": 7168,
    "intermediate_size": 18432, "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "n_routed_experts": 256,
    "n_shared_experts": 1, "norm_topk_prob": True, "num_experts_per_tok": 8, "num_hidden_layers": 61,
    "num_nextn_predict_layers": 1, "quantization_config": FP8, "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid", "topk_group": 4, "topk_method": "noaux_tc", "vocab_size": 129280,
}  # fmt: skip
R1 = V3 | {"transformers_version": "4.46.3"}
V3_1 = V3 | {"quantization_config": FP8 | {"scale_fmt": "ue8m0"}, "transformers_version": "4.44.2"}
KIMI_K2 = V3 | {
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "bos_token_id": 163584, "eos_token_id": 163586, "first_k_dense_replace": 1, "max_position_embeddings": 131072,
    "model_type": "kimi_k2", "n_group": 1, "n_routed_experts": 384, "num_attention_heads": 64,
    "num_key_value_heads": 64, "num_nextn_predict_layers": 0, "rope_scaling": yarn(beta_fast=1.0, factor=32.0),
    "rope_theta": 50000.0, "routed_scaling_factor": 2.827, "topk_group": 1, "vocab_size": 163840,
}  # fmt: skip
GLM_FLASH: dict[str, Any] = {
    "architectures": ["Glm4MoeLiteForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "pad_token_id": 154820,
    "eos_token_id": [154820, 154827, 154829],
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 10240,
    "max_position_embeddings": 202752,
    "model_type": "glm4_moe_lite",
    "moe_intermediate_size": 1536,
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "num_attention_heads": 20,
    "n_group": 1,
    "topk_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 1,
    "routed_scaling_factor": 1.8,
    "num_experts_per_tok": 4,
    "first_k_dense_replace": 1,
    "num_hidden_layers": 47,
    "num_key_value_heads": 20,
    "num_nextn_predict_layers": 1,
    "partial_rotary_factor": 1.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
    "transformers_version": "5.0.0rc0",
    "q_lora_rank": 768,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "v_head_dim": 256,
    "vocab_size": 154880,
}
PUBLISHED = {
    "V2": V2, "V2-Lite": V2_LITE, "V3": V3, "R1": R1, "V3.1": V3_1, "Kimi-K2": KIMI_K2,
    "Kimi-K2 under V3's name": KIMI_K2 | {"model_type": "deepseek_v3"}, "GLM-4.7-Flash": GLM_FLASH,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_read_and_written_back(name: str) -> None:
    config = from_json(PUBLISHED[name])
    for key in ("hidden_size", "num_hidden_layers", "q_lora_rank", "n_routed_experts", "routed_scaling_factor"):
        assert getattr(config, key) == PUBLISHED[name][key]
    assert from_json(config.to_json()) == config


def test_what_sets_the_families_apart() -> None:
    lite, v3, v3_1, kimi, glm = (from_json(one) for one in (V2_LITE, V3, V3_1, KIMI_K2, GLM_FLASH))
    assert (lite.sigmoid_router, lite.norm_topk_prob, lite.n_group, lite.fp8_block) == (False, False, 1, None)
    assert lite.softmax_scale == pytest.approx(192**-0.5 * (0.1 * 0.707 * 3.6888795 + 1) ** 2)
    assert v3.sigmoid_router and v3.fp8_block == (128, 128) and v3.num_nextn_predict_layers == 1
    assert (v3.fp8_power_of_two_scales, v3_1.fp8_power_of_two_scales) == (False, True)
    assert kimi.sigmoid_router and (kimi.n_group, kimi.rope_theta, kimi.num_moe_layers) == (1, 50000.0, 60)
    assert kimi.yarn == Yarn(32.0, 4096, beta_fast=1.0, beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
    assert glm.sigmoid_router and glm.yarn is None and (glm.rope_theta, glm.num_moe_layers) == (1e6, 46)
    assert glm.softmax_scale == 256**-0.5 and glm.eos_token_ids == (154820, 154827, 154829)


def test_layer_types_say_how_many_layers_are_dense() -> None:
    def read(types: list[str]) -> Config:
        return from_json({**GLM_FLASH, "num_hidden_layers": 3, "first_k_dense_replace": None, "mlp_layer_types": types})

    assert read(["dense", "dense", "sparse"]).first_k_dense_replace == 2
    assert read(["dense", "dense", "dense"]).num_moe_layers == 0
    for wrong in (["dense", "sparse", "dense"], ["dense", "sparse"], ["dense", "linear", "sparse"]):
        with pytest.raises(UnsupportedArchitecture, match="mlp_layer_types"):
            read(wrong)


def test_a_list_of_what_is_not_quantised_is_no_obstacle() -> None:
    values = V3 | {"quantization_config": FP8 | {"modules_to_not_convert": ["lm_head", "model.layers.0.self_attn"]}}
    assert from_json(values) == from_json(V3)


V3_2 = V3 | {
    "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "index_head_dim": 128,
    "index_n_heads": 64, "index_topk": 2048,
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (V3_2, "'deepseek_v32'"),
        (V3_2 | {"model_type": "deepseek_v3"}, r"DeepseekV32ForCausalLM.*index_topk = 2048"),
        ({"model_type": "deepseek_v4"}, "'deepseek_v4'"),
        ({"model_type": "kimi_k25"}, "'kimi_k25'"),
        ({"model_type": "qwen3_moe"}, "'qwen3_moe'"),
        ({"model_type": "llama"}, "'llama'"),
        ({}, "None"),
        (V2 | {"architectures": ["DeepseekV2ForSequenceClassification"]}, "DeepseekV2ForSequenceClassification"),
        (KIMI_K2 | {"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        (GLM_FLASH | {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        (GLM_FLASH | {"rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ],
)
def test_everything_else_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedArchitecture, match=named) as caught:
        from_json(values)
    if values.get("model_type") not in FAMILIES:
        assert all(family in str(caught.value) for family in FAMILIES)


@pytest.mark.parametrize("name", ["num_hidden_layers", "vocab_size", "n_routed_experts", "num_nextn_predict_layers"])
def test_sizes_beyond_any_model_are_taken_for_damage(name: str) -> None:
    with pytest.raises(BadCheckpoint, match=f"{name} = 134217728 is beyond"):
        from_json(V3 | {name: 1 << 27})


MALFORMED: list[tuple[str, Any]] = [
    ("architectures", 5), ("architectures", [[]]), ("rope_scaling", "yarn"), ("rope_scaling", 5),
    ("rope_scaling", yarn(factor="40")), ("rope_scaling", yarn(factor=0)), ("rope_scaling", yarn(beta_fast=0)),
    ("rope_scaling", yarn(beta_slow=float("nan"))), ("rope_scaling", yarn(original_max_position_embeddings=-1)),
    ("rope_scaling", yarn(mscale=10**30)), ("quantization_config", "fp8"), ("quantization_config", [1]),
    ("mlp_layer_types", 3), ("q_lora_rank", -1), ("rope_theta", "x"), ("rope_theta", 1), ("rope_theta", -1.0),
    ("rms_norm_eps", float("nan")), ("rms_norm_eps", -1), ("routed_scaling_factor", float("inf")),
    ("routed_scaling_factor", 10**30), ("num_nextn_predict_layers", -1), ("max_position_embeddings", 10**30),
    ("vocab_size", 2.0), ("hidden_size", 10**30),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), MALFORMED)
def test_a_malformed_value_is_refused_with_its_file_and_key(key: str, value: Any) -> None:
    with pytest.raises(BadCheckpoint, match=r"some/config\.json") as caught:
        from_json(V3 | {key: value}, "some/config.json")
    named = {"factor", "beta_fast", "beta_slow", "original_context", "mscale"} if isinstance(value, dict) else {key}
    assert any(name in str(caught.value) for name in named)
