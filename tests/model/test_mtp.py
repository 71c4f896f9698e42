"""Predictors: against the formula written out, over a cache against without one, and under their published names."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.checkpoint import load_model
from model.config import read_config
from model.deepseek import DeepseekForCausalLM, parameter_counts
from model.layers import RMSNorm
from model.saving import save_model
from model.step import Reading, make_step
from model.tensors import named_tensors

CPU = torch.device("cpu")


@pytest.fixture
def model(checkpoint: Path) -> DeepseekForCausalLM:
    """Two predictors, with norms that are not all ones."""
    generator = torch.Generator().manual_seed(3)
    made = DeepseekForCausalLM(replace(read_config(checkpoint), num_nextn_predict_layers=2))
    made.init_weights(generator)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, RMSNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
    return made.eval().requires_grad_(False)


def ids(count: int) -> Tensor:
    return torch.randint(0, 320, (count,), generator=torch.Generator().manual_seed(9))


def spread_error(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).abs().max() / expected.std()).item()


@torch.inference_mode()
def test_a_predictor_reads_states_after_the_final_norm(model: DeepseekForCausalLM) -> None:
    tokens = ids(41)[None]
    before: list[Tensor] = []
    handle = model.model.norm.register_forward_pre_hook(lambda module, inputs: before.append(inputs[0]))
    after, _ = model.hidden(tokens[:, :-1])
    handle.remove()
    drafted = model.draft_whole(0, tokens[:, 1:], after)
    predictor = model.mtp[0]
    errors = []
    for hidden in (after, before[0]):
        embedded = F.embedding(tokens[:, 1:], model.model.embed_tokens.weight)
        parts = [
            F.rms_norm(embedded, (64,), predictor.enorm.weight, 1e-6),
            F.rms_norm(hidden, (64,), predictor.hnorm.weight, 1e-6),
        ]
        x = torch.cat(parts, dim=-1) @ predictor.eh_proj.weight.T
        x, _ = predictor.block(x, model.model.rotary_emb(torch.arange(40)))
        errors.append(spread_error(drafted, F.rms_norm(x, (64,), predictor.norm.weight, 1e-6)))
    print(f"largest difference, states after the final norm: {errors[0]:.1e}, before it: {errors[1]:.1e} deviations")
    assert errors[0] < 1e-4 < 0.01 < errors[1]


@torch.inference_mode()
def test_drafting_over_a_cache_is_drafting_over_whole_sequences(model: DeepseekForCausalLM) -> None:
    tokens = ids(100)
    hidden, _ = model.hidden(tokens[None, :-1])
    first = model.draft_whole(0, tokens[None, 1:], hidden)
    second = model.draft_whole(1, tokens[None, 2:], first[:, :-1])
    cache = LatentCache(model.config, 4, torch.float32, CPU)
    pages = [3, 1]
    assert len(pages) * PAGE >= len(tokens)
    states: list[list[Tensor]] = [[], []]
    # The main model reads a chunk; predictors follow with the tokens one and two further on.
    for start, end in [(0, 70), (70, 71), (71, 98)]:
        step = make_step([Reading(tokens[start:end].tolist(), start, pages)], CPU)
        main = model.step(step, cache)
        states[0].append(model.draft(0, replace(step, tokens=tokens[start + 1 : end + 1]), main, cache))
        states[1].append(model.draft(1, replace(step, tokens=tokens[start + 2 : end + 2]), states[0][-1], cache))
    for k, expected in enumerate((first, second)):
        error = spread_error(torch.cat(states[k]), expected[0, :98])
        print(f"predictor {k}: largest difference {error:.1e} deviations")
        assert error < 1e-4


def test_predictors_go_to_files_under_their_published_names_and_back(
    model: DeepseekForCausalLM, tmp_path: Path
) -> None:
    save_model(model, tmp_path, torch.float32)
    stored = load_file(tmp_path / "model.safetensors")
    own = {name.removeprefix("model.layers.3.") for name in stored if name.startswith("model.layers.3.")}
    layer = {name.removeprefix("model.layers.2.") for name in stored if name.startswith("model.layers.2.")}
    assert own == layer | {"enorm.weight", "hnorm.weight", "eh_proj.weight", "shared_head.norm.weight"}
    again = load_model(tmp_path, torch.float32, CPU)
    assert again.config == model.config
    for (name, tensor), (_, loaded) in zip(named_tensors(model).items(), named_tensors(again).items(), strict=True):
        assert torch.equal(tensor, loaded), name


def test_what_predictors_share_with_the_model_is_not_held_twice(model: DeepseekForCausalLM, tmp_path: Path) -> None:
    save_model(model, tmp_path, torch.float32)
    stored = load_file(tmp_path / "model.safetensors")
    for layer in (3, 4):
        stored[f"model.layers.{layer}.embed_tokens.weight"] = stored["model.embed_tokens.weight"].clone()
        stored[f"model.layers.{layer}.shared_head.head.weight"] = stored["lm_head.weight"].clone()
    save_file(stored, tmp_path / "model.safetensors")
    again = load_model(tmp_path, torch.float32, CPU)
    assert named_tensors(again).keys() == named_tensors(model).keys()


def test_predictors_do_not_count_as_the_models_parameters(model: DeepseekForCausalLM) -> None:
    plain = DeepseekForCausalLM(replace(model.config, num_nextn_predict_layers=0))
    assert parameter_counts(model) == parameter_counts(plain)
