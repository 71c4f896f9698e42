"""Several requests at once give the text of each alone, whatever the pages; common beginnings are read once."""

import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.batch import Batch
from model.blocks import Blocks
from model.cache import PAGE, LatentCache
from model.config import read_config
from model.engine import Choice, Delta, Event, Finished, Prefilling, Request, Sampling
from model.runner import Runner
from model.scheduler import Plan, Scheduler
from model.sequence import TokenSequence
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

Make = Callable[..., tuple[Path, Any]]
WORDS = "the ferry leaves the old harbour at seven and the mill turns all night".split()  # noqa: SIM905


def prompt(seed: int, length: int) -> str:
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(length))[:length]


def requests() -> list[Request]:
    """Prompts of 1 to 330 tokens, two with a common beginning; greedy, drawn, stopped, constrained."""
    return [
        Request(prompt(1, 330), Sampling(max_tokens=40)),
        Request("x", Sampling(max_tokens=70)),
        Request(prompt(1, 200) + " or so", Sampling(max_tokens=25)),
        Request(prompt(2, 64), Sampling(max_tokens=1)),
        Request(prompt(3, 129), Sampling(max_tokens=30, temperature=1.2, seed=5)),
        Request(prompt(4, 90), Sampling(max_tokens=20), Choice(("red", "reddish"))),
        Request(prompt(5, 40), Sampling(max_tokens=0)),
    ]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def finish(generation: Generator[Event, None, None]) -> list[Event]:
    events = list(generation)
    assert isinstance(events[-1], Finished)
    return events


def new(folder: Path, pages: int | None = None, **changes: Any) -> TorchEngine:
    engine = TorchEngine(folder, ModelSettings(**changes))
    if pages is not None:
        shrink(engine, pages)
    return engine


def shrink(engine: TorchEngine, pages: int) -> None:
    engine._blocks.__init__(pages)  # type: ignore[misc]  # fewer pages than a window, to meet their end


@pytest.fixture(scope="module")
def alone(make_checkpoint: Make) -> list[str]:
    folder = make_checkpoint(3)[0]
    return [text_of(finish(new(folder).generate(request))) for request in requests()]


@pytest.mark.parametrize("chunk", [512, 50])
@pytest.mark.parametrize("pages", [None, 9])
def test_a_batch_gives_each_request_the_text_that_it_has_alone(
    checkpoint: Path, alone: list[str], pages: int | None, chunk: int
) -> None:
    engine = new(checkpoint, pages)
    engine._scheduler.chunk = chunk
    events: list[list[Event]] = [[] for _ in requests()]
    for number, event in engine.generate_all(requests()):
        events[number].append(event)
    assert [text_of(own) for own in events] == alone
    assert all(isinstance(own[-1], Finished) for own in events)
    assert engine._blocks.available == engine._blocks.count


def test_generators_that_take_turns_do_not_disturb_one_another(checkpoint: Path, alone: list[str]) -> None:
    engine = new(checkpoint)
    open_ = {number: engine.generate(request) for number, request in enumerate(requests())}
    texts = [""] * len(open_)
    order = random.Random(7)
    while open_:
        number = order.choice(list(open_))
        event = next(open_[number], None)
        if event is None:
            del open_[number]
        elif isinstance(event, Delta):
            texts[number] += event.text
    assert texts == alone


