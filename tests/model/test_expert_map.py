"""Expert use by domain, and skipping weak experts: counts, specialists, what is left out and what that costs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.errors import BenchFailed, ModelError
from model.expert_map import DomainUse, domain_use, specialists, try_skipping
from model.moe import MoE, Router, Routing, skip_experts
from model.random_weights import SHAPES, random_model
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

CPU = torch.device("cpu")
TINY = replace(
    SHAPES["v3"], vocab_size=256, hidden_size=64, intermediate_size=64, moe_intermediate_size=32, num_hidden_layers=5,
    num_attention_heads=2, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
    n_routed_experts=16, initializer_range=0.3, num_nextn_predict_layers=0,
)  # fmt: skip
MODEL = random_model(TINY, torch.float32, CPU)
TOKENS = torch.randint(0, 256, (700,), generator=torch.Generator().manual_seed(1)).tolist()


def test_counts_are_what_the_routers_chose() -> None:
    chosen = torch.zeros(2, 16, dtype=torch.int64)
    routers = [module for module in MODEL.modules() if isinstance(module, Router)]
    layers: dict[torch.nn.Module, int] = {router: layer for layer, router in enumerate(routers)}

    def count(module: torch.nn.Module, inputs: object, routing: Routing) -> None:
        chosen[layers[module]] += routing.experts.flatten().bincount(minlength=16)

    hooks = [router.register_forward_hook(count) for router in routers]
    use = domain_use(MODEL, "noise", TOKENS)
    for hook in hooks:
        hook.remove()
    assert torch.equal(use.counts, chosen) and use.counts.sum() == 700 * 8 * 2
    assert torch.allclose(use.shares.sum(-1), torch.ones(2))


def test_a_model_without_routed_experts_is_told() -> None:
    with pytest.raises(BenchFailed, match="no routed experts"):
        domain_use(random_model(replace(TINY, num_hidden_layers=3), torch.float32, CPU), "noise", TOKENS)
    for short in ([], TOKENS[:1]):
        with pytest.raises(BenchFailed, match="noise has only"):
            domain_use(MODEL, "noise", short)


def test_specialists_are_those_that_one_domain_prefers() -> None:
    even, own = torch.full((1, 4), 25), torch.tensor([[70, 10, 10, 10]])
    uses = [DomainUse("code", 100, own), DomainUse("prose", 100, even), DomainUse("table", 100, even)]
    first, *others = specialists(uses, first_layer=3, count=9)
    assert (first.layer, first.expert, first.domain) == (3, 0, "code")
    assert (first.share, first.elsewhere) == (pytest.approx(0.7), pytest.approx(0.25)) and first.lift == pytest.approx(
        2.8
    )
    assert all(one.lift < first.lift for one in others)
    assert specialists(uses[:1], 3, 9) == []


@pytest.mark.parametrize("tokens", [1, 7])
def test_a_skipped_expert_is_one_of_weight_zero(tokens: int) -> None:
    moe = next(module for module in MODEL.modules() if isinstance(module, MoE))
    x = torch.randn(tokens, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        routing = moe.gate(x)
        skip_experts(MODEL, 0.12)  # of eight that sum to 1
        weak = moe.experts.too_weak(routing.weights)
        skipped = moe.experts(x, routing.weights, routing.experts)
        skip_experts(MODEL, 0.0)
        without = moe.experts(x, routing.weights.masked_fill(weak, 0.0), routing.experts)
        everything = moe.experts(x, routing.weights, routing.experts)
    assert 0 < weak.sum() < weak.numel()
    assert torch.equal(weak, routing.weights / 2.5 < 0.12)
    print(f"largest difference {(skipped - without).abs().max():.1e}")
    assert torch.allclose(skipped, without, atol=1e-5) and not torch.allclose(skipped, everything, atol=1e-3)


def test_the_strongest_expert_is_never_skipped() -> None:
    moe = next(module for module in MODEL.modules() if isinstance(module, MoE))
    weights = torch.tensor([[0.1, 0.3, 0.2], [0.5, 2.4, 0.1]])
    skip_experts(MODEL, 0.99)
    assert moe.experts.too_weak(weights).tolist() == [[True, False, True], [True, False, True]]
    skip_experts(MODEL, 0.0)
    assert not moe.experts.too_weak(weights).any()


def test_loss_and_speed_are_judged_for_each_threshold() -> None:
    none, some, most = try_skipping(MODEL, [TOKENS[:300], TOKENS[300:600]], [0.0, 0.12, 0.9], decoded=2)
    logits = torch.cat([MODEL(torch.tensor([part]))[0, :-1] for part in (TOKENS[:300], TOKENS[300:600])])
    wanted = torch.tensor(TOKENS[1:300] + TOKENS[301:600])
    assert none.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, wanted)), rel=1e-5)
    assert none.skipped == 0 < some.skipped < most.skipped == pytest.approx(7 / 8)
    assert len({none.loss, some.loss, most.loss}) == 3 and none.prefill > 0 and none.decode > 0
    assert all(not module.experts.least_weight for module in MODEL.modules() if isinstance(module, MoE)), (
        "left as it was"
    )
    with pytest.raises(BenchFailed, match="too short"):
        try_skipping(MODEL, [[1]], [0.0])


def test_an_engine_that_skips_experts_shares_no_prefix_with_one_that_does_not(checkpoint: Path, tmp_path: Path) -> None:
    plain = TorchEngine(checkpoint, ModelSettings())
    skipping = TorchEngine(checkpoint, ModelSettings(expert_threshold=0.3))
    assert plain.score("abc", ["def"]) != skipping.score("abc", ["def"])
    plain.save_prefix("abc", tmp_path / "prefix")
    with pytest.raises(ModelError):
        skipping.load_prefix(tmp_path / "prefix")
