"""Answers of a model too small for prose: it chooses a sentence and a span of the passages, or nothing.

    question, passages
      1. units       the sentences and rows of the passages, scored by meaning and words against the question
      2. spans       typed candidates inside the best units, scored by where and what they are
      3. model       which of the best units answers, and which of their spans (`app.judge`); left out without a model
      4. choice      one linear score; a logistic gives the confidence that the choice answers at all

All weights are named numbers in `spans_weights.json`, fitted by `app.evaluation.fit_spans`. Without a model the same
rule runs on the other features. Knows nothing about prompts in prose, sessions or how answers are shown.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.answer_types import Span, Wanted, spans, wanted
from app.judge import Judge, Opinion, Reading, SpanOpinion
from app.sentences import STOP_WORDS, Range, content_words, sentences, stem, word_ranges

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Features = dict[str, float]

EMBEDDED = 32
"""Units that are embedded: most of the time of an answer goes there."""
UNITS = 5
"""Units whose spans are looked at."""
_EXACT: frozenset[str] = frozenset({"money", "percent", "time", "duration", "frequency", "contact"})
"""Kinds whose form is unmistakable, and too rare in the training questions for their weights to say so."""
_EXACT_BONUS = 3.0
CLEAR = 0.3
"""Share from which a span of no particular kind is given without its sentence."""
READ = 9
"""Units that the model reads, at most."""
JUDGED = 3
"""Units of these whose spans the model is asked about."""
SPANS = 16
EACH = 4
"""Spans that the model is asked about: so many of the best, and of each unit at least so many."""


@dataclass(frozen=True, slots=True)
class Text:
    """A passage or a memory as this room sees it: its words, and what stands above it."""

    text: str
    heading: str = ""
    dense: float | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """One sentence or row: the number of its text (from 0), its range in it, and why it was chosen."""

    text: int
    range: Range
    features: Features
    score: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The best span, the unit around it, and the probability that it answers the question."""

    unit: Unit
    span: Range
    confidence: float
    wanted: Wanted
    kind: str
    """Of the span: `date`, `name`, `chunk` ..."""
    share: float
    """Of the probability among all spans looked at."""
    words: frozenset[str] = frozenset()
    """Stems of the question's words."""

    @property
    def short(self) -> bool:
        """Whether the span alone is an answer: a short thing was asked for and this is one, or it stands out
        clearly."""
        fitting = FITTING.get(self.wanted.kind)
        return self.kind in fitting if fitting is not None else self.wanted.kind == "thing" and self.share >= CLEAR


@lru_cache(maxsize=1)
def shipped_weights() -> dict[str, dict[str, float]]:
    """Weights by stage: `unit`, `span`, `confidence`."""
    weights: dict[str, dict[str, float]] = json.loads((Path(__file__).parent / "spans_weights.json").read_text("utf-8"))
    return weights


def choose(
    question: str,
    texts: Sequence[Text],
    embed: Embed,
    model: Judge | None = None,
    weights: Mapping[str, Mapping[str, float]] | None = None,
) -> Choice | None:
    """The span of `texts` that best answers `question`; None only if there is no text at all."""
    weights = shipped_weights() if weights is None else weights
    asked, words = wanted(question), frozenset(content_words(question))
    units = rank_units(question, asked, texts, embed, weights["unit"])
    if not units:
        return None
    opinion: Features = {}
    if model is None or "model_span" not in weights:
        candidates = rank_spans(question, asked, texts, units, weights["span"])
    else:
        candidates, opinion = judged(question, asked, texts, units, model, weights)
    if not candidates:  # units without a single word
        return Choice(units[0], units[0].range, 0.0, asked, "", 0.0, words)
    (unit, span), _, share = candidates[0]
    score = dot(confidence_features(unit, units, share), weights["confidence"])
    if opinion:
        score = dot(opinion | {"rule": score}, weights["model_confidence"])
    return Choice(unit, (span.start, span.end), logistic(score), asked, span.kind, share, words)


# ---- 1. units -----------------------------------------------------------------------------------


