"""FP8 weights kept as published against the same weights expanded, and back to the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.cache import LatentCache
from model.checkpoint import load_model
from model.config import read_config
from model.deepseek import DeepseekForCausalLM
from model.errors import BadCheckpoint
from model.fp8 import dequantize, linear, quantize
from model.layers import Linear
from model.moe import Experts
from model.saving import save_model
from model.step import Reading, make_step

CPU = torch.device("cpu")
E4M3 = torch.float8_e4m3fn
Make = Callable[..., tuple[Path, Any]]


@pytest.fixture
def published(make_checkpoint: Make, tmp_path: Path) -> Path:
    """A V3 checkpoint with a predictor in FP8: widths over one block, and partial blocks everywhere."""
    source = make_checkpoint(
        3, hidden_size=200, kv_lora_rank=136, moe_intermediate_size=144, intermediate_size=136, num_hidden_layers=2
    )[0]
    bare = load_model(source, torch.float32, CPU)
    model = DeepseekForCausalLM(replace(read_config(source), num_nextn_predict_layers=1))
    model.init_weights(torch.Generator().manual_seed(0))
    model.load_state_dict(bare.state_dict(), strict=False)
    folder = tmp_path / "fp8"
    save_model(model, folder, torch.bfloat16, fp8_block=(128, 128))
    return folder


def test_projections_and_experts_are_kept_and_nothing_else(published: Path) -> None:
    model = load_model(published, torch.bfloat16, CPU, keep_fp8=True)
    assert len(model.mtp) == 1
    for name, module in model.named_modules():
        if isinstance(module, Experts):
            assert module.gate_up_proj.dtype == module.down_proj.dtype == E4M3
            assert module.gate_up_scale_inv is not None and module.down_scale_inv is not None
            assert module.gate_up_scale_inv.shape == (8, 2, 2, 2) and module.down_scale_inv.shape == (8, 2, 2)
        elif isinstance(module, Linear):
            kept = name != "lm_head" and not name.endswith("eh_proj")
            assert (module.weight.dtype == E4M3) == kept == (module.weight_scale_inv is not None), name
        for parameter in module.parameters(recurse=False):
            assert parameter.dtype in (E4M3, torch.bfloat16, torch.float32)
    assert model.model.layers[1].mlp.gate.weight.dtype == torch.float32
    assert all(one.dtype != E4M3 for one in load_model(published, torch.bfloat16, CPU).parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_kept_weights_give_what_expanded_ones_give(published: Path, dtype: torch.dtype) -> None:
    expanded, kept = (load_model(published, dtype, CPU, keep_fp8=keep) for keep in (False, True))
    ids = torch.randint(0, 320, (1, 60), generator=torch.Generator().manual_seed(1))
    expected = expanded(ids)
    error = ((kept(ids) - expected).abs().max() / expected.std()).item()
    print(f"{dtype}, whole sequence: largest difference {error:.1e} standard deviations")
    assert error < (1e-5 if dtype == torch.float32 else 1e-2)
    # Over a cache: one prompt, and one token, which takes the absorbed form and the path of a single token.
    outs = []
    for model in (expanded, kept):
        cache = LatentCache(model.config, 1, dtype, CPU)
        model.step(make_step([Reading(ids[0, :59].tolist(), 0, [0])], CPU), cache)
        outs.append(model.step(make_step([Reading(ids[0, 59:].tolist(), 59, [0])], CPU), cache))
    error = ((outs[1] - outs[0]).abs().max() / outs[0].std()).item()
    print(f"{dtype}, one token over a cache: largest difference {error:.1e} standard deviations")
    assert error < (1e-5 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("power_of_two", [False, True])
def test_a_kept_model_is_written_as_it_was_read(published: Path, tmp_path: Path, power_of_two: bool) -> None:
    if power_of_two:
        model = load_model(published, torch.bfloat16, CPU)
        save_model(model, published, torch.bfloat16, fp8_block=(128, 128), power_of_two_scales=True)
    save_model(load_model(published, torch.bfloat16, CPU, keep_fp8=True), tmp_path / "again", torch.bfloat16)
    first, second = (load_file(folder / "model.safetensors") for folder in (published, tmp_path / "again"))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert second[name].dtype == tensor.dtype, name
        assert torch.equal(second[name].view(torch.uint8), tensor.view(torch.uint8)), name
    assert read_config(published) == read_config(tmp_path / "again")
    assert read_config(published).fp8_power_of_two_scales is power_of_two


def test_scales_stored_as_exponents_are_read(published: Path) -> None:
    model = load_model(published, torch.bfloat16, CPU)
    save_model(model, published, torch.bfloat16, fp8_block=(128, 128), power_of_two_scales=True)
    expected = load_model(published, torch.float32, CPU, keep_fp8=True)
    file = published / "model.safetensors"
    tensors = {
        name: tensor.to(torch.float8_e8m0fnu) if name.endswith("scale_inv") else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file)
    again = load_model(published, torch.float32, CPU, keep_fp8=True)
    plain = load_model(published, torch.float32, CPU)
    for (name, one), (_, other) in zip(expected.named_buffers(), again.named_buffers(), strict=True):
        assert one.dtype == other.dtype == torch.float32 and torch.equal(one, other), name
    ids = torch.arange(20)[None]
    torch.testing.assert_close(again(ids), plain(ids), rtol=1e-4, atol=1e-4)


def test_a_layer_whose_experts_are_only_partly_fp8_is_expanded(published: Path) -> None:
    file = published / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.experts.5.up_proj.weight"
    scales = tensors.pop(f"{name}_scale_inv")
    tensors[name] = dequantize(tensors[name], scales, (128, 128), torch.bfloat16)
    save_file(tensors, file)
    experts = load_model(published, torch.bfloat16, CPU, keep_fp8=True).model.layers[1].mlp.experts
    assert experts.gate_up_proj.dtype == torch.bfloat16 and experts.gate_up_scale_inv is None


def test_scales_of_a_foreign_type_are_refused(published: Path) -> None:
    file = published / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.0.mlp.up_proj.weight_scale_inv"
    save_file(tensors | {name: tensors[name].to(torch.int32)}, file)
    with pytest.raises(BadCheckpoint, match=r"up_proj\.weight_scale_inv is of type I32"):
        load_model(published, torch.float32, CPU)


def test_a_linear_map_multiplies_the_factors_of_its_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(300, 200, generator=generator), torch.randn(5, 200, generator=generator)
    values, scales = quantize(weight, (128, 128))
    expected = torch.zeros(5, 300)
    for row in range(300):
        for column in range(200):
            expected[:, row] += x[:, column] * values[row, column].float() * scales[row // 128, column // 128]
    torch.testing.assert_close(linear(x, values, scales, (128, 128)), expected, rtol=1e-4, atol=1e-4)
