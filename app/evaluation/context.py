"""Does a model find what stands anywhere in a long text? Measured by length and depth, with any engine.

Knows nothing about where a model comes from, nor how results are shown: it asks an `Engine` and returns figures. What
was measured is in a journal, trial by trial, so that an interrupted run goes on. Trials that share a haystack follow
each other, the deepest needle first: an engine that keeps what it read needs to read only what comes after the needle.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from app.errors import BadInput
from app.evaluation.context_tasks import TASKS, WITHOUT_DEPTH, Place, probe
from app.evaluation.haystack import Haystack, wordings
from app.evaluation.scores import wilson
from model.engine import Delta, Engine, EngineInfo, Finished, Message, Prompt, Request, Sampling
from model.spanformat import BEGIN

Answering = Literal["chat", "continue", "score"]
PAGE = 64
"""Tokens by which a prompt may fall short of its length."""
_ATTEMPTS = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    lengths: tuple[int, ...]
    """In tokens of the model, of prompt and answer together."""
    tasks: tuple[str, ...] = TASKS
    depths: int = 10
    """Spread evenly from the beginning of the text to its end; a single one is the middle."""
    trials: int = 5
    """At each length and depth."""
    seed: int = 0
    answering: Answering | None = None
    """`chat` asks in a message, `continue` gives a text whose continuation is the answer, both greedily; `score`
    compares candidates for that continuation. None is `chat` where the model has a chat template, else `continue`."""
    answer_tokens: int | None = None
    """Most tokens of an answer; None is what each task needs. A model that reasons first needs thousands."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise BadInput(f"There is no task {', '.join(unknown)}.", f"Known: {', '.join(TASKS)}.")
        if min(self.lengths, default=0) < 1:
            raise BadInput("A length is a positive number of tokens.", "Write it as in 4096 or 4K.")

    def places(self, length: int) -> Iterator[Place]:
        """Each trial at `length`, those with the same haystack together, deepest first."""
        for trial in range(self.trials):
            for number in reversed(range(self.depths)):
                depth = number / (self.depths - 1) if self.depths > 1 else 0.5
                yield Place(self.seed, length, round(depth, 4), trial)


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured trial, as the journal holds it."""

    task: str
    length: int
    depth: float
    trial: int
    score: float
    chance: float
    words: int
    """Of the text, or its entries: the next trial, resumed or not, tries as many first."""
    tokens: int
    """Of the prompt."""
    cached: int
    """Of these, what the engine had not to read again."""
    seconds: float


class Unfit(Exception):
    """No text of this kind has the wanted number of tokens."""


def choose_answering(plan: Plan, info: EngineInfo) -> Answering:
    return plan.answering or ("chat" if "chat" in info.capabilities else "continue")


def evaluate(
    engine: Engine,
    haystack: Haystack,
    plan: Plan,
    journal: Path | None = None,
    advance: Callable[[int, int, str], None] = lambda done, total, words: None,
    foretell: Callable[[int, float, float], None] = lambda length, least, most: None,
) -> dict[str, Any]:
    """Measure what `plan` says; the shape is that of `loci eval --json`, with `intervals`, `cells` and `skipped`.

    `advance` is told tokens done, tokens in all, and what is measured; `foretell`, after each length but the last,
    that one, and the seconds that the longer ones take at least and at most: a prompt's time grows with its length, and
    no faster than with its square, as attention does. The journal's folder must exist.
    """
    info = engine.describe()
    answering = choose_answering(plan, info)
    before = {(one.task, one.length, one.depth, one.trial): one for one in _read(journal)}
    skipped: dict[str, str] = {}
    measured: list[Trial] = []
    lengths = sorted(set(plan.lengths))
    total = sum(lengths) * len(plan.tasks) * plan.depths * plan.trials
    done = 0
    for length in lengths:
        for task in plan.tasks:
            share = length * plan.depths * plan.trials
            try:
                if length > info.context:
                    raise Unfit(f"the model's window is {info.context} tokens")
                guess = length
                for place in plan.places(length):
                    old = before.get((task, length, place.depth, place.trial))
                    if old is None:
                        old = _measure(engine, info, answering, plan, task, place, haystack, guess)
                        _append(journal, old)
                    guess = old.words
                    measured.append(old)
                    done += length
                    advance(done, total, f"{task}@{length}")
                    share -= length
            except Unfit as reason:
                skipped[f"{task}@{length}"] = str(reason)
            done += share
        longer = [one / length for one in lengths if length < one <= info.context]
        seconds = sum(one.seconds for one in measured if one.length == length)
        if longer and seconds:
            foretell(length, seconds * sum(longer), seconds * sum(times**2 for times in longer))
    return _summary(measured, skipped, {**asdict(plan), "answering": answering}, haystack, info)


def journal_name(identity: str, haystack: Haystack, plan: Plan) -> str:
    """A file name that differs wherever trials could come out differently; `identity` names the model's content."""
    decisive = (
        identity, hashlib.sha256(" ".join(haystack.words).encode()).hexdigest(),
        wordings(), plan.depths, plan.seed, plan.answering, plan.answer_tokens,
    )  # fmt: skip
    return f"context-1-{hashlib.sha256(repr(decisive).encode()).hexdigest()[:24]}.jsonl"


