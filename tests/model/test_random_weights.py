"""Random models: published sizes, the storage that a loaded checkpoint has, and the same weights for the same seed."""

from dataclasses import replace

import pytest
import torch

from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.errors import UnknownModel
from model.layers import Linear
from model.moe import Experts
from model.placement import count_parameters
from model.random_weights import SHAPES, random_model, shape_config

CPU = torch.device("cpu")


def tiny(name: str) -> Config:
    """The published shape at small widths; 200 is no multiple of a block's 128."""
    return replace(
        SHAPES[name], vocab_size=256, hidden_size=200, intermediate_size=136, moe_intermediate_size=136,
        num_hidden_layers=4, num_attention_heads=2, kv_lora_rank=128, qk_nope_head_dim=16, qk_rope_head_dim=8,
        v_head_dim=16, n_routed_experts=32,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "total", "active"), [("v2-lite", 15.7e9, 2.66e9), ("v2", 235.7e9, 21.4e9), ("v3", 671.0e9, 37.6e9)]
)
def test_published_shapes_have_the_published_sizes(name: str, total: float, active: float) -> None:
    counted = count_parameters(replace(shape_config(name), num_nextn_predict_layers=0))
    assert counted == (pytest.approx(total, rel=0.005), pytest.approx(active, rel=0.01))


def test_a_shape_can_have_fewer_layers() -> None:
    assert shape_config("v3-layers=4") == replace(SHAPES["v3"], num_hidden_layers=4)
    for wrong in ("v4", "v3-layers=62", "v3-layers=0", "v3-layers=x", ""):
        with pytest.raises(UnknownModel):
            shape_config(wrong)


@pytest.mark.parametrize("name", SHAPES)
def test_a_random_model_runs_and_is_the_same_for_the_same_seed(name: str) -> None:
    tokens = torch.arange(12)[None]
    first, again, other = (random_model(tiny(name), torch.float32, CPU, seed=seed)(tokens) for seed in (1, 1, 2))
    assert first.isfinite().all() and first.std() > 0
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_fp8_weights_are_held_as_published() -> None:
    model = random_model(tiny("v3"), torch.bfloat16, CPU, fp8=True)
    assert model.lm_head.weight.dtype == model.model.embed_tokens.weight.dtype == torch.bfloat16
    quantised = 0
    for name, module in model.named_modules():
        if isinstance(module, Experts):
            assert module.gate_up_proj.dtype == module.down_proj.dtype == torch.float8_e4m3fn
            assert module.gate_up_scale_inv.shape == (32, 2, 2, 2) and module.down_scale_inv.shape == (32, 2, 2)
        elif isinstance(module, Linear) and name != "lm_head" and "mtp" not in name:
            rows, columns = module.weight.shape
            assert module.weight.dtype == torch.float8_e4m3fn, name
            assert module.weight_scale_inv.shape == (-(-rows // 128), -(-columns // 128)), name
            quantised += 1
    assert quantised == 4 * 5 + 3 * 3 + 3  # attention, dense and shared MLPs
    _check_spread(model)


def _check_spread(model: DeepseekForCausalLM) -> None:
    """Values times factors have about the standard deviation that training starts from."""
    projection = model.model.layers[0].self_attn.kv_b_proj
    scales = projection.weight_scale_inv.repeat_interleave(128, 0).repeat_interleave(128, 1)
    rows, columns = projection.weight.shape
    values = projection.weight.float() * scales[:rows, :columns]
    assert values.std() == pytest.approx(0.02, rel=0.5)
