"""The sentences and rows in which an answer may stand, scored by meaning and words against the question.

Step 1 of app.spans, whose weights decide what each feature counts. Knows nothing about spans inside a unit or models.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.answer_types import Wanted, has_kind
from app.outline import only_names
from app.questions import answering, bare
from app.sentences import STOP_WORDS, Range, content_words, stem, word_ranges

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Features = dict[str, float]

CODE = re.compile(r"\b[A-Z]+-?\d+\b")
"""`F02`, `EQ-1003`."""
EMBEDDED = 32
"""Units that are embedded: most of the time of an answer goes there."""


@dataclass(frozen=True, slots=True)
class Text:
    """A passage or a memory as this room sees it: its words, and what stands above it."""

    text: str
    heading: str = ""
    dense: float | None = None
    opens: bool = False
    """Whether its document begins with it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One sentence or row: the number of its text (from 0), its range in it, and why it was chosen."""

    text: int
    range: Range
    features: Features
    score: float
    question: Range | None = None
    """What the text itself asked before it, of which it is the answer."""


def rank_units(
    question: str, asked: Wanted, texts: Sequence[Text], embed: Embed, weights: Mapping[str, float]
) -> list[Unit]:
    """All units of `texts`, best first; headings are none, where anything else is: they name what stands below."""
    units = [Unit(n, place, {}, 0.0, put) for n, text in enumerate(texts) for place, put in answering(text.text)]
    units = [one for one in units if any(c.isalnum() for c in texts[one.text].text[slice(*one.range)])]
    if not units:
        return []
    units = _promising(question, texts, units)
    vectors = embed([question, *(passage_of(texts, one) for one in units)])  # [1 + U, D]
    cosines = vectors[1:] @ vectors[0]  # [U]
    features = unit_features(question, asked, texts, units, cosines)
    units = [replace(one, features=f, score=dot(f, weights)) for one, f in zip(units, features, strict=True)]
    body = [unit for unit in units if not unit.features["heading"]]
    return sorted(body or units, key=lambda unit: -unit.score)


def passage_of(texts: Sequence[Text], unit: Unit) -> str:
    """What is read of a unit: what it says, after the question that it answers."""
    text = texts[unit.text].text
    said = text[slice(*unit.range)]
    return f"{bare(text, unit.question)} {said}" if unit.question is not None else said


def _promising(question: str, texts: Sequence[Text], units: list[Unit]) -> list[Unit]:
    """The units worth embedding, in order: those that share most of the question's words, of the better texts first."""
    if len(units) <= EMBEDDED:
        return units
    words = [content_words(passage_of(texts, one)) for one in units]
    asks = list(dict.fromkeys(content_words(question)))
    weight = idf(asks, words)
    total = sum(weight.values()) or 1.0

    def promise(index: int) -> float:
        own = {*words[index], *(words[index - 1] if _goes_on(units, index) else ())}
        return sum(weight[word] for word in asks if word in own) / total + 0.7 / (1 + units[index].text)

    kept = sorted(range(len(units)), key=promise, reverse=True)[:EMBEDDED]
    return [units[index] for index in sorted(kept)]


def _goes_on(units: Sequence[Unit], index: int) -> bool:
    """Whether the unit goes on from the one before it: in the same text, in answer to the same question."""
    before, own = units[index - 1], units[index]
    return index > 0 and (before.text, before.question) == (own.text, own.question)


def unit_features(
    question: str,
    asked: Wanted,
    texts: Sequence[Text],
    units: Sequence[Unit],
    cosines: NDArray[np.float32],
) -> list[Features]:
    """What speaks for each unit, as named numbers of about unit size."""
    words = [content_words(passage_of(texts, one)) for one in units]
    asks = list(dict.fromkeys(content_words(question)))
    weight = idf(asks, words)
    total = sum(weight.values()) or 1.0
    hard = hard_words(question)
    whole = [set(content_words(text.heading + " " + text.text)) for text in texts]
    best_of_text = [
        max((float(c) for c, one in zip(cosines, units, strict=True) if one.text == n), default=0.0)
        for n in range(len(texts))
    ]
    found: list[Features] = []
    for index, unit in enumerate(units):
        n = unit.text
        own = set(words[index])
        before = set(words[index - 1]) if _goes_on(units, index) else set()
        heading = set(content_words(texts[n].heading))
        dense = texts[n].dense
        body = texts[n].text[slice(*unit.range)]
        recall = sum(weight[w] for w in asks if w in own) / total
        found.append(
            {
                "bias": 1.0,
                "cosine": float(cosines[index]),
                "recall": recall,
                "recall_around": sum(weight[w] for w in asks if w in own or w in before or w in heading) / total,
                "recall_text": sum(weight[w] for w in asks if w in whole[n]) / total,
                "density": sum(1 for w in asks if w in own) / math.sqrt(len(words[index]) + 4),
                "pairs": _pairs(asks, words[index]),
                "hard_missing": sum(1 for w in hard if w not in own) / max(len(hard), 1),
                "hard_missing_text": sum(1 for w in hard if w not in whole[n]) / max(len(hard), 1),
                "typed": float(has_kind(body, asked)),
                "rank": 1.0 / (1 + n),
                "dense": float(dense) if dense is not None else best_of_text[n],
                "short": 1.0 if len(words[index]) < 4 else 0.0,
                "question": 1.0 if body.rstrip().endswith("?") else 0.0,
                "heading": float(unit.question is None and only_names(texts[n].text, unit.range, texts[n].opens)),
            }
        )
    return found


def idf(asks: Sequence[str], units: Sequence[Sequence[str]]) -> dict[str, float]:
    """Robertson and Sparck Jones weights of the question's words over the units at hand, never negative."""
    frequency = Counter(word for unit in units for word in set(unit))
    return {word: math.log(1 + (len(units) - frequency[word] + 0.5) / (frequency[word] + 0.5)) for word in asks}


def hard_words(question: str) -> list[str]:
    """Stems of the names and numbers of the question: what an answer's place can hardly do without."""
    found = []
    for index, (a, b) in enumerate(word_ranges(question)):
        word = question[a:b]
        named = word[0].isupper() and index > 0 and word.casefold() not in STOP_WORDS
        if named or any(c.isdigit() for c in word):
            found.append(stem(word))
    return found


def has_codes(question: str, text: Text) -> bool:
    """Whether the text or its heading has every code of the question: what is said of another code is no answer."""
    held = f"{text.heading}\n{text.text}".casefold()
    return all(code.casefold() in held for code in CODE.findall(question))


def _pairs(asks: Sequence[str], words: Sequence[str]) -> float:
    pairs = set(pairwise(asks))
    return len(pairs & set(pairwise(words))) / max(len(pairs), 1)


def dot(features: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(value * weights.get(name, 0.0) for name, value in features.items())