def rank_units(
    question: str, asked: Wanted, texts: Sequence[Text], embed: Embed, weights: Mapping[str, float]
) -> list[Unit]:
    """All units of `texts`, best first."""
    ranges = [(number, unit) for number, text in enumerate(texts) for unit in sentences(text.text)]
    ranges = [(n, r) for n, r in ranges if any(c.isalnum() for c in texts[n].text[r[0] : r[1]])]
    if not ranges:
        return []
    ranges = _promising(question, texts, ranges)
    bodies = [texts[n].text[a:b] for n, (a, b) in ranges]
    vectors = embed([question, *bodies])  # [1 + U, D]
    cosines = vectors[1:] @ vectors[0]  # [U]
    features = unit_features(question, asked, texts, ranges, cosines)
    units = [Unit(n, r, f, dot(f, weights)) for (n, r), f in zip(ranges, features, strict=True)]
    return sorted(units, key=lambda unit: -unit.score)


def _promising(question: str, texts: Sequence[Text], ranges: list[tuple[int, Range]]) -> list[tuple[int, Range]]:
    """The units worth embedding, in order: those that share most of the question's words, of the better texts first."""
    if len(ranges) <= EMBEDDED:
        return ranges
    words = [content_words(texts[n].text[a:b]) for n, (a, b) in ranges]
    asks = list(dict.fromkeys(content_words(question)))
    weight = idf(asks, words)
    total = sum(weight.values()) or 1.0

    def promise(index: int) -> float:
        own = {*words[index], *(words[index - 1] if index and ranges[index - 1][0] == ranges[index][0] else ())}
        return sum(weight[word] for word in asks if word in own) / total + 0.7 / (1 + ranges[index][0])

    kept = sorted(range(len(ranges)), key=promise, reverse=True)[:EMBEDDED]
    return [ranges[index] for index in sorted(kept)]


def unit_features(
    question: str,
    asked: Wanted,
    texts: Sequence[Text],
    ranges: Sequence[tuple[int, Range]],
    cosines: NDArray[np.float32],
) -> list[Features]:
    """What speaks for each unit, as named numbers of about unit size."""
    words = [content_words(texts[n].text[a:b]) for n, (a, b) in ranges]
    asks = list(dict.fromkeys(content_words(question)))
    weight = idf(asks, words)
    total = sum(weight.values()) or 1.0
    hard = hard_words(question)
    whole = [set(content_words(text.heading + " " + text.text)) for text in texts]
    best_of_text = [
        max((float(c) for c, (m, _) in zip(cosines, ranges, strict=True) if m == n), default=0.0)
        for n in range(len(texts))
    ]
    found: list[Features] = []
    for index, (n, (a, b)) in enumerate(ranges):
        own = set(words[index])
        before = set(words[index - 1]) if index and ranges[index - 1][0] == n else set()
        heading = set(content_words(texts[n].heading))
        dense = texts[n].dense
        body = texts[n].text[a:b]
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
                "heading": 1.0 if body.startswith("#") else 0.0,
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


def _pairs(asks: Sequence[str], words: Sequence[str]) -> float:
    pairs = set(pairwise(asks))
    return len(pairs & set(pairwise(words))) / max(len(pairs), 1)


FITTING: Mapping[str, frozenset[str]] = {
    "person": frozenset({"name", "proper"}),
    "place": frozenset({"name", "proper"}),
    "date": frozenset({"date"}),
    "time": frozenset({"time"}),
    "number": frozenset({"number", "quantity", "length"}),
    "money": frozenset({"money"}),
    "percent": frozenset({"percent"}),
    "duration": frozenset({"duration", "length"}),  # "how long" asks for either
    "frequency": frozenset({"frequency", "duration"}),
    "contact": frozenset({"contact"}),
}


_FITTED_AS: Mapping[str, str] = {"length": "quantity", "frequency": "duration"}
"""Kinds too rare in the training questions for weights of their own."""


def has_kind(body: str, asked: Wanted) -> bool:
    """Whether `body` holds a span of the kind asked for; True where no kind can be told from the form."""
    fitting = FITTING.get(asked.kind)
    return fitting is None or any(span.kind in fitting for span in spans(body, (0, len(body)), limit=24))


# ---- 2. spans -----------------------------------------------------------------------------------

Scored = tuple[tuple[Unit, Span], float, float]
"""Unit and span, linear score, share of the probability among all candidates."""


