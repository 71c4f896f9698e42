"""What the embedded model adds to the choice of a sentence and a span: one prompt, read once, scored twice.

    best units by the rule, numbered 1..n in one prompt
      1. numbers   P(0: none of them), P(1) ... P(n)
      2. spans     log-probability of each candidate span, given its unit's number

Knows the prompt's form (`model.spanformat`), and nothing about rules, weights or how answers are shown.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.engine import Score

Judge = Callable[[str, Sequence[str]], list[Score]]
"""`Engine.score`: (prompt, continuations) to their log-probabilities."""

_CHARACTERS = 2400
"""Of all passages of a prompt together, about 600 tokens: reading them takes most of the time of an answer."""
_LONGEST = 700
"""Characters of one passage; what comes after is not read."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """Log-probabilities of "none of them" and of each number, normalised over all of these."""

    none: float
    numbers: tuple[float, ...]


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
        self.prompt = span_prompt(question, taken)
        self._opening: list[Score] = []

    def numbers(self) -> Opinion:
        """Which passage answers, if any."""
        from model.spanformat import passage_continuation

        self._opening = self._judge(self.prompt, [passage_continuation(n) for n in range(self.count + 1)])
        total = _log_sum([score.logprob for score in self._opening])
        none, *numbers = (score.logprob - total for score in self._opening)
        return Opinion(none, tuple(numbers))

    def spans(self, candidates: Sequence[tuple[int, str]]) -> list[SpanOpinion]:
        """How likely each span is, given that its passage (from 0) answers. `numbers` comes first."""
        from model.spanformat import answer_continuation

        scores = self._judge(self.prompt, [answer_continuation(n + 1, span) for n, span in candidates])
        found = []
        for (n, _), score in zip(candidates, scores, strict=True):
            opening = self._opening[n + 1]
            rest = score.logprob - opening.logprob
            found.append(SpanOpinion(rest, rest / max(score.tokens - opening.tokens, 1)))
        return found


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