def test_one_generator_brings_all_forward(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = new(checkpoint)
    first, second = (engine.generate(Request(prompt(n, 100), Sampling(max_tokens=30 - 10 * n))) for n in (1, 2))
    assert isinstance(next(first), Prefilling)
    assert isinstance(next(second), Prefilling)
    finish(first)
    monkeypatch.setattr(Batch, "step", lambda self: pytest.fail("everything was computed already"))
    finish(second)


def test_preempted_answers_are_continued_as_if_nothing_had_been(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [Request(prompt(n, 120), Sampling(max_tokens=60)) for n in range(4)]
    expected = [text_of(finish(new(checkpoint).generate(request))) for request in several]
    preempted = []
    preempt = Scheduler._preempt

    def noted(self: Scheduler) -> TokenSequence:
        preempted.append(preempt(self))
        return preempted[-1]

    monkeypatch.setattr(Scheduler, "_preempt", noted)
    engine = new(checkpoint, pages=8)
    texts = [""] * 4
    for number, event in engine.generate_all(several):
        if isinstance(event, Delta):
            texts[number] += event.text
    assert preempted
    assert texts == expected


def test_closing_one_of_several_leaves_the_others(checkpoint: Path, alone: list[str]) -> None:
    engine = new(checkpoint)
    open_ = [engine.generate(request) for request in requests()[:3]]
    for generation in open_:
        next(generation)
    for _ in range(5):
        next(open_[1])
    open_[1].close()
    assert text_of(finish(open_[0])) == alone[0]
    assert text_of(finish(open_[2])) == alone[2]
    assert engine._blocks.available == engine._blocks.count
    assert text_of(finish(engine.generate(requests()[1]))) == alone[1]


def test_scoring_while_answers_are_written(checkpoint: Path, alone: list[str]) -> None:
    engine = new(checkpoint)
    expected = new(checkpoint).score(prompt(9, 150), ["yes", "no", "perhaps"])
    generation = engine.generate(requests()[0])
    for _ in range(3):
        next(generation)
    for one, other in zip(engine.score(prompt(9, 150), ["yes", "no", "perhaps"]), expected, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
    assert alone[0].endswith(text_of(finish(generation)))


def counted(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of tokens of each step that the model runs."""
    runs: list[int] = []
    run = Runner.run

    def noted(self: Runner, plan: Plan) -> torch.Tensor:
        runs.append(sum(count for _, count in plan.reads))
        return run(self, plan)

    monkeypatch.setattr(Runner, "run", noted)
    return runs


def test_a_beginning_that_several_requests_share_is_read_once(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = prompt(1, 5 * PAGE)
    several = [Request(f"{common} {n}{n}", Sampling(max_tokens=1)) for n in range(4)]
    engine = new(checkpoint)
    lengths = [engine.count_tokens(one.prompt) for one in several]
    runs = counted(engine, monkeypatch)
    usages = [event.usage for _, event in engine.generate_all(several) if isinstance(event, Finished)]
    assert sum(runs) == sum(lengths) - sum(usage.cached_tokens for usage in usages)
    assert [usage.cached_tokens >= 5 * PAGE for usage in usages] == [False, True, True, True]


def test_conversations_that_alternate_are_each_continued(checkpoint: Path) -> None:
    engine = new(checkpoint)
    talks = {"a": prompt(1, 150), "b": prompt(2, 90)}
    for turn in range(4):
        for name in talks:
            events = finish(engine.generate(Request(talks[name], Sampling(max_tokens=8))))
            finished = events[-1]
            assert isinstance(finished, Finished)
            if turn:
                assert finished.usage.cached_tokens >= finished.usage.prompt_tokens - len(" and then?") - 1
            assert text_of(events) == text_of(
                finish(new(checkpoint).generate(Request(talks[name], Sampling(max_tokens=8))))
            )
            talks[name] += " and then?"


def test_the_cache_in_fp8_writes_nearly_the_same(make_checkpoint: Make) -> None:
    folder = make_checkpoint(3, kv_lora_rank=128)[0]
    plain, small = new(folder), new(folder, cache_type="fp8")
    options = ["the harbour", "a mill", "seven"]
    for one, other in zip(plain.score(prompt(1, 200), options), small.score(prompt(1, 200), options), strict=True):
        assert one.logprob != other.logprob
        assert one.logprob == pytest.approx(other.logprob, rel=0.2)


# --- Pages


class FakeRun:
    """A scheduler with its pages, whose steps only count."""

    def __init__(self, pages: int, chunk: int, ahead: bool) -> None:
        self.blocks = Blocks(pages)
        self.scheduler = Scheduler(self.blocks, chunk)
        self.ahead = ahead
        self.open: list[TokenSequence] = []
        self.stored: dict[tuple[int, int], tuple[int, ...]] = {}  # what a cache would hold: all tokens up to there

    def begin(self, tokens: list[int]) -> None:
        sequence = TokenSequence(tokens, b"model", followed=0 if self.ahead else None)
        self.open.append(sequence)
        self.scheduler.add(sequence)

    def step(self, drafts: int) -> None:
        plan = self.scheduler.plan()
        for copy in plan.copies:
            for place in range(PAGE):
                if (copy.source, place) in self.stored:
                    self.stored[copy.target, place] = self.stored[copy.source, place]
        for sequence, count in plan.reads:
            read = [*sequence.tokens[sequence.held :], *sequence.drafts][:count]
            for place in range(sequence.held):
                own = self.stored[sequence.pages[place // PAGE], place % PAGE]
                assert own == tuple(sequence.tokens[: place + 1])
            history = sequence.tokens[: sequence.held]
            for token in read:
                history = [*history, token]
                place = len(history) - 1
                self.stored[sequence.pages[place // PAGE], place % PAGE] = tuple(history)
            sequence.held += count - len(sequence.drafts)
            if self.ahead:
                sequence.followed = sequence.held - 1
            if sequence.pending == 0:
                sequence.drafts = []
                sequence.tokens.append(len(sequence.tokens) % 3)
                if drafts and self.ahead:
                    sequence.followed = sequence.held
                    sequence.drafts = [7] * drafts
            self.blocks.record(sequence)

    def end(self, sequence: TokenSequence) -> None:
        self.open.remove(sequence)
        self.scheduler.stop(sequence)
        self.blocks.close(sequence)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.booleans())
def test_no_page_leaks_or_holds_what_it_should_not(data: st.DataObject, ahead: bool) -> None:
    run = FakeRun(pages=12, chunk=data.draw(st.sampled_from([40, 200])), ahead=ahead)
    chosen = random.Random(data.draw(st.integers(0, 1 << 30)))
    bases = [[chosen.randrange(3) for _ in range(400)] for _ in range(2)]
    for _ in range(200):
        if (run.open and chosen.random() < 0.2) or len(run.open) > 5:
            run.end(chosen.choice(run.open))
        else:
            base = chosen.choice(bases)[: chosen.choice([1, 63, 64, 65, 128, 200, 330])]
            run.begin([*base, *(chosen.randrange(3) for _ in range(chosen.randrange(3)))])
        for _ in range(chosen.randrange(3)):
            if not run.open:
                break
            run.step(chosen.randrange(3))
            for sequence in [one for one in run.open if len(one.tokens) > 500]:
                run.end(sequence)
        users = [0] * 12
        for sequence in run.open:
            for page in sequence.pages:
                users[page] += 1
        assert users == run.blocks._users
    for sequence in list(run.open):
        run.end(sequence)
    assert run.blocks.available == 12
    assert not any(run.blocks._users)


def test_the_longest_unused_beginning_is_given_up_first() -> None:
    run = FakeRun(pages=6, chunk=1000, ahead=False)
    for first in (1, 2):
        run.begin([first] * 2 * PAGE)
        run.step(0)
        run.end(run.open[0])
    run.begin([1] * 2 * PAGE)  # used again
    run.step(0)
    assert run.open[0].cached == 2 * PAGE - 1
    run.end(run.open[0])
    run.begin([3] * 3 * PAGE)
    run.step(0)
    run.end(run.open[0])
    assert run.blocks.known(TokenSequence([1] * 3 * PAGE, b"model")) == 2
    assert run.blocks.known(TokenSequence([2] * 3 * PAGE, b"model")) < 2


def test_chains_of_different_models_never_meet() -> None:
    blocks = Blocks(4)
    sequence = TokenSequence([1] * PAGE * 2, b"model")
    assert blocks.grow(sequence, PAGE * 2)
    sequence.held = PAGE * 2
    blocks.close(sequence)
    assert blocks.known(TokenSequence([1] * PAGE * 2 + [0], b"model")) == 2
    assert blocks.known(TokenSequence([1] * PAGE * 2 + [0], b"other")) == 0


def test_running_answers_flow_while_a_long_prompt_is_read() -> None:
    run = FakeRun(pages=20, chunk=64, ahead=False)
    run.begin([1, 2, 3])
    run.step(0)
    run.begin([2] * 500)
    for _ in range(7):
        before = len(run.open[0].tokens)
        run.step(0)
        assert len(run.open[0].tokens) == before + 1
    assert run.open[1].held == 7 * 64
    assert run.scheduler.plan().reads[1] == (run.open[1], 500 - 7 * 64)


def test_pages_in_a_row_are_given_to_a_sequence_that_grows() -> None:
    run = FakeRun(pages=32, chunk=70, ahead=False)
    run.begin([1] * 300)
    run.begin([2] * 200)
    for _ in range(12):
        run.step(0)
    for sequence in run.open:
        first = sequence.pages[0]
        assert sequence.pages == list(range(first, first + len(sequence.pages)))


def test_rows_of_the_cache_come_back_as_they_were(make_checkpoint: Make) -> None:
    config = read_config(make_checkpoint(3)[0])
    cache = LatentCache(config, 8, torch.float32, torch.device("cpu"))
    cache.storage.normal_()
    rows = [cache.stored(layer, [5, 1, 2], 150) for layer in range(len(cache.storage))]
    before = cache.storage.clone()
    for layer, own in enumerate(rows):
        cache.fill(layer, [0, 7, 3], own)
        assert torch.equal(cache.stored(layer, [0, 7, 3], 150), own)
    assert torch.equal(cache.storage[:, [1, 2, 4, 5, 6]], before[:, [1, 2, 4, 5, 6]])
