"""Logits against transformers' classes of every architecture, and what must break them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM
from model.moe import MoE

Make = Callable[..., tuple[Path, Any]]

BAR = 1e-3
"""Largest error allowed, in standard deviations of the logits."""

GLM: dict[str, Any] = {
    "mlp_layer_types": ["dense", "sparse", "sparse"], "n_group": 1, "topk_group": 1, "rms_norm_eps": 1e-5,
    "routed_scaling_factor": 1.8, "norm_topk_prob": True, "partial_rotary_factor": 1.0,
    "rope_scaling": {"rope_type": "default", "rope_theta": 1000000.0},
}  # fmt: skip

FORMS = {
    "v2": (2, {}),
    "v2-lite": (2, {
        "q_lora_rank": None, "topk_method": "greedy", "n_group": 1, "topk_group": 1, "n_shared_experts": 2}),
    "v2-mscale": (2, {"rope_scaling": {
        "type": "yarn", "factor": 40.0, "original_max_position_embeddings": 16, "beta_fast": 32, "beta_slow": 1,
        "mscale": 0.707, "mscale_all_dim": 0.707}}),
    "v3": (3, {}),
    "v3-no-q-lora": (3, {"q_lora_rank": None}),
    "v3-no-yarn": (3, {"rope_scaling": None}),
    "v3-two-dense": (3, {"first_k_dense_replace": 2}),
    "v3-half-split": (3, {"rope_interleave": False}),
    "v3-attention-bias": (3, {"attention_bias": True}),
    "v3-tied": (3, {"tie_word_embeddings": True}),
    "v3-wide-values": (3, {"v_head_dim": 32}),
    "kimi-k2": (3, {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 2.827, "rope_theta": 50000.0,
        "rope_scaling": {
            "type": "yarn", "factor": 16.0, "original_max_position_embeddings": 32, "beta_fast": 1.0,
            "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}}),
    "glm": (4, GLM),
    "glm-two-dense": (4, {**GLM, "mlp_layer_types": ["dense", "dense", "sparse"]}),
    "glm-groups-yarn": (4, {**GLM, "n_group": 4, "topk_group": 2, "rope_scaling": {
        "type": "yarn", "factor": 16.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1,
        "mscale": 1.0, "mscale_all_dim": 1.0, "rope_theta": 1000000.0}}),
}  # fmt: skip


def tokens() -> torch.Tensor:
    return torch.randint(0, 320, (2, 80), generator=torch.Generator().manual_seed(7))


def load(folder: Path) -> DeepseekForCausalLM:
    return load_model(folder, torch.float32, torch.device("cpu"))


@torch.inference_mode()
def error(ours: DeepseekForCausalLM, reference: Any) -> float:
    """Largest difference of logits in units of the reference's standard deviation, which is at least 1."""
    expected = reference(tokens()).logits
    spread = expected.std().item()
    assert spread >= 1.0
    return (ours(tokens()) - expected).abs().max().item() / spread


@pytest.mark.parametrize("form", FORMS)
def test_logits_match_transformers(form: str, make_checkpoint: Make) -> None:
    version, changes = FORMS[form]
    folder, reference = make_checkpoint(version, **changes)
    measured = error(load(folder), reference)
    print(f"{form}: largest error {measured:.1e} standard deviations")
    assert measured < BAR


@pytest.mark.parametrize("version", [2, 3])
def test_dropping_m_squared_fails_parity(version: int, make_checkpoint: Make) -> None:
    folder, reference = make_checkpoint(version)
    ours = load(folder)
    assert ours.config.yarn is not None
    for layer in ours.model.layers:
        layer.self_attn.scale = ours.config.qk_head_dim**-0.5
    assert error(ours, reference) > BAR


def test_dropping_the_router_bias_fails_parity(make_checkpoint: Make) -> None:
    folder, reference = make_checkpoint(3)
    ours = load(folder)
    for layer in ours.model.layers:
        if isinstance(layer.mlp, MoE):
            layer.mlp.gate.e_score_correction_bias.zero_()
    assert error(ours, reference) > BAR


@pytest.mark.parametrize("version", [2, 3])
def test_dropping_the_group_mask_fails_parity(version: int, make_checkpoint: Make) -> None:
    folder, reference = make_checkpoint(version)
    ours = load(folder)
    for layer in ours.model.layers:
        if isinstance(layer.mlp, MoE):
            layer.mlp.gate.config = replace(ours.config, n_group=1, topk_group=1)
    assert error(ours, reference) > BAR


@pytest.mark.parametrize("version", [2, 3])
def test_dropping_the_interleaving_fails_parity(version: int, make_checkpoint: Make) -> None:
    folder, reference = make_checkpoint(version)
    ours = load(folder)
    for layer in ours.model.layers:
        layer.self_attn.config = replace(ours.config, rope_interleave=False)
    assert error(ours, reference) > BAR


def test_a_masked_group_is_never_chosen_where_all_biases_are_negative(make_checkpoint: Make) -> None:
    folder, reference = make_checkpoint(3)
    ours, reference = load(folder), copy.deepcopy(reference)
    for layer, theirs in zip(ours.model.layers, reference.model.layers, strict=True):
        if isinstance(layer.mlp, MoE):
            layer.mlp.gate.e_score_correction_bias.sub_(3.0)
            theirs.mlp.gate.e_score_correction_bias.sub_(3.0)
    assert error(ours, reference) < BAR
