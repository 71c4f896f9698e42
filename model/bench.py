"""Measures how fast a model reads and writes, beside what its device could do at best.

A subject is timed, not inspected: an engine through its protocol, or a model of random weights through its steps. Knows
nothing about how results are shown.
"""

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.cache import PAGE, token_bytes
from model.ceiling import Device, Held, decode_seconds, expected_experts, prefill_seconds
from model.config import Config
from model.device_rates import synchronise
from model.engine import AnswersTogether, Engine, Finished, Request, Sampling
from model.errors import BenchFailed, UnsupportedOperation
from model.plan.machine import host_memory
from model.runner import Runner
from model.step import Reading

_PROMPTS = 5
"""Prompts tried until one does not end after a few tokens."""


class Subject(Protocol):
    """What can be timed."""

    def time(self, context: int, batch: int, tokens: int, seed: int) -> "Timed":
        """Read `batch` distinct prompts of `context` tokens, then write about `tokens` more to each."""
        ...


@dataclass(frozen=True, slots=True)
class Timed:
    prefill: float
    """seconds"""
    decode: float
    """seconds"""
    decoded: int
    """tokens that were read one at a time, over all sequences"""


@dataclass(frozen=True, slots=True)
class Row:
    """One context length and batch size; rates in tokens per second over the whole batch, None where unknown."""

    context: int
    batch: int
    prefill: float
    prefill_ceiling: float | None
    decode: float
    decode_ceiling: float | None
    experts: float | None
    """distinct experts of a layer that the ceiling of decoding assumes a step to hit"""
    repeats: int

    @property
    def prefill_share(self) -> float | None:
        return self.prefill / self.prefill_ceiling if self.prefill_ceiling else None

    @property
    def decode_share(self) -> float | None:
        return self.decode / self.decode_ceiling if self.decode_ceiling else None


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the best possible rates follow from."""

    config: Config
    held: Held
    device: Device

    def prefill(self, context: int, batch: int) -> float:
        return batch * context / prefill_seconds(self.config, self.held, self.device, context, batch)

    def decode(self, context: float, batch: int) -> float:
        return batch / decode_seconds(self.config, self.held, self.device, context, batch)


def bench(
    subject: Subject,
    ceiling: Ceiling | None,
    contexts: Sequence[int],
    batches: Sequence[int],
    tokens: int = 64,
    repeats: int = 3,
) -> Iterator[Row]:
    """A row for each batch size and context length, as it is measured: the median of `repeats` after a warm-up."""
    for batch in batches:
        for context in contexts:
            subject.time(context, batch, tokens, seed=0)
            timed = [subject.time(context, batch, tokens, seed) for seed in range(1, repeats + 1)]
            yield Row(
                context=context,
                batch=batch,
                prefill=statistics.median(batch * context / one.prefill for one in timed),
                prefill_ceiling=ceiling.prefill(context, batch) if ceiling else None,
                decode=statistics.median(one.decoded / one.decode for one in timed),
                # The cache grows while tokens are written; its middle stands for all of it.
                decode_ceiling=ceiling.decode(context + tokens / 2, batch) if ceiling else None,
                experts=expected_experts(ceiling.config, batch) if ceiling else None,
                repeats=repeats,
            )


class EngineSubject:
    """An engine, through its protocol. Prompts are token ids that it has not seen, so that no cache helps."""

    def __init__(
        self, engine: Engine, vocabulary: int, window: int | None = None, cache_tokens: int | None = None
    ) -> None:
        """`window`: tokens of prompt and answer together; `cache_tokens`: those of all sequences; where known."""
        self._engine = engine
        self._vocabulary = vocabulary
        self._window, self._cache_tokens = window, cache_tokens

    def time(self, context: int, batch: int, tokens: int, seed: int) -> Timed:
        """Times the reading first. Then the same prompts are found in the cache, and only the answers take time.

        :raises BenchFailed: window or cache are too small for that, or the model ends every answer at once.
        """
        _check_window(context, tokens + 1, self._window)
        if batch > 1 and not isinstance(self._engine, AnswersTogether):
            raise UnsupportedOperation("This engine writes one answer at a time.", "Measure batch 1.")
        crowded = BenchFailed(
            f"The cache does not hold {batch:,} prompts of {context:,} tokens: some would be read while others are "
            "answered.",
            "Raise model.cache_gib, or measure fewer or shorter ones.",
        )
        if self._cache_tokens is not None and batch * _pages(context + tokens + 1) * PAGE > self._cache_tokens:
            raise crowded
        draw = random.Random(f"{seed} {context} {batch}")
        for _ in range(_PROMPTS):
            prompts = [[draw.randrange(self._vocabulary) for _ in range(context)] for _ in range(batch)]
            # Drawn at random, so that a model with a favourite last word does not always say it.
            started = time.perf_counter()
            first = self._finish(prompts, Sampling(temperature=1.0, seed=seed, max_tokens=1))
            read = time.perf_counter() - started
            done = self._finish(prompts, Sampling(temperature=1.0, seed=seed, max_tokens=tokens + 1))
            if batch > 1 and min(one.usage.cached_tokens for one in done) < context - PAGE:
                raise crowded
            decoded = sum(one.usage.completion_tokens - 1 for one in done)
            if 2 * decoded >= batch * tokens:
                prefill = first[0].prefill_ms / 1e3 if batch == 1 else read
                return Timed(prefill, max(one.decode_ms for one in done) / 1e3, decoded)
        raise BenchFailed(f"The model ended {_PROMPTS} answers before half of {tokens} tokens.", "Ask for fewer.")

    def _finish(self, prompts: list[list[int]], sampling: Sampling) -> list[Finished]:
        requests = [Request(prompt, sampling) for prompt in prompts]
        if len(requests) == 1:
            return [event for event in self._engine.generate(requests[0]) if isinstance(event, Finished)]
        assert isinstance(self._engine, AnswersTogether), "checked before they were drawn"
        return [event for _, event in self._engine.generate_all(requests) if isinstance(event, Finished)]


class RunnerSubject:
    """A model without a tokenizer, by the steps that the engine would make; the likeliest token is fed back."""

    def __init__(self, runner: Runner, chunk: int, fp8_cache: bool = False, decodes_alone: bool = False) -> None:
        """`chunk` tokens are read in a step of a prefill; `decodes_alone` as in `Runner`."""
        self._runner, self._chunk = runner, chunk
        self._fp8_cache, self._alone = fp8_cache, decodes_alone
        self._pages = 0

    def time(self, context: int, batch: int, tokens: int, seed: int) -> Timed:
        """:raises BenchFailed: window or memory are too small for that."""
        runner = self._runner
        _check_window(context, tokens, runner.model.config.max_position_embeddings)
        own = _pages(context + tokens)
        if self._pages != own * batch:  # as in an engine, a cache outlives its first sequence
            unheld = BenchFailed(
                f"No memory holds a cache of {batch:,} sequences of {context + tokens:,} tokens.",
                "Measure fewer or shorter ones.",
            )
            size = own * batch * PAGE * token_bytes(runner.model.config, runner.dtype, self._fp8_cache)
            if runner.device.type == "cpu" and size > host_memory()[0]:  # which a system may promise all the same
                raise unheld
            try:
                runner.open_cache(own * batch, self._fp8_cache)
            except RuntimeError as error:  # torch's word for memory that is not there
                raise unheld from error
            self._pages = own * batch
        tables = [range(own * number, own * (number + 1)) for number in range(batch)]
        draw = random.Random(seed)
        vocabulary = runner.model.config.vocab_size
        started = self._now()
        last = []
        for table in tables:
            prompt = [draw.randrange(vocabulary) for _ in range(context)]
            for start in range(0, context, self._chunk):
                hidden = runner.read([], [Reading(prompt[start : start + self._chunk], start, table)], False)
            last.append(int(runner.logits(hidden[-1:]).argmax()))
        read = self._now()
        for held in range(context, context + tokens):
            readings = [Reading([token], held, table, True) for token, table in zip(last, tables, strict=True)]
            last = runner.logits(runner.read([], readings, self._alone and batch == 1)).argmax(-1).tolist()
        return Timed(read - started, self._now() - read, tokens * batch)

    @property
    def cache_bytes(self) -> int:
        """Of the largest cache that was needed, as it was allocated."""
        return self._runner.cache.storage.nbytes

    def _now(self) -> float:
        synchronise(self._runner.device)
        return time.perf_counter()


def _pages(tokens: int) -> int:
    """Of the cache, for one sequence."""
    return -(-tokens // PAGE)


def _check_window(context: int, tokens: int, window: int | None) -> None:
    """Before a prompt is drawn: one of any length would fill the memory."""
    if window is not None and context + tokens > window:
        raise BenchFailed(
            f"{context:,} tokens of prompt and {tokens:,} of answer exceed the window of {window:,}.",
            "Measure shorter ones.",
        )
