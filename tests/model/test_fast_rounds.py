"""An engine whose rounds of speculation are made in one piece: answers, drafts and caches are those of plain decoding.

On a CPU the host does it (host_rounds.py); test_fast_decode.py and test_gpu.py hold what a device does to that.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from model.cache import LatentCache
from model.engine import Choice, Constraint, Delta, Finished, Message, Request, Sampling, Usage
from model.errors import NotANumber
from model.settings import ModelSettings
from model.torch_engine import TorchEngine
from tests.model.host_rounds import HostRounds
from tests.model.test_drafting import CHAT, PROMPTS, with_predictor

Make = Callable[..., tuple[Path, Any]]


@pytest.fixture(scope="module")
def wise(make_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_predictor(make_checkpoint(3)[0], tmp_path_factory.mktemp("rounds") / "wise", 0.95)


def opened(folder: Path, **settings: Any) -> tuple[TorchEngine, HostRounds]:
    """An engine that believes to be on a GPU."""
    engine = TorchEngine(folder, ModelSettings(dtype="float32", **settings))
    runner = engine._loaded()
    runner.cache = LatentCache(runner.model.config, engine._blocks.count + 1, torch.float32, runner.device)
    rounds = HostRounds(runner.model, runner.cache)
    runner._graphs = rounds  # type: ignore[assignment]
    return engine, rounds


def answers(engine: TorchEngine, requests: Sequence[Request]) -> list[tuple[str, Usage]]:
    texts, usages = [""] * len(requests), [Usage()] * len(requests)
    for number, event in engine.generate_all(requests):
        if isinstance(event, Delta):
            texts[number] += event.text
        elif isinstance(event, Finished):
            usages[number] = event.usage
    return list(zip(texts, usages, strict=True))


def ask(prompt: Any, most: int, constraint: Constraint | None = None, **sampling: Any) -> Request:
    return Request(prompt, Sampling(max_tokens=most, **sampling), constraint)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_are_those_of_plain_decoding(wise: Path, count: int) -> None:
    """Alone and together, of different lengths; some are drawn or constrained, and take turns with the rounds."""
    engine, rounds = opened(wise, speculate=count)
    plain = TorchEngine(wise, ModelSettings(speculate=0))
    requests = [ask(prompt, 10 + 10 * number) for number, prompt in enumerate(PROMPTS[::2])]
    requests += [ask(CHAT, 6, seed=4, temperature=0.8), ask(CHAT, 20, Choice(("red", "reddish")))]
    expected = [answers(plain, [one])[0] for one in requests]
    alone = [answers(engine, [one])[0] for one in requests]
    made = rounds.rounds
    together = answers(engine, requests)
    for plainly, own, mixed in zip(expected, alone, together, strict=True):
        assert own[0] == mixed[0] == plainly[0]
        assert own[1].completion_tokens == mixed[1].completion_tokens == plainly[1].completion_tokens
    drafted, accepted = (sum(getattr(usage, name) for _, usage in alone) for name in ("drafted", "accepted"))
    print(f"{count} drafts: {made} rounds alone, {rounds.rounds - made} together, {accepted} of {drafted} kept")
    assert made > 20 and rounds.rounds > made
    assert accepted > drafted / 3 if count else drafted == 0


def test_as_many_drafts_are_kept_as_by_the_host(wise: Path) -> None:
    engine, _ = opened(wise, speculate=2)
    host = TorchEngine(wise, ModelSettings(speculate=2))
    for prompt in PROMPTS[1::2]:
        text, usage = answers(engine, [ask(prompt, 30)])[0]
        expected, theirs = answers(host, [ask(prompt, 30)])[0]
        assert (text, usage.drafted, usage.accepted) == (expected, theirs.drafted, theirs.accepted)


def test_a_follow_up_drafts_as_a_fresh_engine_does(wise: Path) -> None:
    engine, _ = opened(wise)
    text, usage = answers(engine, [ask(CHAT, 15)])[0]
    assert usage.accepted
    longer = [*CHAT, Message("assistant", text), Message("user", "And the mill?")]
    again, warm = answers(engine, [ask(longer, 30)])[0]
    fresh, cold = answers(opened(wise)[0], [ask(longer, 30)])[0]
    assert warm.cached_tokens > engine.count_tokens(CHAT)
    assert (again, warm.drafted, warm.accepted) == (fresh, cold.drafted, cold.accepted)


def test_answers_end_where_they_should(wise: Path) -> None:
    plain, (engine, _) = (
        TorchEngine(wise, ModelSettings(speculate=0, context=64)),
        opened(wise, speculate=4, context=64),
    )
    for most in (0, 1, 2, 3, 7):
        request = ask("x" * (64 - most), most)
        assert answers(engine, [request])[0][0] == answers(plain, [request])[0][0]
    whole = answers(plain, [ask(CHAT[1:], 20)])[0][0]
    for stop in (whole[2:4], whole[5:6]):
        request = ask(CHAT[1:], 20, stop=(stop,))
        found, expected = answers(engine, [request])[0], answers(plain, [request])[0]
        assert (found[0], found[1].completion_tokens) == (expected[0], expected[1].completion_tokens)


def test_what_is_no_number_is_an_error(wise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, rounds = opened(wise, speculate=1)
    monkeypatch.setattr(rounds, "advance", lambda readings, drafts, vocabulary: torch.tensor([[7, -1, 7]]))
    with pytest.raises(NotANumber):
        answers(engine, [ask(CHAT, 9)])
