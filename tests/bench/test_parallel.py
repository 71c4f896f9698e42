"""What parallel_bench.py measures computes the right thing, and a run goes on where the last one ended."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from model.config import Config
from model.parallel import Ranks
from model.random_weights import SHAPES
from model.shard import Shard
from tests.bench.parallel_collectives import silent
from tests.bench.parallel_journal import Journal
from tests.bench.parallel_losses import Twin
from tests.bench.parallel_parts import Cell

SMALL: Config = replace(
    SHAPES["v3"], vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=4, q_lora_rank=24, kv_lora_rank=128, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
    n_routed_experts=16, num_experts_per_tok=4, first_k_dense_replace=1, fp8_block=None, initializer_range=0.1,
)  # fmt: skip


def test_every_layout_computes_what_one_rank_does() -> None:
    """`data`, which the program does not offer, too."""
    ranks: Ranks[Twin] = Ranks(partial(Twin, SMALL, False), [torch.device("cpu")] * 2, threads=1)
    try:
        for layout in ("heads", "sequence", "data"):
            found = ranks.ask("logits", Cell(4, 150), layout, torch.float32)
            expected = found[0][1]
            assert expected.shape == (4, 320) and expected.std() > 0.1
            largest = max(float((own - expected).abs().max() / expected.std()) for own, _, _ in found)
            print(f"{layout}: largest difference {largest:.1e} standard deviations")
            assert largest < 2e-5
    finally:
        ranks.close()


def test_silent_collectives_keep_shapes_and_do_not_stay() -> None:
    shard, values = Shard(1, 4), torch.arange(8.0).view(4, 2)
    with silent():
        assert shard.sum(values) is values and shard.exchange(values) is values
        assert shard.collect(values).shape == (4, 4, 2)
        assert shard.gather(values, 8).shape == (4, 8)
    assert Shard.sum.__name__ == "sum" and Shard.collect.__module__ == "model.shard"


def test_a_job_is_not_started_twice_and_none_after_the_time(tmp_path: Path) -> None:
    place = str(tmp_path / "out.jsonl")
    first = Journal(place, None)
    assert first.starts("one") and not first.starts("one")
    second = Journal(place, None)
    assert not second.starts("one") and second.starts("two") and second.starts("one", again=True)
    assert not Journal(place, 1.0).starts("three")
