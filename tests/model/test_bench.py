"""The bench: rates from times, ceilings beside them, and both kinds of subject."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.bench import Ceiling, EngineSubject, RunnerSubject, Timed, bench
from model.ceiling import Device, Held
from model.device_rates import device_rates
from model.engine import Event, Finished, Request, Usage
from model.errors import BenchFailed, UnsupportedOperation
from model.open import open_engine
from model.random_weights import SHAPES, random_model
from model.runner import Runner
from model.settings import ModelSettings

CPU = torch.device("cpu")
TINY = replace(
    SHAPES["v3"], vocab_size=256, hidden_size=128, intermediate_size=128, moe_intermediate_size=128,
    num_hidden_layers=4, num_attention_heads=2, kv_lora_rank=128, qk_nope_head_dim=16, qk_rope_head_dim=8,
    v_head_dim=16, n_routed_experts=32, num_nextn_predict_layers=0,
)  # fmt: skip


class FakeSubject:
    """Takes as long as it is told."""

    def __init__(self, *times: Timed) -> None:
        self.times = list(times)
        self.asked: list[tuple[int, int, int, int]] = []

    def time(self, context: int, batch: int, tokens: int, seed: int) -> Timed:
        self.asked.append((context, batch, tokens, seed))
        return self.times.pop(0)


def test_a_row_is_the_median_after_a_warm_up() -> None:
    times = [Timed(9.0, 9.0, 20), *(Timed(seconds, 2 * seconds, 20) for seconds in (1.0, 4.0, 2.0))]
    subject = FakeSubject(*times)
    (row,) = bench(subject, None, [100], [2], tokens=10, repeats=3)
    assert (row.prefill, row.decode, row.prefill_share, row.experts) == (100.0, 5.0, None, None)
    assert len({seed for *_, seed in subject.asked}) == 4, "every run has prompts of its own"


def test_ceilings_stand_beside_the_rates() -> None:
    ceiling = Ceiling(TINY, Held(), Device("one", 1e9, 1e12))
    (row,) = bench(FakeSubject(*[Timed(1.0, 1.0, 64)] * 2), ceiling, [100], [1], repeats=1)
    assert row.decode_ceiling == ceiling.decode(100 + 32, 1) and row.decode_share == 64 / row.decode_ceiling
    assert row.prefill_ceiling == ceiling.prefill(100, 1) and row.experts == pytest.approx(8)


def test_rows_come_as_they_are_measured() -> None:
    subject = FakeSubject(*[Timed(1.0, 1.0, 1)] * 4)
    rows: Iterator[object] = bench(subject, None, [10, 20], [1], repeats=1)
    next(rows)
    assert {context for context, *_ in subject.asked} == {10}


@pytest.mark.parametrize("fp8", [False, True])
def test_random_weights_are_measured_in_batches(fp8: bool) -> None:
    dtype = torch.bfloat16 if fp8 else torch.float32
    subject = RunnerSubject(Runner(random_model(TINY, dtype, CPU, fp8), dtype, CPU), chunk=16, fp8_cache=fp8)
    timed = subject.time(context=40, batch=3, tokens=4, seed=1)
    assert timed.decoded == 12 and timed.prefill > 0 and timed.decode > 0


def test_an_engine_is_measured_through_its_protocol(checkpoint: Path) -> None:
    engine = open_engine(str(checkpoint), ModelSettings())
    subject = EngineSubject(engine, 300)
    timed = subject.time(context=40, batch=1, tokens=4, seed=1)
    assert 2 <= timed.decoded <= 4 and timed.prefill > 0 and timed.decode > 0
    engine.close()


class OneWord:
    """Ends every answer after one token."""

    def generate(self, request: Request) -> Iterator[Event]:
        yield Finished("stop", Usage(1, 0, 1), 1.0, 0.0)


class Together(OneWord):
    """Writes all it is asked for, several answers at once; finds `cached` tokens of each prompt."""

    def __init__(self, cached: int) -> None:
        self.cached = cached

    def generate_all(self, requests: Sequence[Request]) -> Iterator[tuple[int, Event]]:
        for number, request in enumerate(requests):
            usage = Usage(len(request.prompt), self.cached, request.sampling.max_tokens)
            yield number, Finished("length", usage, 1.0, 500.0 * (number + 1))


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(BenchFailed, match="half of 8"):
        EngineSubject(OneWord(), 9).time(4, 1, 8, 1)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperation, match="batch 1"):
        EngineSubject(OneWord(), 9).time(4, 2, 8, 1)  # type: ignore[arg-type]
    with pytest.raises(BenchFailed, match="cache_gib"):
        EngineSubject(Together(0), 9).time(400, 3, 8, 1)  # type: ignore[arg-type]
    timed = EngineSubject(Together(399), 9).time(400, 3, 8, 1)  # type: ignore[arg-type]
    assert (timed.decode, timed.decoded) == (1.5, 24)
    roomy = Together(10**6)  # 449 tokens take eight pages of 64
    assert EngineSubject(roomy, 9, cache_tokens=3 * 512).time(440, 3, 8, 1).decoded == 24  # type: ignore[arg-type]
    with pytest.raises(BenchFailed, match="cache_gib"):
        EngineSubject(roomy, 9, cache_tokens=3 * 512 - 1).time(440, 3, 8, 1)  # type: ignore[arg-type]


def test_what_exceeds_the_window_or_any_memory_is_refused_before_it_is_drawn(checkpoint: Path) -> None:
    engine = open_engine(str(checkpoint), ModelSettings())
    runner = RunnerSubject(Runner(random_model(TINY, torch.float32, CPU, False), torch.float32, CPU), chunk=16)
    for subject in (EngineSubject(engine, 300, engine.describe().context), runner):
        for context, tokens in ((10**15, 1), (8, 10**15)):
            with pytest.raises(BenchFailed, match="exceed the window"):
                subject.time(context, 1, tokens, 0)
    with pytest.raises(BenchFailed, match="No memory holds"):
        runner.time(16, 10**12, 1, 0)


def test_an_unknown_device_is_measured() -> None:
    device = device_rates(CPU, torch.float32)
    assert device.measured and 1e8 < device.bandwidth < 1e13 and 1e8 < device.matrix < 1e16
