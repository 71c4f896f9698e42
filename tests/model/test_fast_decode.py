"""The whole decode step by kernels against the plain path: on a GPU where there is one, else by Triton's interpreter.

python -m pytest -n 0 -s tests/model/test_fast_decode.py
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from model import attention, fast_decode, speculate
from model.cache import LatentCache
from model.config import Config, Yarn
from model.graphs import DecodeGraphs
from model.kernels import gemv
from model.moe import skip_experts
from model.parallel import Ranks
from model.random_weights import random_model
from model.saving import save_model
from model.shard import WHOLE
from model.speculate import follow, keep
from model.step import Reading, make_step
from tests.model.host_rounds import HostRounds
from tests.model.rank_parts import SplitPart, build_model, build_split, large_tiles

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = 1e-4
SMALL: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 48, "intermediate_size": 40, "moe_intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 3, "kv_lora_rank": 32, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20,
    "n_routed_experts": 8, "num_experts_per_tok": 3, "initializer_range": 0.3,
}  # fmt: skip
TINY: dict[str, Any] = {
    "hidden_size": 16, "moe_intermediate_size": 8, "num_hidden_layers": 1, "first_k_dense_replace": 0, "q_lora_rank": 8,
    "num_nextn_predict_layers": 1, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "v_head_dim": 8, "num_attention_heads": 2,
    "num_experts_per_tok": 2, "vocab_size": 24, "initializer_range": 0.6,
}  # fmt: skip
"""For what takes long in the interpreter."""
FORMS: dict[str, dict[str, Any]] = {
    "v3": {
        "architecture": "deepseek_v3", "q_lora_rank": 24, "n_group": 4, "topk_group": 2, "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
    },
    "v2-lite": {
        "architecture": "deepseek_v2", "n_shared_experts": 2,
        "yarn": Yarn(4.0, 16, mscale=0.7, mscale_all_dim=0.7),
    },
    "no shared experts": {"architecture": "deepseek_v2", "n_shared_experts": 0},
}  # fmt: skip


@pytest.fixture(autouse=True)
def larger_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemv, "_blocks", gemv._blocks)  # set back afterwards
    if DEVICE.type == "cpu":
        large_tiles()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("form", "sequences", "new", "fp8", "threshold"),
    [
        ("v3", 1, 1, False, 0.0),
        ("v3", 3, 2, False, 0.0),
        ("v2-lite", 1, 1, True, 0.0),
        ("v2-lite", 3, 1, True, 0.0),
        ("v2-lite", 5, 1, True, 0.0),
        ("v3", 1, 1, False, 0.3),
        ("v3", 5, 1, False, 0.3),
        ("no shared experts", 1, 1, False, 0.0),
    ],
)
def test_a_decode_step_is_that_of_the_plain_path(
    form: str, sequences: int, new: int, fp8: bool, threshold: float
) -> None:
    config = Config(**{**SMALL, **FORMS[form]})
    model = random_model(config, torch.float32, DEVICE, fp8)
    skip_experts(model, threshold)
    plain, fast = (LatentCache(config, 2 * sequences, torch.float32, DEVICE) for _ in range(2))
    tokens = torch.randint(0, 50, (sequences, 8), generator=torch.Generator().manual_seed(0)).tolist()
    pages = [(2 * number + 1, 2 * number) for number in range(sequences)]
    history = [Reading(own[: 5 + n % 2], 0, table) for n, (own, table) in enumerate(zip(tokens, pages, strict=True))]
    model.step(make_step(history, DEVICE), plain)
    fast.storage.copy_(plain.storage)
    step = make_step(
        [Reading(own[-new:], len(one.tokens), one.pages) for own, one in zip(tokens, history, strict=True)], DEVICE
    )
    expected = model.step(step, plain)
    got = fast_decode.decode(model, step, fast)
    hidden = float((got - expected).abs().max() / expected.std())
    wanted = model.logits(expected)
    logits = float((fast_decode.logits(model, got) - wanted).abs().max() / wanted.std())
    cached = float((fast.storage - plain.storage)[:, [table[0] for table in pages], :8].abs().max())
    print(f"{form}, {sequences} x {new}, fp8 {fp8}: hidden {hidden:.1e}, logits {logits:.1e}, cache {cached:.1e}")
    assert max(hidden, logits, cached) < TOLERANCE


@torch.inference_mode()
def test_recorded_steps_follow_their_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences come, go and get pages; the plain path reads the same. On a CPU the kernels run anew instead."""
    if DEVICE.type == "cpu":
        monkeypatch.setattr(DecodeGraphs, "_record", lambda own, work: work)
    config = Config(**{**SMALL, **FORMS["v2-lite"]})
    model = random_model(config, torch.float32, DEVICE)
    plain, fast = (LatentCache(config, 8, torch.float32, DEVICE) for _ in range(2))
    fast.storage.zero_()
    graphs = DecodeGraphs(model, fast, 4)
    held, pages = [62, 3, 10], [[5], [2], [6]]
    draw = torch.Generator().manual_seed(0)

    def readings(numbers: list[int], new: int) -> list[Reading]:
        tokens = torch.randint(0, 50, (len(numbers), new), generator=draw).tolist()
        return [Reading(own, held[n], pages[n]) for own, n in zip(tokens, numbers, strict=True)]

    for number, length in enumerate(held):
        own = torch.randint(0, 50, (length,), generator=draw).tolist()
        model.step(make_step([Reading(own, 0, pages[number])], DEVICE), plain)
    fast.storage[:, [5, 2, 6]] = plain.storage[:, [5, 2, 6]]
    largest = 0.0
    for numbers, new in (([0, 1, 2], 1), ([0, 1, 2], 1), ([0, 2], 1), ([2, 0], 2), ([0, 1, 2], 1)):
        if held[0] == 63:
            pages[0] = [5, 1]
        what = readings(numbers, new)
        assert graphs.covers(what)
        expected = model.step(make_step(what, DEVICE), plain)
        largest = max(largest, float((graphs.run(what) - expected).abs().max() / expected.std()))
        for number in numbers:
            held[number] += new
    print(f"recorded steps: largest difference {largest:.1e} standard deviations")
    assert largest < TOLERANCE
    assert not fast.storage[:, [0, 3, 4]].any()  # nobody's, and untouched
    assert not graphs.covers([Reading([1], 0, [0]), Reading([1, 2], 0, [1])])


