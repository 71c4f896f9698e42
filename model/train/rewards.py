"""Rewards that can be checked: what an answer to a question with known passages and a known answer is worth.

Four parts, all read from the text alone: the words of the answer, the passage named for them, the form, and honesty
about whether there is an answer at all. Only a quotation has a form: a span which does not stand in the passage that it
cites earns nothing, so that nothing is won by repeating or inventing words. Pure functions; they know no model.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from model.spanformat import NOT_FOUND
from model.train.row_files import Row

_ANSWER = re.compile(r" \[([1-9])\] (\S(?:.*\S)?)\n")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """What each part counts; none is negative.

    With these, a perfect answer is worth 1.0, an honest refusal 0.7, a well-formed answer that is wrong in all 0.2, one
    where there is none to give (or a refusal where there is) -0.3, and anything malformed -0.5. Answering then pays if
    an answer is there with a probability of about a half, for a model whose answers are two thirds right.
    """

    f1: float = 0.5
    passage: float = 0.3
    form: float = 0.2
    refusal: float = 0.5


@dataclass(frozen=True, slots=True)
class Judgement:
    """The parts of one answer's reward."""

    f1: float
    """Word F1 against the right span, 0 to 1; 0 where there is nothing to answer."""
    passage: float
    """1 if it cites the passage that answers."""
    form: float
    """1 if it is `NOT_FOUND`, or cites a passage that is there with words that stand in it."""
    refusal: float
    """1 for refusing where no passage answers; -1 for answering there, for refusing what has an answer, and for
    anything malformed, so that nonsense is never the way out of a hard question; else 0."""
    refused: bool


MALFORMED = Judgement(f1=0.0, passage=0.0, form=0.0, refusal=-1.0, refused=False)


def judge(answer: str, row: Row) -> Judgement:
    """The parts of what `answer`, a whole continuation of `row.prompt` with its line end, is worth."""
    read = read_answer(answer)
    if read is None:
        return MALFORMED
    number, span = read
    if number > len(row.passages) or (number and span not in row.passages[number - 1]):
        return MALFORMED
    if number == 0 or row.gold == 0:
        honest = number == row.gold
        return Judgement(0.0, 0.0, 1.0, 1.0 if honest else -1.0, refused=number == 0)
    return Judgement(f1(span, row.span), float(number == row.gold), 1.0, 0.0, refused=False)


def reward(judged: Judgement, weights: RewardWeights) -> float:
    """The weighted sum of the parts."""
    return (
        weights.f1 * judged.f1
        + weights.passage * judged.passage
        + weights.form * judged.form
        + weights.refusal * judged.refusal
    )


def read_answer(text: str) -> tuple[int, str] | None:
    """Passage number and span of a continuation in exactly the form of `spanformat`; 0 and "" for a refusal.

    None for everything else, such as a second line, a missing line end, an empty span, or number 0 with a span. The
    reader of `spanformat` is lenient, since it is to make the best of what it gets; this one teaches.
    """
    if text == NOT_FOUND:
        return 0, ""
    found = _ANSWER.fullmatch(text)
    return (int(found[1]), found[2]) if found else None


def f1(span: str, gold: str) -> float:
    """Harmonic mean of precision and recall of the words, after SQuAD's normalisation (Rajpurkar et al., 2016).

    Where nothing is left of `gold` after that, only the same text counts: else any article would be right.
    """
    own, right = normal(span), normal(gold)
    if not right:
        return float(span.strip() == gold.strip())
    common = sum((Counter(own) & Counter(right)).values())
    return 2 * common / (len(own) + len(right))


@lru_cache(maxsize=65_536)  # the answers of a group are much alike
def normal(text: str) -> tuple[str, ...]:
    """The words of `text` in lower case, without punctuation and articles."""
    return tuple(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def summary(judged: Sequence[Judgement], rows: Sequence[Row], weights: RewardWeights) -> dict[str, float]:
    """Means over one answer to each of `rows`.

    `reward` and `form` over all; `f1` and `passage` over those that have an answer; `refused_unanswerable` and
    `refused_answerable` are the shares that were refused. A mean over nothing is 0.
    """
    answerable = [one for one, row in zip(judged, rows, strict=True) if row.gold]
    unanswerable = [one for one, row in zip(judged, rows, strict=True) if not row.gold]
    return {
        "reward": _mean([reward(one, weights) for one in judged]),
        "f1": _mean([one.f1 for one in answerable]),
        "passage": _mean([one.passage for one in answerable]),
        "form": _mean([one.form for one in judged]),
        "refused_unanswerable": _mean([one.refused for one in unanswerable]),
        "refused_answerable": _mean([one.refused for one in answerable]),
    }


def negative_weights(weights: RewardWeights) -> list[str]:
    """Names of weights below 0, with which the order of what answers are worth would not hold."""
    return [one.name for one in fields(weights) if getattr(weights, one.name) < 0]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(len(values), 1), 4)
