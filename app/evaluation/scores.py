"""Scores of answers: exact match and F1 as reading-comprehension sets define them, the area under the ROC curve, and
how far a share may be off."""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal(text: str) -> str:
    """Lower case without punctuation and articles, single spaces (SQuAD, Rajpurkar et al. 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    return float(any(normal(answer) == normal(one) for one in gold))


def f1(answer: str, gold: Sequence[str]) -> float:
    """Best word F1 of `answer` over the gold answers."""
    return max((_f1(normal(answer).split(), normal(one).split()) for one in gold), default=0.0)


def _f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    if not common:
        return float(not answer and not gold)
    precision, recall = common / len(answer), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney)."""
    ranked = sorted([(score, 1) for score in positive] + [(score, 0) for score in negative])
    total, index = 0.0, 0
    while index < len(ranked):
        after = index
        while after < len(ranked) and ranked[after][0] == ranked[index][0]:
            after += 1
        total += (
            (index + after + 1) / 2 * sum(label for _, label in ranked[index:after])
        )  # mean rank of the tie, from 1
        index = after
    p, n = len(positive), len(negative)
    return (total - p * (p + 1) / 2) / (p * n) if p and n else 0.5


def wilson(share: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% score interval of a share measured in `trials` (Wilson, 1927).

    For means of values within 0 to 1 that are not only 0 and 1 it is wider than needed: these vary less.
    """
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(middle - half, 0.0), min(middle + half, 1.0)
