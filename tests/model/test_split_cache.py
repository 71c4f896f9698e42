"""A cache that ranks share by tokens: the same numbers as a whole one, and each rank holds its share and no more."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from model import attention
from model.cache import PAGE
from model.capacity import choose_capacity
from model.config import Config
from model.errors import CannotSplit, NotEnoughMemory
from model.layout import choose_layout
from model.parallel import Ranks
from model.random_weights import SHAPES, random_model
from model.saving import save_model
from model.settings import ModelSettings
from model.shard import WHOLE, Shard
from model.split_cache import SplitCache
from model.step import Reading
from tests.model.rank_parts import SplitPart, build_split

CPU = torch.device("cpu")
CONFIG = replace(
    SHAPES["v3"], vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=4, q_lora_rank=24, kv_lora_rank=128, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12,
    n_routed_experts=16, num_experts_per_tok=4, first_k_dense_replace=1, fp8_block=None, initializer_range=0.1,
)  # fmt: skip
SEQUENCE: dict[str, Any] = {"attention_layout": "sequence"}

LONG, SHORT, BRIEF = [7, 30, 31, 5, *range(8, 20)], [3, 1, 2], [0]
"""Pages of three sequences."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("split")
    save_model(random_model(CONFIG, torch.float32, CPU), made, torch.float32)
    return made


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that a part sets are gone after the test."""
    with monkeypatch.context() as patch:
        patch.setattr(attention, "_HISTORY_BLOCK", 256)
        patch.setattr(attention, "_ABSORBED_SCORES", 1 << 13)
        yield


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest, in standard deviations."""
    largest = float((found - expected).abs().max() / expected.std())
    assert not math.isnan(largest)
    return largest


@pytest.mark.parametrize(("size", "fp8", "tolerance"), [(4, False, 2e-5), (2, True, 1e-2)])
def test_ranks_that_share_a_cache_compute_what_one_rank_does(
    folder: Path, size: int, fp8: bool, tolerance: float
) -> None:
    """FP8: a latent that differs in its last bit may round to the next of its few values."""
    draw = torch.Generator().manual_seed(0)
    one, two, three = (torch.randint(0, 320, (length,), generator=draw).tolist() for length in (800, 150, 3))
    whole = build_split(folder, fp8, WHOLE, CPU)
    ranks: Ranks[SplitPart] = Ranks(partial(build_split, folder, fp8), [CPU] * size, threads=1)
    steps = [
        [Reading(one[:400], 0, LONG)],
        [Reading(one[400:790], 400, LONG), Reading(two[:140], 0, SHORT)],
        [Reading(one[790:799], 790, LONG), Reading(two[140:145], 140, SHORT), Reading(three[:2], 0, BRIEF)],
        [Reading(one[799:], 799, LONG), Reading(two[145:146], 145, SHORT), Reading(three[2:], 2, BRIEF)],
    ]
    try:
        largest = 0.0
        for step in steps:
            expected = whole.read_all(step)
            largest = max(largest, *(difference(found, expected) for found in ranks.ask("read_all", step)))
        forks = [[1, 2, 3], [4], [5, 6]]
        for pages, history in ((LONG, 800), (BRIEF, 3)):
            expected = whole.branch(forks, history, pages)
            largest = max(largest, difference(ranks.call("branch", forks, history, pages), expected))
        for start, end in ((0, 140), (140, 142)):
            drafting = [Reading(two[start:end], start, SHORT)], [Reading(two[start + 1 : end + 1], start, SHORT)]
            expected = whole.draft_all(*drafting)
            largest = max(largest, difference(ranks.call("draft_all", *drafting), expected))
        print(f"{size} ranks, fp8 {fp8}: largest difference of logits {largest:.1e} standard deviations")
        assert largest < tolerance

        if not fp8:
            held, written = zip(*ranks.ask("held"), strict=True)
            assert held == (whole.held()[0] // size,) * size
            assert max(written) - min(written) <= 3 and sum(written) == 800 + 146 + 3

        rows = ranks.call("stored", LONG, 791)
        same = float((rows == whole.stored(LONG, 791))[:-1].float().mean())
        print(f"{same:.1%} of the rows are the same to the bit")
        assert same > 0.3 + 0.69 * fp8
        ranks.call("fill", LONG[::-1], rows)
        assert torch.equal(ranks.call("stored", LONG[::-1], 791)[:-1], rows[:-1])
    finally:
        ranks.close()


def test_128k_tokens_of_v3_take_5_gib_over_all_ranks() -> None:
    pages = 131_072 // PAGE
    caches = [
        SplitCache(Shard(rank, 8), SHAPES["v3"], pages + 1, torch.bfloat16, torch.device("meta"), fp8=True)
        for rank in range(8)
    ]
    total = sum(cache.storage.nbytes for cache in caches) / 2**30
    print(f"{total:.3f} GiB")
    assert total < 5.0
    assert sum(cache.count(131_072) for cache in caches) == 131_072


def test_every_slot_has_one_place() -> None:
    slots = torch.arange(3 * PAGE)
    found = []
    for rank in range(4):
        cache = SplitCache(Shard(rank, 4), CONFIG, 4, torch.float32, CPU)
        places = cache.place(slots)
        own = places[places < 3 * PAGE // 4]
        assert own.tolist() == list(range(3 * PAGE // 4))
        assert [cache.count(n) for n in range(9)] == [len(range(rank, n, 4)) for n in range(9)]
        found += slots[places < 3 * PAGE // 4].tolist()
    assert sorted(found) == slots.tolist()


def test_ranks_that_share_a_cache_have_room_for_as_many_times_more_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, split = (
        choose_capacity(CONFIG, ModelSettings(context=512, cache_gib=0.01, **layout), torch.float32, CPU, 0, 4).pages
        for layout in ({}, SEQUENCE)
    )
    assert split in range(4 * whole, 4 * whole + 4)
    # A window that no GPU holds alone.
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (900 << 20, 900 << 20))
    wide, settings = replace(CONFIG, max_position_embeddings=1 << 20), {"context": 1 << 20, "experts_gib": "all"}
    choose = partial(choose_layout, Path(), wide, dtype=torch.bfloat16, device=torch.device("cuda"), parameters=1)
    with pytest.raises(NotEnoughMemory):
        choose(ModelSettings(**settings))
    assert len(choose(ModelSettings(**settings, **SEQUENCE)).devices) == 2


@pytest.mark.parametrize(
    ("ranks", "config", "said", "mend"),
    [
        (1, CONFIG, "there is one", "Set model.ranks to 2 or 4, or model.attention_layout to heads."),
        ("auto", CONFIG, "there is one", "Set model.ranks to 2 or 4, or model.attention_layout to heads."),
        (
            3,
            replace(CONFIG, num_attention_heads=6, n_routed_experts=15, n_group=1, topk_group=1),
            "among 3 ranks",
            "Set model.attention_layout to heads.",  # 15 experts do not divide by a power of two
        ),
    ],
)
def test_what_cannot_share_a_cache_is_refused(ranks: Any, config: Config, said: str, mend: str) -> None:
    with pytest.raises(CannotSplit, match=said) as refused:
        choose_layout(Path(), config, ModelSettings(ranks=ranks, **SEQUENCE), torch.float32, CPU, 1)
    assert refused.value.mend == mend