# ---- one trial ----------------------------------------------------------------------------------


def _measure(
    engine: Engine, info: EngineInfo, answering: Answering, plan: Plan,
    task: str, place: Place, haystack: Haystack, guess: int,
) -> Trial:  # fmt: skip
    began = perf_counter()
    asked = probe(task, place, haystack)
    candidates = [f" {one}{',' if len(asked.gold) > 1 else '.'}" for one in asked.candidates]
    if answering == "score":
        room = max(engine.count_tokens(one) for one in candidates)
    else:
        room = plan.answer_tokens or asked.written
    begin = BEGIN if "span" in info.capabilities else ""

    def build(count: int) -> Prompt:
        question = f"{begin}{asked.intro}\n\n{asked.text(count)}\n\n{asked.question}"
        return [Message("user", question)] if answering == "chat" else f"{question}\n{asked.lead}"

    most = place.length - room
    words, tokens = fit(lambda count: engine.count_tokens(build(count)), most, asked.least, guess)
    prompt, cached = build(words), 0
    if answering == "score":
        scores = engine.score(prompt, candidates)
        order = sorted(range(len(candidates)), key=lambda number: -scores[number].logprob)
        answers = [asked.candidates[number] for number in order[: len(asked.gold)]]
        chance = len(asked.gold) / len(candidates)
    else:
        said = ""
        stop = ("\n",) if answering == "continue" else ()
        for event in engine.generate(Request(prompt, Sampling(max_tokens=room, stop=stop))):
            if isinstance(event, Delta):
                said += event.text
            elif isinstance(event, Finished):
                cached = event.usage.cached_tokens
        answers, chance = asked.found(said.rpartition("</think>")[2]), asked.guess
    score = asked.score(answers)
    seconds = perf_counter() - began
    depth, number = place.depth, place.trial
    return Trial(task, place.length, depth, number, score, chance, words, tokens, cached, round(seconds, 3))


def fit(count: Callable[[int], int], most: int, least: int, guess: int) -> tuple[int, int]:
    """How many words make a prompt of at most `most` tokens, and of less than a page less; and its tokens, which
    `count` tells.

    :raises Unfit: even `least` words are too many, or the words are too long for that.
    """
    below, above = (least, count(least)), None
    if below[1] > most:
        raise Unfit(f"the shortest text of this kind makes a prompt of {below[1]} tokens")
    tried = max(guess, least)
    for _ in range(_ATTEMPTS):
        tokens = below[1] if tried == below[0] else count(tried)
        if most - PAGE < tokens <= most:
            return tried, tokens
        if tokens > most:
            above = (tried, tokens)
        else:
            below = (tried, tokens)
        if above is None:
            tried = max(below[0] + 1, below[0] * (most - PAGE // 2) // max(below[1], 1))
        else:
            share = (most - PAGE // 2 - below[1]) / max(above[1] - below[1], 1)
            between = below[0] + round((above[0] - below[0]) * share)
            tried = min(max(between, below[0] + 1), above[0] - 1)
        if above is not None and above[0] - below[0] <= 1:
            break
    raise Unfit(f"no text makes a prompt of {most - PAGE + 1} to {most} tokens: a word takes more than a page")


# ---- all trials ---------------------------------------------------------------------------------


def _read(journal: Path | None) -> list[Trial]:
    """What an interrupted run measured; a line that was being written when it ended is dropped."""
    if journal is None or not journal.exists():
        return []
    text = journal.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        journal.write_text(whole, "utf-8")
    return [Trial(**json.loads(line)) for line in whole.splitlines()]


def _append(journal: Path | None, trial: Trial) -> None:
    if journal is not None:
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(trial)) + "\n")


def _summary(
    measured: list[Trial], skipped: dict[str, str], settings: dict[str, Any], haystack: Haystack, info: EngineInfo
) -> dict[str, Any]:
    by_name: dict[str, list[Trial]] = {}
    by_cell: dict[tuple[str, int, float | None], list[float]] = {}
    for one in measured:
        by_name.setdefault(f"{one.task}@{one.length}", []).append(one)
        depth = None if one.task in WITHOUT_DEPTH else one.depth
        by_cell.setdefault((one.task, one.length, depth), []).append(one.score)
    metrics = {name: _mean([one.score for one in group]) for name, group in by_name.items()}
    return {
        "dataset": "context",
        "items": len(measured),
        "metrics": metrics,
        "intervals": {name: wilson(metrics[name], len(group)) for name, group in by_name.items()},
        "baselines": {"chance": {name: _mean([one.chance for one in group]) for name, group in by_name.items()}},
        "skipped": skipped,
        "cells": [
            {"task": task, "length": length, "depth": depth, "score": _mean(scores), "trials": len(scores)}
            for (task, length, depth), scores in by_cell.items()
        ],
        "settings": settings
        | {"model": info.reference, "window": info.context, "haystack": haystack.name}
        | {"prompt_tokens": sum(one.tokens for one in measured), "cached_tokens": sum(one.cached for one in measured)},
        "seconds": round(sum(one.seconds for one in measured), 3),
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
