"""An engine over several ranks answers what it answers on one, and says so when one is lost."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model import layout
from model.config import Config, read_config
from model.engine import Choice, Delta, Event, Finished, Request, Sampling
from model.errors import CannotSplit, LostRank, ModelError, NotEnoughMemory
from model.layout import Layout, choose_layout, held_share
from model.random_weights import SHAPES, random_model
from model.saving import save_model
from model.settings import ModelSettings
from model.spread import SpreadRunner
from model.torch_engine import TorchEngine

CPU = torch.device("cpu")

REQUESTS = [
    Request("the ferry leaves the old harbour at seven " * 4, Sampling(max_tokens=30)),
    Request("the ferry leaves the old harbour at eight", Sampling(max_tokens=20, temperature=1.0, seed=3)),
    Request("yes or no?", Sampling(max_tokens=5), Choice(("yes", "no"))),
]


@pytest.fixture(scope="module")
def predicting(make_checkpoint: Callable[..., tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random V3 checkpoint with a prediction layer."""
    config = replace(
        SHAPES["v3"], vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32,
        num_hidden_layers=3, num_attention_heads=4, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=16, num_experts_per_tok=4, first_k_dense_replace=1,
        initializer_range=0.1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("predicting")
    save_model(random_model(config, torch.float32, CPU), folder, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(make_checkpoint(3)[0] / name, folder / name)
    return folder


@pytest.fixture
def new() -> Iterator[Callable[..., TorchEngine]]:
    """Opens engines, and closes them."""
    opened: list[TorchEngine] = []

    def make(folder: Path, shelves: Path | None = None, **settings: Any) -> TorchEngine:
        opened.append(TorchEngine(folder, ModelSettings(context=512, **settings), shelves=shelves))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()


def texts(events: Iterator[tuple[int, Event]], count: int) -> list[str]:
    found = [""] * count
    for number, event in events:
        if isinstance(event, Delta):
            found[number] += event.text
    return found


@pytest.mark.parametrize(
    ("kind", "attention", "ranks"),
    [("v2", "heads", 2), ("v3", "heads", 2), ("drafts", "heads", 2), ("drafts", "sequence", 2)],
)
def test_several_ranks_answer_as_one(
    make_checkpoint: Callable[..., tuple[Path, Any]],
    predicting: Path,
    new: Callable[..., TorchEngine],
    tmp_path: Path,
    kind: str,
    attention: str,
    ranks: int,
) -> None:
    folder = predicting if kind == "drafts" else make_checkpoint(int(kind[1]))[0]
    one, several = new(folder), new(folder, tmp_path, ranks=ranks, attention_layout=attention)
    assert one.describe().devices == ("cpu",) and several.describe().devices == ("cpu",) * ranks
    expected = texts(one.generate_all(REQUESTS), len(REQUESTS))
    assert texts(several.generate_all(REQUESTS), len(REQUESTS)) == expected and all(expected)

    options = ["yes", "no", "perhaps not"]
    for own, other in zip(one.score("is it?", options), several.score("is it?", options), strict=True):
        assert own.logprob == pytest.approx(other.logprob, abs=1e-4)

    long = "the mill turns all night " * 12  # more than one page
    several.save_prefix(long, tmp_path / "prefix")
    fresh = new(folder)
    assert fresh.load_prefix(tmp_path / "prefix") == one.count_tokens(long)
    assert several.shelve([long], "the mill") == one.count_tokens(long)
    several.close()
    again = new(folder, tmp_path, ranks=ranks, attention_layout=attention)
    if attention == "heads":
        assert again.load_prefix(tmp_path / "prefix") == one.count_tokens(long)
    else:
        assert again.at_hand(long) == one.count_tokens(long)
    request = Request(long + "and then?", Sampling(max_tokens=20))
    alone, loaded = list(one.generate(request)), list(again.generate(request))
    assert [one for one in loaded if isinstance(one, Delta)] == [one for one in alone if isinstance(one, Delta)]
    last = loaded[-1]
    assert isinstance(last, Finished) and last.usage.cached_tokens >= one.count_tokens(long) - 1
    if kind == "drafts":
        assert last.usage.drafted > 0


def test_a_rank_that_is_killed_ends_the_answer_with_an_error(
    predicting: Path, new: Callable[..., TorchEngine], tmp_path: Path
) -> None:
    engine = new(predicting, tmp_path, ranks=2, attention_layout="sequence", shelf_tokens=64)
    answer = engine.generate(Request("the harbour " * 8, Sampling(max_tokens=300)))
    for _ in range(5):
        next(answer)
    assert isinstance(engine._runner, SpreadRunner)
    os.kill(engine._runner._ranks.pids[0], signal.SIGKILL)
    with pytest.raises(LostRank, match="Rank 1 was killed by SIGKILL"):
        list(answer)
    with pytest.raises(LostRank):
        next(engine.generate(Request("the harbour", Sampling(max_tokens=5))))
    engine.close()  # what would be kept is gone with that rank, and is no error of its own
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_split_or_placed_is_refused_before_loading(
    predicting: Path, new: Callable[..., TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.spread.load_model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(CannotSplit, match="num_attention_heads 4 does not divide"):
        new(predicting, ranks=3)
    config = read_config(predicting)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (1 << 34, 1 << 34))
    for device, ranks in (("cuda", 4), ("cuda:1", 2)):
        with pytest.raises(ModelError, match=f"GPUs for {ranks} ranks"):
            chosen_layout(config, predicting, ModelSettings(ranks=ranks, context=512), torch.device(device))


def chosen_layout(
    config: Config, folder: Path, settings: ModelSettings, device: torch.device, parameters: int = 1
) -> Layout:
    return choose_layout(folder, config, settings, torch.bfloat16, device, parameters)


@pytest.mark.parametrize(
    ("gib", "gpus", "chosen"), [(20, 4, 1), (100, 4, 2), (200, 4, 4), (200, 3, None), (500, 8, None), (200, 8, 4)]
)
def test_auto_takes_the_fewest_gpus_that_hold_the_model(
    predicting: Path, monkeypatch: pytest.MonkeyPatch, gib: int, gpus: int, chosen: int | None
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (78 << 30, 80 << 30))
    monkeypatch.setattr(layout, "held_share", lambda config, size: 1 / size)
    config, settings = read_config(predicting), ModelSettings(context=512, experts_gib="all")  # 4 heads: 1, 2, 4 ranks
    if chosen is None:
        with pytest.raises(NotEnoughMemory):
            chosen_layout(config, predicting, settings, torch.device("cuda"), gib << 29)
    else:
        found = chosen_layout(config, predicting, settings, torch.device("cuda"), gib << 29)  # two bytes each
        assert found == Layout(tuple(torch.device("cuda", rank) for rank in range(chosen)))
    assert chosen_layout(config, predicting, settings, CPU) == Layout((CPU,))


def test_a_rank_of_v3_holds_little_more_than_its_share() -> None:
    assert held_share(SHAPES["v3"], 1) == 1.0
    assert 1 / 8 < held_share(replace(SHAPES["v3"], num_hidden_layers=8), 8) < 0.15
