"""The ceilings against figures worked out by hand, and against the model's own count of its parameters."""

from dataclasses import replace

import pytest

from model.ceiling import (
    Device,
    Held,
    cache_token_bytes,
    decode_seconds,
    expected_experts,
    prefill_seconds,
    token_operations,
    weight_bytes,
)
from model.placement import count_parameters
from model.random_weights import SHAPES

H200 = Device("H200", 4.3e12, 788e12)
LITE, V3 = SHAPES["v2-lite"], SHAPES["v3"]
BF16, FP8 = Held(), Held(fp8=True, fp8_cache=True)
K = 1024


@pytest.mark.parametrize(
    ("held", "context", "rate", "tolerance"),
    [
        (BF16, 0, 877, 0.002),
        (BF16, 32 * K, 726, 0.002),
        (BF16, 128 * K, 479, 0.002),
        # By hand a router's number counted one byte and scales none; here 4 each: 10.8 of 2,671 MB.
        (FP8, 0, 1616, 0.005),
        (FP8, 32 * K, 1327, 0.005),
        (FP8, 128 * K, 863, 0.005),
    ],
)
def test_decode_of_v2_lite(held: Held, context: int, rate: float, tolerance: float) -> None:
    found = 1 / decode_seconds(LITE, held, H200, context)
    print(f"{found:.1f} tok/s, worked out by hand {rate}: {found / rate - 1:+.2%}")
    assert found == pytest.approx(rate, rel=tolerance)


@pytest.mark.parametrize(("tokens", "rate"), [(8 * K, 140_000), (128 * K, 35_000)])
def test_prefill_of_v2_lite(tokens: int, rate: float) -> None:
    assert tokens / prefill_seconds(LITE, BF16, H200, tokens) == pytest.approx(rate, rel=0.005)


def test_the_cache_of_a_long_text() -> None:
    gib = {
        (name, held): 128 * K * cache_token_bytes(SHAPES[name], held) / 2**30
        for name in ("v2-lite", "v3")
        for held in (BF16, FP8)
    }
    assert gib["v2-lite", BF16] == pytest.approx(3.80, abs=0.005) and gib["v2-lite", FP8] == pytest.approx(
        2.16, abs=0.005
    )
    assert gib["v3", BF16] == pytest.approx(8.58, abs=0.005) and gib["v3", FP8] == pytest.approx(4.88, abs=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_weights_and_operations_follow_the_models_own_count(name: str) -> None:
    config = replace(SHAPES[name], num_nextn_predict_layers=0)
    total, active = count_parameters(config)
    embedding = config.vocab_size * config.hidden_size
    router = config.num_moe_layers * config.n_routed_experts * config.hidden_size
    everything = weight_bytes(config, BF16, config.n_routed_experts) / 2
    assert everything - router == pytest.approx(total - embedding, rel=1e-4)  # its numbers are twice as wide
    assert token_operations(config) / 2 == pytest.approx(active - 2 * embedding, rel=1e-3)


def test_experts_are_hit_once_at_least_and_all_at_last() -> None:
    assert expected_experts(LITE, 1) == pytest.approx(6)
    assert 6 < expected_experts(LITE, 2) < 12
    assert expected_experts(LITE, 1000) == pytest.approx(64)
    dense = replace(LITE, first_k_dense_replace=LITE.num_hidden_layers)
    assert expected_experts(dense, 5) == 0 and decode_seconds(dense, BF16, H200, 0) > 0


def test_a_large_batch_on_a_long_text_is_bound_by_arithmetic() -> None:
    """128 heads read each latent of V3: 242 operations a byte, more than a device with 100 can feed."""
    slow = Device("slow", 1e12, 1e14)
    by_reading = (weight_bytes(V3, BF16, 256) + 256 * 128 * K * cache_token_bytes(V3, BF16)) / slow.bandwidth
    assert decode_seconds(V3, BF16, slow, 128 * K, 256, experts=256) > 1.1 * by_reading
    assert decode_seconds(V3, BF16, replace(slow, matrix=1e18), 128 * K, 256, experts=256) == pytest.approx(by_reading)
