"""A model whose experts do not fit the device answers what it answers where they fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model import layout
from model.checkpoint import load_model
from model.config import read_config
from model.deepseek import DeepseekForCausalLM
from model.engine import Delta, Request, Sampling
from model.errors import NotEnoughMemory
from model.layout import choose_layout, rank_bytes
from model.moe import Experts, skip_experts
from model.random_weights import SHAPES, random_model
from model.saving import save_model
from model.settings import ModelSettings
from model.shard import WHOLE, Shard
from model.spill import spilled_layers
from model.tensors import named_tensors
from model.torch_engine import TorchEngine

Make = Callable[..., tuple[Path, Any]]
CPU = torch.device("cpu")
EXPERT = 3 * 64 * 32 * 4 * 2  # bytes of an expert of both routed layers of the small checkpoints, in float32


def load(folder: Path, slots: int | None, dtype: torch.dtype = torch.float32, **more: Any) -> DeepseekForCausalLM:
    budget = None if slots is None else slots * EXPERT * dtype.itemsize // 4
    return load_model(folder, dtype, CPU, expert_bytes=budget, **more)


def tokens(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 320, (2, count), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize("version", [2, 3])  # softmax and sigmoid routers
@pytest.mark.parametrize("slots", [2, 5])
def test_logits_are_those_of_the_whole_model(make_checkpoint: Make, version: int, slots: int) -> None:
    folder = make_checkpoint(version)[0]
    whole, spilled = load(folder, None), load(folder, slots)
    assert len(spilled_layers(spilled)) == 2 and not spilled_layers(whole)
    largest = 0.0
    for seed, count in enumerate([1, 64, 1, 1, 3, 20]):  # 64 tokens need all eight experts
        expected, got = (model(tokens(count, seed)) for model in (whole, spilled))
        largest = max(largest, float((got - expected).abs().max() / expected.std()))
    print(f"v{version}, {slots} slots: largest difference {largest:.1e} standard deviations")
    assert largest < 1e-5
    assert all(layer.hot.hits and layer.hot.misses for layer in spilled_layers(spilled))


@torch.inference_mode()
def test_bfloat16_layers_differ_by_rounding_only(checkpoint: Path) -> None:
    whole, spilled = load(checkpoint, None, torch.bfloat16), load(checkpoint, 2, torch.bfloat16)
    x = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected, got = (model.model.layers[1].mlp(x)[0].float() for model in (whole, spilled))
    torch.testing.assert_close(got, expected, rtol=0.02, atol=0.02 * float(expected.std()))


@torch.inference_mode()
def test_fp8_experts_are_kept_and_copied_as_published(checkpoint: Path, tmp_path: Path) -> None:
    save_model(load(checkpoint, None), tmp_path, torch.bfloat16, fp8_block=(128, 128))
    whole = load_model(tmp_path, torch.float32, CPU, keep_fp8=True)
    (layer, _) = [module for module in whole.modules() if isinstance(module, Experts)]
    assert layer.gate_up_scale_inv is not None and layer.down_scale_inv is not None
    expert = sum(
        one[0].nbytes for one in (layer.gate_up_proj, layer.down_proj, layer.gate_up_scale_inv, layer.down_scale_inv)
    )
    spilled = load_model(tmp_path, torch.float32, CPU, keep_fp8=True, expert_bytes=2 * 3 * expert)
    (first, _) = spilled_layers(spilled)
    assert first.slots == 3 and first.gate_up_proj.dtype == torch.float8_e4m3fn
    torch.testing.assert_close(spilled(tokens(30)), whole(tokens(30)), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_skipped_experts_are_not_copied(checkpoint: Path) -> None:
    whole, spilled = load(checkpoint, None), load(checkpoint, 4)
    for model in (whole, spilled):
        skip_experts(model, 0.9)  # all but the strongest
    torch.testing.assert_close(spilled(tokens(1)), whole(tokens(1)), rtol=1e-4, atol=1e-4)
    assert all(layer.hot.misses <= 2 for layer in spilled_layers(spilled))


def test_the_device_holds_slots_only_and_the_host_all(checkpoint: Path, tmp_path: Path) -> None:
    whole, spilled = load(checkpoint, None), load(checkpoint, 3)
    for layer in spilled_layers(spilled):
        (slots,) = layer._on_device
        assert slots.gate_up_proj.shape == (3, 64, 64) and slots.down_proj.shape == (3, 64, 32)
        assert layer.gate_up_proj.shape == (8, 64, 64)
    # What is saved is what was loaded.
    expected, got = named_tensors(whole), named_tensors(spilled)
    assert expected.keys() == got.keys() and all(torch.equal(expected[name], got[name]) for name in got)
    save_model(spilled, tmp_path, torch.float32)
    again = named_tensors(load(tmp_path, None))
    assert all(torch.equal(expected[name], again[name]) for name in again)


def test_budgets_that_hold_all_or_nothing(checkpoint: Path) -> None:
    assert not spilled_layers(load(checkpoint, 8))
    with pytest.raises(NotEnoughMemory, match="no two experts of each layer"):
        load(checkpoint, 1)


@torch.inference_mode()
def test_each_rank_spills_its_own(checkpoint: Path) -> None:
    x = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(0))
    whole = load(checkpoint, None).model.layers[1].mlp
    routing = whole.gate(x[0])
    parts = [load(checkpoint, 2, shard=Shard(rank, 2)).model.layers[1].mlp.experts for rank in range(2)]
    for count in (1, 40):
        given = x[0, :count], routing.weights[:count], routing.experts[:count]
        torch.testing.assert_close(sum(part(*given) for part in parts), whole.experts(*given), rtol=1e-4, atol=1e-4)
    outside = torch.full((3, 3), parts[1].first)
    assert not parts[0](x[0, :3], torch.ones(3, 3), outside).any()  # all with the other rank


REQUESTS = [
    Request("the ferry leaves the old harbour at seven " * 4, Sampling(max_tokens=20)),
    Request("the ferry leaves the old harbour at eight", Sampling(max_tokens=15, temperature=1.0, seed=3)),
    Request("the mill", Sampling(max_tokens=10)),
]


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_engine_answers_the_same_and_says_what_went_where(checkpoint: Path, ranks: int) -> None:
    found = []
    for gib in ("auto", 3 * EXPERT / (1 << 30)):
        engine = TorchEngine(checkpoint, ModelSettings(context=512, ranks=ranks, experts_gib=gib))
        texts = [""] * len(REQUESTS)
        for number, event in engine.generate_all(REQUESTS):
            if isinstance(event, Delta):
                texts[number] += event.text
        scores = [one.logprob for one in engine.score("is it?", ["yes", "no"])]
        found.append((texts, scores, engine.describe().devices))
        engine.close()
    (texts, scores, plain), (same, close, described) = found
    assert same == texts and close == pytest.approx(scores, abs=1e-4) and plain == ("cpu",) * ranks
    held = 8 // ranks
    assert all(f"cpu (3 of {held} experts a layer; all 0.0 GiB of them in host memory)" == one for one in described)
    assert len(described) == ranks


def test_drafts_come_from_spilled_experts_too(tmp_path: Path) -> None:
    config = replace(
        SHAPES["v3"], vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=4, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=16, num_experts_per_tok=4, first_k_dense_replace=1,
    )  # fmt: skip
    save_model(random_model(config, torch.float32, CPU), tmp_path, torch.float32)
    whole, spilled = load(tmp_path, None), load(tmp_path, 4)
    assert len(spilled_layers(spilled)) == 2  # one of them the predictor's
    ids, hidden = tokens(20), torch.randn(2, 20, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = (model.draft_whole(0, ids, hidden) for model in (whole, spilled))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


# --- When it is done


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float], None]:
    """(number, free GiB of each): what this machine is taken to have."""

    def have(number: int, gib: float) -> None:
        free = int(gib * (1 << 30))
        monkeypatch.setattr("torch.cuda.device_count", lambda: number)
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, free))
        monkeypatch.setattr("model.capacity.host_memory", lambda: (64 << 30, 64 << 30))

    return have


LITE = replace(SHAPES["v2-lite"], max_position_embeddings=32768)
PARAMETERS = 15_700_000_000
GIB = 1 << 30


def lite_layout(**settings: Any) -> layout.Layout:
    return choose_layout(
        Path(), LITE, ModelSettings(**settings), torch.bfloat16, torch.device("cuda"), PARAMETERS
    )  # fmt: skip


def test_auto_spills_what_does_not_fit(gpus: Callable[[int, float], None]) -> None:
    gpus(1, 80)
    assert lite_layout().expert_bytes is None
    gpus(2, 24)
    assert lite_layout() == layout.Layout((torch.device("cuda", 0), torch.device("cuda", 1)))  # more GPUs come first
    gpus(1, 24)
    chosen = lite_layout(context=32768)
    assert chosen.devices == (torch.device("cuda", 0),)
    routed, others = rank_bytes(LITE, 1, torch.bfloat16, True)
    assert routed + others == pytest.approx(2 * PARAMETERS, rel=0.01) and chosen.expert_bytes is not None
    window = 32768 * 27 * 576 * 2
    assert 0.85 * 21 * GIB < chosen.expert_bytes + others + window < 21 * GIB  # 3 GiB are left to steps
    more = lite_layout(context=4096).expert_bytes
    assert more is not None and more > chosen.expert_bytes


def test_settings_decide(gpus: Callable[[int, float], None]) -> None:
    gpus(1, 24)
    with pytest.raises(NotEnoughMemory):
        lite_layout(experts_gib="all")
    assert lite_layout(experts_gib=8).expert_bytes == 8 * GIB
    gpus(1, 80)
    assert lite_layout(experts_gib=8).expert_bytes == 8 * GIB
    gpus(1, 8)
    with pytest.raises(NotEnoughMemory):
        lite_layout(experts_gib=8)


def test_a_host_that_is_too_small_is_named(gpus: Callable[[int, float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(1, 24)
    monkeypatch.setattr("model.capacity.host_memory", lambda: (16 << 30, 16 << 30))
    with pytest.raises(NotEnoughMemory, match=r"this machine has 16\.0 GiB"):
        lite_layout()


def test_what_is_held_elsewhere_is_known_before_loading(checkpoint: Path) -> None:
    config = replace(read_config(checkpoint), num_nextn_predict_layers=0)  # transformers writes none
    for size in (1, 2):
        shard = WHOLE if size == 1 else Shard(1, 2)
        model = load_model(checkpoint, torch.bfloat16, CPU, shard=shard)
        routed = sum(
            one.nbytes for layer in model.modules() if isinstance(layer, Experts) for one in layer.parameters()
        )
        total = sum(one.numel() * 2 for one in model.parameters())
        assert rank_bytes(config, size, torch.bfloat16, False) == (routed, total - routed)