def rank_spans(
    question: str, asked: Wanted, texts: Sequence[Text], units: Sequence[Unit], weights: Mapping[str, float]
) -> list[Scored]:
    """Spans of the best units, best first."""
    pairs = [(unit, span) for unit in units[:UNITS] for span in spans(texts[unit.text].text, unit.range)]
    asks = set(content_words(question))
    top = units[0].score
    scores = [
        dot(span_features(asked, asks, texts[unit.text].text, unit.range, span), weights)
        + weights.get("unit_score", 1.0) * (unit.score - top)
        + (_EXACT_BONUS if asked.kind in _EXACT and span.kind in FITTING[asked.kind] else 0.0)
        for unit, span in pairs
    ]
    return _shares(pairs, scores)


def _shares(pairs: Sequence[tuple[Unit, Span]], scores: Sequence[float]) -> list[Scored]:
    if not pairs:
        return []
    values = np.asarray(scores, dtype=np.float64)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    order = sorted(range(len(pairs)), key=lambda i: -values[i])
    return [(pairs[i], float(values[i]), float(shares[i])) for i in order]


def span_features(asked: Wanted, asks: set[str], text: str, unit: Range, span: Span) -> Features:
    """What speaks for a span: its kind crossed with the kind asked for, its neighbours, its distance to the
    question's words."""
    words = [(unit[0] + a, unit[0] + b) for a, b in word_ranges(text[unit[0] : unit[1]])]
    stems = [stem(text[a:b]) for a, b in words]
    inside = [i for i, (a, b) in enumerate(words) if a >= span.start and b <= span.end]
    if not inside:
        return {"empty": 1.0}
    first, last = inside[0], inside[-1]
    matches = [i for i, s in enumerate(stems) if s in asks and not first <= i <= last]
    distance = min((first - i if i < first else i - last for i in matches), default=20)
    before = text[words[first - 1][0] : words[first - 1][1]].casefold() if first else "^"
    after = text[words[last + 1][0] : words[last + 1][1]].casefold() if last + 1 < len(words) else "$"
    gap_before = text[unit[0] : span.start][-2:]
    gap_after = text[span.end : unit[1]][:1]
    repeated = sum(1 for i in inside if stems[i] in asks)
    length = last - first + 1
    kind, shape = _FITTED_AS.get(asked.kind, asked.kind), _FITTED_AS.get(span.kind, span.kind)
    label = before if before in STOP_WORDS or before == "^" else ("ask" if stems[first - 1] in asks else "word")
    follow = after if after in STOP_WORDS or after == "$" else ("ask" if stems[last + 1] in asks else "word")
    header = (
        text[text.rfind("\n", unit[0], span.start) + 1 : span.start].rsplit(";", 1)[-1] if gap_before == ": " else ""
    )
    features: Features = {
        f"{kind}:{shape}": 1.0,
        f"{asked.lead}:{shape}": 1.0,
        f"{kind}:len{min(length, 7)}": 1.0,
        f"{shape}:len{min(length, 7)}": 1.0,
        f"before:{label}": 1.0,
        f"{kind}:before:{label}": 1.0,
        f"after:{follow}": 1.0,
        f"near{min(distance, 8)}": 1.0,
        f"{kind}:near": 1.0 / distance,
        "around": sum(1.0 / (2 + min(abs(i - first), abs(i - last))) for i in matches),
        "matches_before": sum(1 for i in matches if i < first) / max(len(asks), 1),
        "matches_after": sum(1 for i in matches if i > last) / max(len(asks), 1),
        "repeats": repeated / length,
        "repeats_all": float(repeated == length),
        "first": float(first == 0),
        "last": float(last == len(words) - 1),
        "opens": float(gap_before.endswith((", ", "(", '"', "“")) or gap_before.strip() in (",", "(", "“")),
        f"{shape}:closes": float(gap_after in ',.;:)”"'),
        "closes": float(gap_after in ',.;:)”"'),
        "capital": float(text[span.start].isupper()),
        f"{kind}:capital": float(text[span.start].isupper()),
        "digits": float(any(c.isdigit() for c in text[span.start : span.end])),
        f"{kind}:digits": float(any(c.isdigit() for c in text[span.start : span.end])),
    }
    if asked.focus is not None:
        features["focus_after"] = float(asked.focus in stems[last + 1 : last + 3])
        features["focus_inside"] = float(asked.focus in stems[first : last + 1])
        features[f"{kind}:focus_inside"] = features["focus_inside"]
        features["focus_before"] = float(asked.focus in stems[max(first - 3, 0) : first])
    if header:
        features["field"] = 1.0
        features["field_asked"] = float(any(w in asks for w in content_words(header)))
    return features


