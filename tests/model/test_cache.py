"""Every way of reading a sequence gives the hidden states of full recomputation, within 1e-4 of their deviation."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.attention import Attention
from model.cache import PAGE, LatentCache, dequantise, fp8_row, quantise, token_bytes
from model.checkpoint import load_model
from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.errors import ModelError
from model.step import Reading, make_branches, make_step

TOLERANCE = 1e-4
CPU = torch.device("cpu")
Make = Callable[..., tuple[Path, Any]]


@pytest.fixture(params=[2, 3])
def model(request: pytest.FixtureRequest, make_checkpoint: Make) -> DeepseekForCausalLM:
    return load_model(make_checkpoint(request.param)[0], torch.float32, CPU)


def sequence(length: int = 200, seed: int = 3) -> list[int]:
    return torch.randint(0, 320, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def whole(model: DeepseekForCausalLM, tokens: list[int]) -> torch.Tensor:
    """Hidden states [S, D] without a cache."""
    return model.hidden(torch.tensor([tokens]))[0][0]


def new_cache(model: DeepseekForCausalLM, pages: int = 16, fp8: bool = False) -> LatentCache:
    return LatentCache(model.config, pages, torch.float32, CPU, fp8)


def read(
    model: DeepseekForCausalLM, cache: LatentCache, pages: list[int], tokens: list[int], chunks: list[int]
) -> torch.Tensor:
    """Hidden states [S, D] of `tokens`, read chunk after chunk into `pages`."""
    states, held = [], 0
    for size in chunks:
        step = make_step([Reading(tokens[held : held + size], held, pages)], CPU)
        states.append(model.step(step, cache))
        held += size
    return torch.cat(states)


def worst(got: torch.Tensor, expected: torch.Tensor, what: str) -> float:
    largest = ((got - expected).abs().max() / expected.std()).item()
    print(f"{what}: largest difference {largest:.1e} standard deviations")
    return largest


@torch.inference_mode()
@pytest.mark.parametrize(
    "pages", [[3, 4, 5, 6], [2, 3, 7, 8], [9, 2, 11, 0]], ids=["consecutive", "two runs", "shuffled"]
)
@pytest.mark.parametrize("chunks", [[200], [1] * 200, [130, 70], [64, 1, 1, 3, 131], [63, 65, 72]])
def test_reading_in_chunks_matches_full_recomputation(
    model: DeepseekForCausalLM, chunks: list[int], pages: list[int]
) -> None:
    got = read(model, new_cache(model), pages, sequence(), chunks)
    assert worst(got, whole(model, sequence()), f"{len(chunks)} chunks") < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("absorbed", [True, False], ids=["absorbed", "expanded"])
def test_both_forms_read_history_in_blocks(
    model: DeepseekForCausalLM, absorbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attention, "_absorption_pays", lambda self, new: absorbed)
    monkeypatch.setattr("model.attention._HISTORY_BLOCK", PAGE)
    monkeypatch.setattr("model.attention._ABSORBED_SCORES", 1)
    got = read(model, new_cache(model), [5, 1, 2, 3], sequence(), [150, 50])
    assert worst(got, whole(model, sequence()), "absorbed" if absorbed else "expanded") < TOLERANCE


@torch.inference_mode()
def test_sequences_in_one_step_match_each_alone(model: DeepseekForCausalLM) -> None:
    cache = new_cache(model)
    rows = [sequence(n, seed=n) for n in (90, 1, 130, 70)]
    tables = [[7, 0], [3], [12, 4, 9], [1, 2]]
    firsts = [60, 0, 129, 64]
    begun = [Reading(row[:first], 0, own) for row, first, own in zip(rows, firsts, tables, strict=True) if first]
    model.step(make_step(begun, CPU), cache)
    rest = [Reading(row[first:], first, own) for row, first, own in zip(rows, firsts, tables, strict=True)]
    got = model.step(make_step(rest, CPU), cache)
    for row, first, states in zip(rows, firsts, got.split([len(one.tokens) for one in rest]), strict=True):
        assert worst(states, whole(model, row)[first:], f"{len(row)} tokens, {first} before") < TOLERANCE


@torch.inference_mode()
@pytest.mark.parametrize("lengths", [[3, 1, 7, 5, 2], [3, 1, 7, 5, 40], [1, 1, 1], [150, 2]])
def test_branches_match_reading_each_continuation_alone(model: DeepseekForCausalLM, lengths: list[int]) -> None:
    cache, prompt = new_cache(model), sequence(90)
    read(model, cache, [6, 2, 3], prompt, [90])
    before = cache.storage.clone()
    rows = [sequence(length, seed=40 + number) for number, length in enumerate(lengths)]
    got = model.branch(make_branches(rows, len(prompt), [6, 2, 3], CPU), cache)
    assert torch.equal(cache.storage.view(torch.uint8), before.view(torch.uint8))
    for row, states in zip(rows, got.split(lengths), strict=True):
        assert worst(states, whole(model, prompt + row)[90:], f"branch of {len(row)}") < TOLERANCE


@torch.inference_mode()
def test_consecutive_pages_are_read_without_a_copy(model: DeepseekForCausalLM) -> None:
    cache = new_cache(model)
    assert cache.read(1, [4, 5, 6], 150).data_ptr() == cache.storage[1, 4].data_ptr()
    cache.storage.zero_()
    cache.storage[1, 5] = 1.0
    assert cache.read(1, [4, 5, 6], 150).sum() == PAGE * model.config.latent_dim
    assert cache.read(1, [6, 5, 4], 100).sum() == 36 * model.config.latent_dim
    assert cache.read(1, [], 0).shape == (0, model.config.latent_dim)


@torch.inference_mode()
def test_runs_of_pages_are_read_without_a_copy_unless_they_are_many(
    model: DeepseekForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = new_cache(model)
    cache.storage.normal_()
    pages, length = [4, 5, 0, 9, 10], 300
    runs = cache.runs(1, pages, length)
    assert [run.data_ptr() for run in runs] == [cache.storage[1, page].data_ptr() for page in (4, 0, 9)]
    assert torch.equal(torch.cat(runs), cache.read(1, pages, length))
    monkeypatch.setattr("model.cache._MOST_RUNS", 2)
    assert len(cache.runs(1, pages, length)) == 1


@torch.inference_mode()
def test_bfloat16_follows_float32(make_checkpoint: Make) -> None:
    # Without routing, whose choices flip on rounding, bfloat16 stays close.
    folder, _ = make_checkpoint(3, first_k_dense_replace=3)
    wide = load_model(folder, torch.float32, CPU)
    narrow = load_model(folder, torch.bfloat16, CPU)
    expected = whole(wide, sequence())
    cache = LatentCache(narrow.config, 4, torch.bfloat16, CPU)
    got = torch.cat([whole(narrow, sequence()), read(narrow, cache, [0, 1, 2, 3], sequence(), [120, 1, 60, 19])])
    difference = (got.float() - expected.repeat(2, 1)).abs().mean() / expected.std()
    assert difference < 0.05


# --- The FP8 layout


def reference_rows(latents: np.ndarray) -> np.ndarray:
    """The layout in NumPy, for R = 512 and P = 64: the nearest of all e4m3 values, ties to the even mantissa."""
    codes = np.arange(256, dtype=np.uint8)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    value = np.where(exponent > 0, (1 + mantissa / 8) * 2.0 ** (exponent.astype(int) - 7), mantissa / 8 * 2.0**-6)
    value = np.where((codes & 127) == 127, np.inf, value)[:128]  # NaN is never nearest
    rows = []
    for row in latents:
        groups = row[:512].reshape(4, 128)
        scales = (np.abs(groups).max(1) / np.float32(448)).astype(np.float32)
        scaled = (groups / np.where(scales > 0, scales, 1)[:, None]).astype(np.float32)
        distance = np.abs(np.abs(scaled)[..., None].astype(float) - value)
        nearest = np.where(distance == distance.min(-1, keepdims=True), np.arange(128) % 2, 2).argmin(-1)
        bytes_ = (nearest | np.where(np.signbit(scaled), 128, 0)).astype(np.uint8)
        wide = row[512:].view(np.uint32)
        narrow = ((wide + 0x7FFF + ((wide >> 16) & 1)) >> 16).astype(np.uint16)
        rows.append(np.concatenate([bytes_.ravel(), scales.view(np.uint8), narrow.view(np.uint8)]))
    return np.stack(rows)


def v2_lite(**changes: Any) -> Config:
    values: dict[str, Any] = {
        "architecture": "deepseek_v2", "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944,
        "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
        "num_experts_per_tok": 6,
    }  # fmt: skip
    return Config(**values | changes)


def test_fp8_rows_are_those_of_a_numpy_reference() -> None:
    latents = torch.randn(40, 576, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 3, 40)[:, None]
    latents[3, :128] = 0.0
    latents[4, 128:256] = -1e-30
    rows = quantise(latents, 512)
    assert rows.shape == (40, 656)
    assert np.array_equal(rows.numpy(), reference_rows(latents.numpy()))


def test_the_fp8_layout_loses_at_most_a_sixteenth_of_a_value_or_a_step_of_its_group() -> None:
    latents = torch.randn(64, 576, generator=torch.Generator().manual_seed(2))
    back = dequantise(quantise(latents, 512), 512, torch.float32)
    step = latents[:, :512].unflatten(1, (4, 128)).abs().amax(-1, keepdim=True) / 448 * 2.0**-10
    error = (back - latents)[:, :512].unflatten(1, (4, 128)).abs()
    assert bool((error <= latents[:, :512].unflatten(1, (4, 128)).abs() / 16 + step).all())
    assert torch.equal(back[:, 512:], latents[:, 512:].bfloat16().float())
    zeros = torch.zeros(1, 576)
    assert torch.equal(dequantise(quantise(zeros, 512), 512, torch.float32), zeros)


def test_the_bytes_of_128k_tokens_of_v2_lite() -> None:
    config = v2_lite()
    assert fp8_row(config) == 656
    window = 131072
    assert token_bytes(config, torch.bfloat16, True) * window / 2**30 < 2.2
    assert token_bytes(config, torch.bfloat16, False) * window / 2**30 < 3.9
    for fp8 in (True, False):
        cache = LatentCache(config, 4, torch.bfloat16, CPU, fp8)
        assert cache.storage.nbytes == token_bytes(config, torch.bfloat16, fp8) * 4 * PAGE


def test_an_fp8_cache_refuses_a_latent_that_its_groups_do_not_divide(model: DeepseekForCausalLM) -> None:
    with pytest.raises(ModelError, match="128"):
        new_cache(model, fp8=True)


@torch.inference_mode()
@pytest.mark.parametrize("pages", [[0, 1, 2, 3], [2, 3, 0, 1]])
def test_an_fp8_cache_follows_the_unquantised_one(make_checkpoint: Make, pages: list[int]) -> None:
    # Without routing, whose choices flip on rounding.
    folder, _ = make_checkpoint(3, kv_lora_rank=128, first_k_dense_replace=3)
    model = load_model(folder, torch.float32, CPU)
    chunks = [100, 1, 1, 70, 28]
    exact = read(model, new_cache(model), pages, sequence(), chunks)
    rounded = read(model, new_cache(model, fp8=True), pages, sequence(), chunks)
    difference = ((rounded - exact).abs().mean() / exact.std()).item()
    print(f"FP8 cache: mean difference {difference:.1e} standard deviations")
    assert 0 < difference < 0.1


def test_pages_of_one_sequence_need_not_be_of_another(model: DeepseekForCausalLM) -> None:
    """Random orders of pages and chunks, interleaved between two sequences."""
    shuffle = random.Random(5)
    pages = shuffle.sample(range(16), 8)
    rows, cache = [sequence(200, seed=8), sequence(180, seed=9)], new_cache(model)
    held, states = [0, 0], [[], []]  # type: list[int], list[list[torch.Tensor]]
    with torch.inference_mode():
        while any(held[n] < len(rows[n]) for n in (0, 1)):
            which = shuffle.choice([n for n in (0, 1) if held[n] < len(rows[n])])
            some = rows[which][held[which] : held[which] + shuffle.choice([1, 5, 40])]
            step = make_step([Reading(some, held[which], pages[4 * which : 4 * which + 4])], CPU)
            states[which].append(model.step(step, cache))
            held[which] += len(some)
        for row, got in zip(rows, states, strict=True):
            assert worst(torch.cat(got), whole(model, row), "interleaved") < TOLERANCE
