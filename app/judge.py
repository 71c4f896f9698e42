"""What the embedded model adds to the choice of a sentence and a span: one prompt, read once, scored twice.

    best units by the rule, numbered 1..n in one prompt
      1. numbers   P(0: none of them), P(1) ... P(n)
      2. words     what the model itself would answer from a unit
      3. spans     log-probability of each candidate span, given its unit's number

Knows the prompt's form (`model.spanformat`), and nothing about rules, weights or how answers are shown.
"""

import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

from app.sentences import Range
from model.engine import Delta, Engine, Finished, Request, Sampling, Score, Usage

_CHARACTERS = 2400
"""Of all passages of a prompt together, about 600 tokens: reading them takes most of the time of an answer."""
_LONGEST = 700
"""Characters of one passage; what comes after is not read."""
_ASKED = 1200
"""Characters of a question, which stands in the prompt twice; of a longer one its beginning and its end are read."""
_DANGLING = frozenset(
    ["a", "an", "and", "at", "by", "for", "from", "in", "is", "of", "or", "the", "to", "with", "was", "were", "are"]
)
"""Words after which something is missing."""
_ANSWER = 32
"""Tokens of an answer in the model's own words."""


class Judge(Protocol):
    """What this room asks of a model."""

    def score(self, prompt: str, continuations: Sequence[str]) -> list[Score]:
        """Log-probabilities of the continuations."""
        ...

    def line(self, prompt: str) -> str:
        """The likeliest line after `prompt`, token by token."""
        ...


class EngineJudge:
    """An engine as a judge, which counts what is read and written."""

    def __init__(self, engine: Engine, timed: Callable[[str], AbstractContextManager[None]] | None = None) -> None:
        """`timed` is entered for each call with `prefill`, where the prompt is new, or `decode`."""
        self._engine, self._read = engine, ""
        self._timed = timed if timed is not None else lambda part: nullcontext()
        self.usage = Usage()

    def score(self, prompt: str, continuations: Sequence[str]) -> list[Score]:
        read = prompt == self._read
        with self._timed("decode" if read else "prefill"):
            scores = self._engine.score(prompt, continuations)
        if read:
            self._count(written=sum(score.tokens for score in scores))
        else:
            self._read = prompt
            self._count(read=self._engine.count_tokens(prompt))
        return scores

    def line(self, prompt: str) -> str:
        said = []
        with self._timed("decode"):
            for event in self._engine.generate(Request(prompt, Sampling(max_tokens=_ANSWER, stop=("\n",)))):
                if isinstance(event, Delta):
                    said.append(event.text)
                elif isinstance(event, Finished):
                    self._count(written=event.usage.completion_tokens)
        return "".join(said)

    def _count(self, read: int = 0, written: int = 0) -> None:
        usage = self.usage
        self.usage = replace(
            usage, prompt_tokens=usage.prompt_tokens + read, completion_tokens=usage.completion_tokens + written
        )


@dataclass(frozen=True, slots=True)
class Opinion:
    """Log-probabilities of "none of them" and of each number, normalised over all of these."""

    none: float
    numbers: tuple[float, ...]

    def without(self, others: Collection[int]) -> "Opinion":
        """The same where the passages of these numbers, from 0, are of something else: what was given to them is given
        to "none"."""
        none = _log_sum([self.none, *(self.numbers[i] for i in others)])
        return Opinion(none, tuple(-math.inf if i in others else n for i, n in enumerate(self.numbers)))


@dataclass(frozen=True, slots=True)
class SpanOpinion:
    """Log-probability of a span given the number of its unit: the sum, and the mean over its tokens."""

    logprob: float
    mean: float


class Reading:
    """A question and its numbered passages before the model."""

    def __init__(self, question: str, passages: Sequence[str], judge: Judge) -> None:
        """Take as many of `passages`, best first, as one prompt should hold."""
        from model.spanformat import MAX_PASSAGES, span_prompt

        taken: list[str] = []
        for passage in passages[:MAX_PASSAGES]:
            body = passage[:_LONGEST]
            if taken and sum(map(len, taken)) + len(body) > _CHARACTERS:
                break
            taken.append(body)
        self.count = len(taken)
        self._judge = judge
        if len(question) > _ASKED:
            question = f"{question[: _ASKED // 2]} ... {question[-_ASKED // 2 :]}"
        self.prompt = span_prompt(question, taken)
        self._opening: list[Score] = []

    def numbers(self) -> Opinion:
        """Which passage answers, if any."""
        from model.spanformat import passage_continuation

        self._opening = self._judge.score(self.prompt, [passage_continuation(n) for n in range(self.count + 1)])
        total = _log_sum([score.logprob for score in self._opening])
        none, *numbers = (score.logprob - total for score in self._opening)
        return Opinion(none, tuple(numbers))

    def words(self, number: int, text: str, unit: Range) -> Range | None:
        """Where in `text` the model's own answer from passage `number` (from 0) stands, which is `unit` of it; None if
        the model says what is not there, or breaks off."""
        from model.spanformat import passage_continuation

        said = self._judge.line(self.prompt + passage_continuation(number + 1)).split()
        if said and said[-1].casefold() in _DANGLING:
            return None
        found = re.compile(r"\s+".join(map(re.escape, said))).search(text, *unit) if said else None
        return found.span() if found else None

    def spans(self, candidates: Sequence[tuple[int, str]]) -> list[SpanOpinion]:
        """How likely each span is, given that its passage (from 0) answers. `numbers` comes first."""
        from model.spanformat import answer_continuation

        scores = self._judge.score(self.prompt, [answer_continuation(n + 1, span) for n, span in candidates])
        found = []
        for (n, _), score in zip(candidates, scores, strict=True):
            opening = self._opening[n + 1]
            rest = score.logprob - opening.logprob
            found.append(SpanOpinion(rest, rest / max(score.tokens - opening.tokens, 1)))
        return found


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
