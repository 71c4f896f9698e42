"""Answers of a model too small for prose: it chooses a sentence and a span of the passages, or nothing.

    question, passages
      1. units       the sentences and rows of the passages, scored by meaning and words (`app.units`)
      2. spans       typed candidates inside the best units, scored by where and what they are
      3. model       which of the best units answers, and which of their spans (`app.judge`); left out without a model
      4. choice      one linear score; a logistic gives the confidence that the choice answers at all

All weights are named numbers in `spans_weights.json`, fitted by `app.evaluation.fit_spans`. Without a model the same
rule runs on the other features. Knows nothing about prompts in prose, sessions or how answers are shown.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from app.amounts import amount_named
from app.answer_types import FITTING, TOLD, Span, Wanted, may_answer, spans, wanted
from app.contrasts import contradicts
from app.judge import Judge, Opinion, Reading, SpanOpinion
from app.lookup import Cell, look_up
from app.outline import name_of
from app.paragraphs import value_start
from app.sentences import STOP_WORDS, Range, content_words, stem, word_ranges
from app.units import Embed, Features, Text, Unit, dot, has_codes, passage_of, rank_units

UNITS = 5
"""Units whose spans are looked at."""
_FITTED_AS: Mapping[str, str] = {"length": "quantity", "frequency": "duration"}
"""Kinds too rare in the training questions for weights of their own."""
_EXACT: frozenset[str] = frozenset({"money", "percent", "time", "duration", "frequency", "contact"})
"""Kinds whose form is unmistakable, and too rare in the training questions for their weights to say so."""
_EXACT_BONUS = 3.0
_LOOKED_UP = 0.95
"""Confidence in a cell whose row and column the question names."""
CLEAR = 0.25
"""Share from which a span of no particular kind is given without its sentence."""
READ = 9
"""Units that the model reads, at most."""
JUDGED = 3
"""Units of these whose spans the model is asked about."""
SPANS = 16
EACH = 4
"""Spans that the model is asked about: so many of the best, and of each unit at least so many."""


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
    cell: Cell | None = None
    """Where a table was looked up instead of choosing; its value, if there is one, is the span."""
    others: bool = False
    """Whether something that was found speaks of another thing of the kind that the question names."""
    features: Features = field(default_factory=dict)
    """What the confidence was made of where a model was asked."""

    @property
    def short(self) -> bool:
        """Whether the span alone is an answer: it is of the kind asked for, or stands out where a few words answer."""
        fitting = self.kind in FITTING.get(self.wanted.kind, ())
        return fitting or (self.wanted.kind not in TOLD and self.share >= CLEAR)


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
    if (cell := look_up(question, asked, texts)) is not None:
        return _looked_up(cell, asked, words)
    ranked = rank_units(question, asked, texts, embed, weights["unit"])
    if not ranked:
        return None
    apart = frozenset(i for i, unit in enumerate(ranked) if contradicts(question, unit, texts, asked))
    units, others = [unit for i, unit in enumerate(ranked) if i not in apart], bool(apart)
    if not units:
        return Choice(ranked[0], ranked[0].range, 0.0, asked, "", 0.0, words, others=others)
    opinion: Features = {}
    if model is None or "model_span" not in weights:
        candidates = rank_spans(question, asked, texts, units, weights["span"])
    else:
        candidates, opinion = judged(question, asked, texts, ranked, apart, model, weights)
    if not candidates:  # units without a single word
        return Choice(units[0], units[0].range, 0.0, asked, "", 0.0, words, others=others)
    (unit, span), _, share = candidates[0]
    span = amount_named(question, texts[unit.text].text, unit.range, span)
    score = dot(confidence_features(unit, units, share), weights["confidence"])
    features = opinion | {"rule": score} if opinion else {}
    if features:
        score = dot(features, weights["model_confidence"])
    may = may_answer(name_of(texts[unit.text].text, unit.range), asked) and has_codes(question, texts[unit.text])
    sure = logistic(score) if may else 0.0
    return Choice(unit, (span.start, span.end), sure, asked, span.kind, share, words, None, others, features)


def _looked_up(cell: Cell, asked: Wanted, words: frozenset[str]) -> Choice:
    unit = Unit(cell.text, cell.row.place, {}, 0.0)
    if cell.value is None:
        return Choice(unit, cell.row.place, 0.0, asked, "value", 1.0, words, cell)
    return Choice(unit, cell.value, _LOOKED_UP, asked, "value", 1.0, words, cell)


# ---- 2. spans -----------------------------------------------------------------------------------

Scored = tuple[tuple[Unit, Span], float, float]
"""Unit and span, linear score, share of the probability among all candidates."""


def rank_spans(
    question: str,
    asked: Wanted,
    texts: Sequence[Text],
    units: Sequence[Unit],
    weights: Mapping[str, float],
    words: Range | None = None,
) -> list[Scored]:
    """Spans of the best units, best first; `words` of the first unit are one of them. The name of a field is none."""
    pairs = [(unit, span) for unit in units[:UNITS] for span in spans(texts[unit.text].text, unit.range)]
    if words is not None and not any(unit is units[0] and (span.start, span.end) == words for unit, span in pairs):
        pairs.append((units[0], Span(*words, "chunk")))
    pairs = [pair for pair in pairs if pair[1].start >= value_start(texts[pair[0].text].text, pair[0].range)] or pairs
    asks = set(content_words(question))
    if asked.kind not in TOLD:
        pairs = [pair for pair in pairs if _says_more(texts[pair[0].text].text, pair[1], asks)] or pairs
    top = units[0].score
    scores = [
        dot(span_features(asked, asks, texts[unit.text].text, unit.range, span), weights)
        + weights.get("unit_score", 1.0) * (unit.score - top)
        + (_EXACT_BONUS if asked.kind in _EXACT and span.kind in FITTING[asked.kind] else 0.0)
        for unit, span in pairs
    ]
    return _shares(pairs, scores)


def _says_more(text: str, span: Span, asks: set[str]) -> bool:
    """Whether the span has a word that the question has not: it is no answer to be told what was asked."""
    return any(word not in asks for word in content_words(text[span.start : span.end]))


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
    apart: Collection[int],
    model: Judge,
    weights: Mapping[str, Mapping[str, float]],
) -> tuple[list[Scored], Features]:
    """Spans of the units that rule and model together like best, best first; and what the model says of the choice.

    The model reads what is said of another thing, the units with a number in `apart`, too: what it likes of that speaks
    against an answer.
    """
    reading = Reading(question, [passage_of(texts, unit) for unit in units[:READ]], model)
    opinion = reading.numbers()
    seen = units[: reading.count]
    others = frozenset(i for i in apart if i < len(seen))
    scores = [dot(f, weights["model_unit"]) for f in unit_opinions(seen, opinion)]
    kept, features = judged_spans(reading, question, asked, texts, seen, scores, weights["span"], others)
    if not kept:
        return [], {}
    found = _shares([pair for pair, _, _ in kept], [dot(f, weights["model_span"]) for f in features])
    return found, choice_opinion(opinion.without(others))


def judged_spans(
    reading: Reading,
    question: str,
    asked: Wanted,
    texts: Sequence[Text],
    units: Sequence[Unit],
    scores: Sequence[float],
    weights: Mapping[str, float],
    others: Collection[int] = (),
) -> tuple[list[Scored], list[Features]]:
    """The spans of the best of the `units` that were read, and what rule and model say of each; those with a number in
    `others` speak of something else and have none."""
    order = sorted(range(len(units)), key=lambda i: -scores[i])
    best = [i for i in order[:JUDGED] if i not in others] or [i for i in order if i not in others][:1]
    if not best:
        return [], []
    first = units[best[0]]
    words = reading.words(best[0], texts[first.text].text, first.range)
    kept = shortlist(rank_spans(question, asked, texts, [units[i] for i in best], weights, words), first, words)
    if not kept:
        return [], []
    place = {id(units[i]): i for i in best}
    numbers = [place[id(unit)] for (unit, _), _, _ in kept]
    bodies = [texts[unit.text].text[span.start : span.end] for (unit, span), _, _ in kept]
    opinions = reading.spans(list(zip(numbers, bodies, strict=True)))
    features = span_opinions(kept, [scores[i] for i in numbers], opinions)
    for own, ((unit, span), _, _) in zip(features, kept, strict=True):
        own["words"] = float(unit is first and (span.start, span.end) == words)
    return kept, features


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


def shortlist(rivals: Sequence[Scored], first: Unit | None = None, words: Range | None = None) -> list[Scored]:
    """The spans that the model is asked about: the best of each unit, the best of all, and its `words` of `first`."""
    taken: dict[int, int] = {}
    kept = []
    for rank, rival in enumerate(rivals):
        (one, span), unit = rival[0], id(rival[0][0])
        taken[unit] = taken.get(unit, 0) + 1
        own = one is first and (span.start, span.end) == words
        if taken[unit] <= EACH or rank < SPANS or own:
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


def logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(min(value, 30.0), -30.0)))
