"""Every way of reading a sequence gives the hidden states of full recomputation, within 1e-4 of their deviation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.attention import Attention
from model.cache import LatentCache
from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM

TOLERANCE = 1e-4
CPU = torch.device("cpu")
Make = Callable[..., tuple[Path, Any]]


@pytest.fixture(params=[2, 3])
def model(request: pytest.FixtureRequest, make_checkpoint: Make) -> DeepseekForCausalLM:
    return load_model(make_checkpoint(request.param)[0], torch.float32, CPU)


def sequence(length: int = 120) -> torch.Tensor:
    return torch.randint(0, 320, (1, length), generator=torch.Generator().manual_seed(3))


def worst(got: torch.Tensor, expected: torch.Tensor, what: str) -> float:
    largest = ((got - expected).abs().max() / expected.std()).item()
    print(f"{what}: largest difference {largest:.1e} standard deviations")
    return largest


@torch.inference_mode()
@pytest.mark.parametrize("chunks", [[120], [1] * 120, [70, 50], [64, 1, 1, 3, 51]])
def test_reading_in_chunks_matches_full_recomputation(model: DeepseekForCausalLM, chunks: list[int]) -> None:
    expected, _ = model.hidden(sequence())
    cache = LatentCache(model.config, 200, torch.float32, CPU)
    got = torch.cat([model.extend(part, cache) for part in sequence().split(chunks, dim=1)], dim=1)
    assert cache.length == 120
    assert worst(got, expected, f"{len(chunks)} chunks") < TOLERANCE


@torch.inference_mode()
def test_absorbed_and_expanded_forms_agree_in_chunks_that_follow_others(
    model: DeepseekForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {}
    for absorbed in (True, False):
        monkeypatch.setattr(Attention, "_absorption_pays", lambda self, new, absorbed=absorbed: absorbed)
        cache = LatentCache(model.config, 200, torch.float32, CPU)
        model.extend(sequence()[:, :50], cache)
        results[absorbed] = model.extend(sequence()[:, 50:], cache)
    assert worst(results[True], results[False], "absorbed against expanded") < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("many", [False, True])
def test_branches_match_reading_each_continuation_alone(model: DeepseekForCausalLM, many: bool) -> None:
    prefix = LatentCache(model.config, 200, torch.float32, CPU)
    model.extend(sequence()[:, :90], prefix)
    before = prefix.latents[:, :90].clone()
    lengths = [3, 1, 7, 5, 40 if many else 2]
    packed = torch.randint(0, 320, (1, sum(lengths)), generator=torch.Generator().manual_seed(4))
    got = model.branch(packed, lengths, prefix)
    assert prefix.length == 90
    assert torch.equal(prefix.latents[:, :90], before)
    for row, (states, tokens) in enumerate(zip(got.split(lengths, 1), packed.split(lengths, 1), strict=True)):
        expected, _ = model.hidden(torch.cat([sequence()[:, :90], tokens], dim=1))
        assert worst(states, expected[:, 90:], f"branch {row}") < TOLERANCE


@torch.inference_mode()
def test_the_cache_grows_beyond_its_first_allocation(model: DeepseekForCausalLM) -> None:
    cache = LatentCache(model.config, 4096, torch.float32, CPU)
    first = cache.latents.shape[1]
    model.extend(sequence(8), cache)
    before = cache.latents[:, :8].clone()
    cache.reserve(first)
    assert cache.latents.shape[1] >= first + 8
    assert torch.equal(cache.latents[:, :8], before)


@torch.inference_mode()
def test_bfloat16_follows_float32(make_checkpoint: Make) -> None:
    # Without routing, whose choices flip on rounding, bfloat16 stays close.
    folder, _ = make_checkpoint(3, first_k_dense_replace=3)
    wide = load_model(folder, torch.float32, CPU)
    narrow = load_model(folder, torch.bfloat16, CPU)
    expected, _ = wide.hidden(sequence())
    got, _ = narrow.hidden(sequence())
    difference = (got.float() - expected).abs().mean() / expected.std()
    assert difference < 0.05