@torch.inference_mode()
@pytest.mark.parametrize(
    ("sequences", "drafts", "rounds"),
    [(2, 1, 1), (1, 2, 1)] if DEVICE.type == "cpu" else [(3, 1, 20), (3, 2, 20), (1, 5, 20)],
)
def test_recorded_rounds_keep_and_draft_what_the_host_would(
    sequences: int, drafts: int, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against speculate.py over the plain path: right, wrong and lacking drafts, where a page ends and none follows."""
    if DEVICE.type == "cpu":
        monkeypatch.setattr(DecodeGraphs, "_record", lambda own, work: work)
    config = Config(**{**SMALL, **FORMS["v3"], **TINY})
    model = random_model(config, torch.float32, DEVICE)
    host = HostRounds(model, LatentCache(config, 9, torch.float32, DEVICE))
    host.cache.storage.zero_()
    cache = LatentCache(config, 9, torch.float32, DEVICE)
    graphs = DecodeGraphs(model, cache, 4)
    draw = torch.Generator().manual_seed(0)
    held, pages, spare = [62, 3, 10][:sequences], [[5], [2], [6]][:sequences], [[1, 4], [3], [0, 7]]
    ends: list[tuple[Reading, torch.Tensor]] = []
    for length, own in zip(held, pages, strict=True):
        tokens = torch.randint(0, 24, (length + 1,), generator=draw).tolist()
        hidden = model.step(make_step([Reading(tokens[:-1], 0, own)], DEVICE), host.cache)
        follow(model, host.cache, [Reading(tokens[1:-1], 0, own)], hidden[:-1])
        ends.append((Reading(tokens[-1:], length - 1, own), hidden[-1:]))
    cache.storage[:, :8] = host.cache.storage[:, :8]
    # 1. The token after a prompt is drafted from alone.
    readings, states = [one for one, _ in ends], torch.cat([one for _, one in ends])
    assert graphs.drafts(readings)
    expected = speculate.draft(model, host.cache, readings, states, drafts, 22)
    assert graphs.draft(readings, states, drafts, 22).tolist() == expected
    # 2. Rounds.
    last, kept, lacking = [one.tokens[0] for one in readings], 0, 0
    for number in range(rounds):
        readings = []
        for row in range(sequences):
            # What comes next is known to the host's twin: drafts foretell it, or do not, or are fewer.
            right = host.likely(last[row : row + 1], held[row], pages[row], drafts, 22)
            ahead = [right, right[: drafts - 1], [*right[:-1], 23], [23] * drafts][(row + number) % 4]
            if held[row] + 1 + len(ahead) > 64 * len(pages[row]):
                pages[row] = [*pages[row], spare[row].pop()]
            readings.append(Reading([last[row], *ahead], held[row], pages[row]))
        wanted, found = (one.advance(readings, drafts, 22).tolist() for one in (host, graphs))
        for row, one in enumerate(readings):
            read = len(one.tokens)
            assert found[row][:read] == wanted[row][:read]
            drawn = [own.token for own in keep(found[row][:read], one.tokens[1:], frozenset())]
            kept, lacking = kept + len(drawn) - 1, lacking + 1 + drafts - read
            held[row], last[row] = held[row] + len(drawn), drawn[-1]
            at_hand = held[row] + drafts - 1 <= 64 * len(pages[row])
            assert found[row][1 + drafts :] == wanted[row][1 + drafts :] or not at_hand
        written = [(own[at // 64], at % 64) for own, length in zip(pages, held, strict=True) for at in range(length)]
        own, places = map(list, zip(*written, strict=True))
        difference = float((cache.storage - host.cache.storage)[:, own, places].abs().max())
        print(f"round {number}: held {held}, {kept} drafts kept, caches differ by {difference:.1e}")
        assert difference < TOLERANCE
    assert kept and (lacking or sequences == 1)
    others = [page for page in range(8) if page not in {one for own in pages for one in own}]
    assert torch.equal(cache.storage[:, others], host.cache.storage[:, others])  # nobody's, and untouched
    model.lm_head.weight[3] = float("nan")
    assert graphs.advance(readings, drafts, 22)[:, : 1 + drafts].eq(-1).all()


@pytest.mark.skipif(DEVICE.type == "cuda", reason="ranks of a test are on the CPU")
def test_ranks_that_share_a_cache_decode_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sequence by itself, then two with two tokens each, of which one is too short for every rank to hold some."""
    for name in ("_HISTORY_BLOCK", "_ABSORBED_SCORES"):  # parts set them
        monkeypatch.setattr(attention, name, getattr(attention, name))
    config = Config(**{**SMALL, **FORMS["v3"], "num_attention_heads": 4, "num_hidden_layers": 1})
    save_model(random_model(config, torch.float32, DEVICE), tmp_path, torch.float32)
    whole = build_split(tmp_path, False, WHOLE, DEVICE)
    ranks: Ranks[SplitPart] = Ranks(partial(build_split, tmp_path, False), [DEVICE] * 2, threads=1)
    tokens = torch.randint(0, 50, (80,), generator=torch.Generator().manual_seed(0)).tolist()
    pages = [3, 1]
    try:
        for part in (whole.read_all, partial(ranks.call, "read_all")):
            part([Reading(tokens[:70], 0, pages)])
        largest = 0.0
        for step in (
            [Reading(tokens[70:71], 70, pages)],
            [Reading(tokens[71:73], 71, pages), Reading(tokens[:2], 0, [2])],
        ):
            expected = whole.read_all(step)
            for found in ranks.ask("decode", step):
                largest = max(largest, float((found - expected).abs().max() / expected.std()))
        print(f"two ranks that share a cache: logits {largest:.1e}")
        assert largest < TOLERANCE
    finally:
        ranks.close()


@pytest.mark.skipif(DEVICE.type == "cuda", reason="ranks of a test are on the CPU")
@pytest.mark.parametrize("build", [build_model, build_split], ids=["heads", "sequence"])
def test_ranks_judge_and_draft_as_one(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One draft stays and one does not, at the end of a page; each rank has one head."""
    for name in ("_HISTORY_BLOCK", "_ABSORBED_SCORES"):  # parts set them
        monkeypatch.setattr(attention, name, getattr(attention, name))
    save_model(random_model(Config(**{**SMALL, **FORMS["v3"], **TINY}), torch.float32, DEVICE), tmp_path, torch.float32)
    whole = build_model(tmp_path, False, WHOLE, DEVICE)
    ranks: Ranks[Any] = Ranks(partial(build, tmp_path, False), [DEVICE] * 2, threads=1)
    tokens = torch.randint(0, 24, (62,), generator=torch.Generator().manual_seed(0)).tolist()
    try:
        for part in (whole.draft, partial(ranks.call, "draft")):
            part(tokens[:-1], tokens[1:])
        right = int(whole.read(tokens[-1:], 61)[0, :22].argmax())
        reading = Reading([tokens[-1], right, 23], 61, [0, 1])
        expected = whole.advance([reading], 2, 22)
        assert expected[0][0] == right
        assert ranks.ask("advance", [reading], 2, 22) == [expected, expected]
    finally:
        ranks.close()
