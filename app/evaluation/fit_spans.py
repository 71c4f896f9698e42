"""Fits `app/spans_weights.json` on training questions: `python -m app.evaluation.fit_spans --questions FILE.jsonl.xz`.

The questions come with what a search finds for them (`app.evaluation.fit_items`). Three stages, each fitted given the
one before: which unit (softmax over units), which span (softmax over spans, target by F1), and whether the choice
answers at all (logistic). `--stage rule` fits them without a model; `--stage model` adds the model's opinions, and only
on groups of questions that the embedded one was not trained on, since elsewhere it is surer than it will be;
`--stage confidence` fits the last of these alone, as another version of the model needs it.

`--everyday` adds questions on short everyday texts to what the confidence is fitted on, a tenth of the whole: on them
the rule tells more than the model. `tests/grounding/everyday/measure.py --items FILE` writes them. `--scores FILE`
keeps what the model said, so that a fit that was stopped goes on. No evaluation set is read.
"""

import argparse
import hashlib
import json
import sqlite3
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.answer_types import spans, wanted
from app.evaluation.fit_items import Cached, Item, items, read
from app.evaluation.scores import auroc, f1
from app.judge import EngineJudge, Judge, Reading
from app.sentences import content_words
from app.spans import (
    READ,
    UNITS,
    choose,
    confidence_features,
    judged_spans,
    rank_spans,
    shipped_weights,
    span_features,
    unit_opinions,
)
from app.units import Embed, Features, Text, Unit, dot, passage_of, rank_units
from model.engine import Score

Weights = dict[str, dict[str, float]]


_EVERYDAY = 0.1
"""What the everyday questions weigh together, where all others weigh one."""


class Remembered:
    """A judge that is asked once for each continuation of a prompt: fitting and measuring ask for most of them."""

    def __init__(self, judge: Judge, file: Path | None = None) -> None:
        """`file` keeps what was said from one run to the next, of one model."""
        self._judge = judge
        self._said = sqlite3.connect(file or ":memory:", isolation_level=None)
        self._said.execute("CREATE TABLE IF NOT EXISTS said (key BLOB PRIMARY KEY, value TEXT NOT NULL)")

    def score(self, prompt: str, continuations: Sequence[str]) -> list[Score]:
        known = {one: self._find(prompt, one) for one in continuations}
        if new := [one for one, found in known.items() if found is None]:
            for one, score in zip(new, self._judge.score(prompt, new), strict=True):
                known[one] = self._keep([score.logprob, score.tokens], prompt, one)
        return [Score(*known[one]) for one in continuations]

    def line(self, prompt: str) -> str:
        found = self._find(prompt)
        line: str = self._keep(self._judge.line(prompt), prompt) if found is None else found
        return line

    @staticmethod
    def _key(*asked: str) -> bytes:
        return hashlib.sha256(json.dumps(asked).encode()).digest()

    def _find(self, *asked: str) -> Any:
        row = self._said.execute("SELECT value FROM said WHERE key = ?", [self._key(*asked)]).fetchone()
        return None if row is None else json.loads(row[0])

    def _keep(self, value: Any, *asked: str) -> Any:
        self._said.execute("INSERT INTO said VALUES (?, ?)", [self._key(*asked), json.dumps(value)])
        return value


@dataclass(frozen=True, slots=True)
class Everyday:
    """A question on everyday texts, what a search found for it, and whether that answers it."""

    question: str
    texts: tuple[Text, ...]
    answered: bool


def read_everyday(file: Path) -> list[Everyday]:
    """What `tests/grounding/everyday/measure.py --items` wrote."""
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [Everyday(row["question"], tuple(Text(*one) for one in row["texts"]), row["answered"]) for row in rows]