# ---- 3. model ------------------------------------------------------------------------------------


def judged(
    question: str,
    asked: Wanted,
    texts: Sequence[Text],
    units: Sequence[Unit],
    model: Judge,
    weights: Mapping[str, Mapping[str, float]],
) -> tuple[list[Scored], Features]:
    """Spans of the units that rule and model together like best, best first; and what the model says of the choice."""
    reading = Reading(question, [passage_of(texts, unit) for unit in units[:READ]], model)
    opinion = reading.numbers()
    read = units[: reading.count]
    scores = [dot(f, weights["model_unit"]) for f in unit_opinions(read, opinion)]
    best = sorted(range(len(read)), key=lambda i: -scores[i])[:JUDGED]
    rivals = rank_spans(question, asked, texts, [read[i] for i in best], weights["span"])
    kept = shortlist(rivals)
    if not kept:
        return [], {}
    place = {id(read[i]): i for i in best}
    numbers = [place[id(unit)] for (unit, _), _, _ in kept]
    bodies = [texts[unit.text].text[span.start : span.end] for (unit, span), _, _ in kept]
    opinions = reading.spans(list(zip(numbers, bodies, strict=True)))
    features = span_opinions(kept, [scores[i] for i in numbers], opinions)
    found = _shares([pair for pair, _, _ in kept], [dot(f, weights["model_span"]) for f in features])
    return found, choice_opinion(opinion)


def passage_of(texts: Sequence[Text], unit: Unit) -> str:
    """What the model reads of a unit."""
    return texts[unit.text].text[unit.range[0] : unit.range[1]]


def unit_opinions(units: Sequence[Unit], opinion: Opinion) -> list[Features]:
    """Per unit that was read: the rule's score and the model's probability."""
    top = max(unit.score for unit in units)
    best = max(opinion.numbers)
    return [
        {
            "rule": unit.score - top,
            "model": max(number, -12.0),
            "agree": float(number == best),
        }
        for unit, number in zip(units, opinion.numbers, strict=True)
    ]


def shortlist(rivals: Sequence[Scored]) -> list[Scored]:
    """The spans that the model is asked about: the best of each unit, then the best of all."""
    taken: dict[int, int] = {}
    kept = []
    for rank, rival in enumerate(rivals):
        unit = id(rival[0][0])
        taken[unit] = taken.get(unit, 0) + 1
        if taken[unit] <= EACH or rank < SPANS:
            kept.append(rival)
    return kept


def span_opinions(kept: Sequence[Scored], units: Sequence[float], opinions: Sequence[SpanOpinion]) -> list[Features]:
    """Per candidate span: the rule's score, its unit's, and the model's probabilities."""
    top = max(score for _, score, _ in kept)
    best = max(units)
    likeliest = max(opinion.logprob for opinion in opinions)
    return [
        {
            "rule": max(score - top, -12.0),
            "unit": unit - best,
            "model": max(opinion.logprob, -30.0),
            "mean": max(opinion.mean, -8.0),
            "agree": float(opinion.logprob == likeliest),
        }
        for (_, score, _), unit, opinion in zip(kept, units, opinions, strict=True)
    ]


def choice_opinion(opinion: Opinion) -> Features:
    """What the model says of whether anything answers: the odds against "none", in units of 4 nats.

    How sure it is of the unit or the span adds nothing on questions of other kinds than those fitted on.
    """
    odds = math.log(max(sum(math.exp(n) for n in opinion.numbers), 1e-9)) - opinion.none
    return {"bias": 1.0, "odds": max(min(odds, 8.0), -8.0) / 4}


# ---- 4. choice -----------------------------------------------------------------------------------


def confidence_features(unit: Unit, units: Sequence[Unit], share: float) -> Features:
    """What tells an answer from a near miss."""
    best = max(u.features["cosine"] for u in units)
    other = max((u.score for u in units if u is not unit), default=unit.score - 5)
    features = {f"unit:{name}": value for name, value in unit.features.items()}
    return features | {
        "best_cosine": best,
        "best_dense": max(u.features["dense"] for u in units),
        "lead": max(min(unit.score - other, 5.0), -5.0) / 5,
        "score": unit.score / 5,
        "share": share,
    }


def dot(features: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(value * weights.get(name, 0.0) for name, value in features.items())


def logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(min(value, 30.0), -30.0)))