def fit_softmax(
    groups: Sequence[Sequence[Features]],
    targets: Sequence[Sequence[float]],
    decay: float,
    steps: int,
    shares: Sequence[float] | None = None,
) -> dict[str, float]:
    """Weights of a linear score whose softmax within each group comes nearest to the targets (cross-entropy, L2).

    :param shares: what each group weighs; None, all alike and one together.
    """
    import torch

    names = sorted({name for group in groups for features in group for name in features})
    index = {name: i for i, name in enumerate(names)}
    row: list[int] = []
    column: list[int] = []
    value: list[float] = []
    group_of: list[int] = []
    target: list[float] = []
    shares = [1 / len(groups)] * len(groups) if shares is None else shares
    for g, (group, wish, share) in enumerate(zip(groups, targets, shares, strict=True)):
        total = sum(wish) / share
        for features, want in zip(group, wish, strict=True):
            for name, number in features.items():
                if number:
                    row.append(len(target))
                    column.append(index[name])
                    value.append(number)
            group_of.append(g)
            target.append(want / total)
    rows, columns = torch.tensor(row), torch.tensor(column)
    values, groups_of, wishes = torch.tensor(value), torch.tensor(group_of), torch.tensor(target)
    weights = torch.zeros(len(names), requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        scores = torch.zeros(len(target)).index_add(0, rows, values * weights[columns])
        top = torch.full((len(groups),), -1e9).scatter_reduce(0, groups_of, scores.detach(), "amax")
        sums = torch.zeros(len(groups)).index_add(0, groups_of, torch.exp(scores - top[groups_of]))
        loss = -(wishes * (scores - top[groups_of] - torch.log(sums[groups_of]))).sum()
        torch.autograd.backward(loss + decay * weights.square().sum())
        optimizer.step()
    return {name: round(float(w), 4) for name, w in zip(names, weights.tolist(), strict=True) if abs(float(w)) >= 0.02}


def fit_logistic(
    rows: Sequence[Features],
    labels: Sequence[float],
    decay: float,
    steps: int,
    shares: Sequence[float] | None = None,
) -> dict[str, float]:
    """Weights of a logistic regression; the group of each row is itself against a zero score."""
    groups = [[features, {}] for features in rows]
    return fit_softmax(groups, [[label, 1 - label] for label in labels], decay, steps, shares)


def unit_of(item: Item, units: Sequence[Unit]) -> Unit | None:
    """The unit that holds the gold answer."""
    if item.gold is None:
        return None
    place, at = item.gold
    return next((u for u in units if u.text == place and u.range[0] <= at < u.range[1]), None)


def fit(data: Sequence[Item], embed: Embed) -> dict[str, dict[str, float]]:
    """The three stages' weights from training items."""
    ranked = [rank_units(item.question, wanted(item.question), item.texts, embed, {}) for item in data]
    answerable = [(item, units) for item, units in zip(data, ranked, strict=True) if unit_of(item, units)]
    golds = [unit_of(item, units) for item, units in answerable]
    unit = fit_softmax(
        [[u.features for u in units] for _, units in answerable],
        [[float(u is gold) for u in units] for (_, units), gold in zip(answerable, golds, strict=True)],
        1e-4, 400,
    )  # fmt: skip
    ordered = [
        sorted(
            (Unit(u.text, u.range, u.features, dot(u.features, unit), u.question) for u in units),
            key=lambda u: -u.score,
        )
        for units in ranked
    ]
    groups, targets = [], []
    for item, units in zip(data, ordered, strict=True):
        if unit_of(item, units[:UNITS]) is None:
            continue
        asked, asks, group, target = wanted(item.question), set(content_words(item.question)), [], []
        for one in units[:UNITS]:
            body = item.texts[one.text].text
            own = unit_of(item, [one]) is not None
            for span in spans(body, one.range):
                features = span_features(asked, asks, body, one.range, span)
                group.append(features | {"unit_score": one.score - units[0].score})
                target.append(f1(body[span.start : span.end], [item.answer]) ** 3 if own else 0.0)
        if sum(target) > 0:
            groups.append(group)
            targets.append([wish if wish > 0.3 * max(target) else 0.0 for wish in target])
    span_weights = fit_softmax(groups, targets, 2e-5, 250)
    rows, labels = [], []
    for item, units in zip(data, ordered, strict=True):
        best = rank_spans(item.question, wanted(item.question), item.texts, units, span_weights)
        if not best or (item.gold is not None and best[0][0][0].text != item.gold[0]):
            continue
        rows.append(confidence_features(best[0][0][0], units, best[0][2]))
        labels.append(float(item.gold is not None))
    return {"unit": unit, "span": span_weights, "confidence": fit_logistic(rows, labels, 3e-4, 600)}


def fit_model(data: Sequence[Item], everyday: Sequence[Everyday], embed: Embed, judge: Judge, rule: Weights) -> Weights:
    """The model's stages, given the rule's: which of the units it reads, which span, and whether that answers."""
    read = []
    for item in data:
        units = rank_units(item.question, wanted(item.question), item.texts, embed, rule["unit"])
        reading = Reading(item.question, [passage_of(item.texts, unit) for unit in units[:READ]], judge)
        read.append((item, units, reading, reading.numbers()))
    groups, targets = [], []
    for item, units, reading, opinion in read:
        gold = unit_of(item, units[: reading.count])
        if gold is not None:
            groups.append(unit_opinions(units[: reading.count], opinion))
            targets.append([float(unit is gold) for unit in units[: reading.count]])
    weights = dict(rule) | {"model_unit": fit_softmax(groups, targets, 1e-4, 400)}
    groups, targets = [], []
    for item, units, reading, opinion in read:
        seen = units[: reading.count]
        scores = [dot(f, weights["model_unit"]) for f in unit_opinions(seen, opinion)]
        asked, gold = wanted(item.question), unit_of(item, seen)
        if gold is None:
            continue
        kept, features = judged_spans(reading, item.question, asked, item.texts, seen, scores, rule["span"])
        wish = [
            f1(item.texts[unit.text].text[span.start : span.end], [item.answer]) ** 3 * (unit is gold)
            for (unit, span), _, _ in kept
        ]
        if max(wish, default=0.0) > 0:
            groups.append(features)
            targets.append([one if one > 0.3 * max(wish) else 0.0 for one in wish])
    weights["model_span"] = fit_softmax(groups, targets, 1e-4, 400)
    return weights | {"model_confidence": fit_confidence(data, everyday, embed, judge, weights)}


def fit_confidence(
    data: Sequence[Item], everyday: Sequence[Everyday], embed: Embed, judge: Judge, weights: Weights
) -> dict[str, float]:
    """The last stage alone: whether what the other `weights` choose answers, by the model's odds and the rule."""
    rows: list[Features] = []
    labels: list[float] = []
    for done, item in enumerate(data):
        told = _of_choice(item.question, item.texts, embed, judge, weights)
        if told is not None and (item.gold is None or unit_of(item, [told[0]]) is not None):
            rows.append(told[1])
            labels.append(float(item.gold is not None))
        print(f"\r{done + 1} of {len(data)} questions", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    shares = [1 / len(rows)] * len(rows)
    found = [(one, _of_choice(one.question, one.texts, embed, judge, weights)) for one in everyday]
    answered = [(told[1], float(one.answered)) for one, told in found if told is not None]
    rows += [features for features, _ in answered]
    labels += [label for _, label in answered]
    shares += [_EVERYDAY / len(answered) for _ in answered]
    return fit_logistic(rows, labels, 5e-4, 3000, shares)


def _of_choice(
    question: str, texts: Sequence[Text], embed: Embed, judge: Judge, weights: Weights
) -> tuple[Unit, Features] | None:
    """The unit that is chosen, and what its confidence is made of; None where nothing is left to doubt."""
    choice = choose(question, texts, embed, judge, weights)
    if choice is None or not choice.confidence or not choice.features:
        return None
    return choice.unit, choice.features


def measure(
    data: Sequence[Item], embed: Embed, weights: Mapping[str, Mapping[str, float]], judge: Judge | None = None
) -> dict[str, float]:
    """How well held-out items are answered and refused; `threshold` refuses a fifth of the answerable."""
    right, scores, unit_right = [], [], []
    positive: list[float] = []
    negative: list[float] = []
    for item in data:
        choice = choose(item.question, item.texts, embed, judge, weights)
        if choice is None:
            continue
        (positive if item.gold else negative).append(choice.confidence)
        if item.gold:
            body = item.texts[choice.unit.text].text[slice(*choice.span)]
            right.append(f1(body, [item.answer]) == 1.0)
            scores.append(f1(body, [item.answer]))
            unit_right.append(unit_of(item, [choice.unit]) is not None)
    threshold = sorted(positive)[len(positive) // 5] if positive else 0.0
    return {
        "em": float(np.mean(right)), "f1": float(np.mean(scores)), "unit": float(np.mean(unit_right)),
        "auroc": auroc(positive, negative), "threshold@.20": threshold,
        "refused@.20": float(np.mean([one < threshold for one in negative])), "items": len(data),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--stage", choices=("rule", "model", "confidence"), default="model")
    parser.add_argument("--model", default="embedded", help="reference of the model whose opinions are fitted")
    parser.add_argument("--everyday", type=Path, help="questions on everyday texts, for the confidence")
    parser.add_argument("--scores", type=Path, help="file that keeps what this model said, so that a run can go on")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "spans_weights.json")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from retrieval.embedder import load_embedder

    embed = Cached(load_embedder().encode)
    asked = read(options.questions, options.seed, held_out=options.stage != "rule")
    around = read(options.questions, options.seed + 1) if options.stage != "rule" else {}
    train: list[Item] = []
    held: list[Item] = []
    for source, rows in asked.items():
        found = items(rows, embed, options.seed, around.get(source, [])[:1200])
        for item in found:
            (held if zlib.crc32(item.answer.encode()) % 10 < 3 else train).append(item)
        print(source, len(found), flush=True)
    judge: Judge | None = None
    if options.stage == "rule":
        weights = shipped_weights() | fit(train, embed)
    else:
        from model.open import open_engine
        from model.settings import ModelSettings

        judge = Remembered(EngineJudge(open_engine(options.model, ModelSettings(speculate=0))), options.scores)
        everyday = read_everyday(options.everyday) if options.everyday is not None else []
        if options.stage == "model":
            weights = fit_model(train, everyday, embed, judge, shipped_weights())
        else:
            weights = shipped_weights()
            weights["model_confidence"] = fit_confidence(train, everyday, embed, judge, weights)
    print("train", measure(train[:400], embed, weights, judge))
    print("held out", measure(held, embed, weights, judge))
    options.out.write_text(json.dumps(weights, indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
