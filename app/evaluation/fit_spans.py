"""Fits `app/spans_weights.json` on training questions: `python -m app.evaluation.fit_spans --questions FILE.jsonl.xz`.

Each source of questions becomes a small library of its contexts, searched by meaning and words. A part of the
questions loses
its own context and so has no answer. Three stages, each fitted given the one before: which unit (softmax over units),
which span (softmax over spans, target by F1), and whether the choice answers at all (logistic). No evaluation set is
read.
"""

import argparse
import json
import lzma
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.answer_types import spans, wanted
from app.evaluation.scores import auroc, f1
from app.sentences import Range, content_words, sentences
from app.spans import (
    UNITS,
    Embed,
    Features,
    Text,
    Unit,
    confidence_features,
    dot,
    idf,
    logistic,
    rank_spans,
    rank_units,
    span_features,
)

SHARES: Mapping[str, int] = {
    "uwnlp/qamr": 2200,
    "google-research-datasets/QED": 1300,
    "uci-soe/FairytaleQAData": 500,
    "wasiahmad/PolicyQA": 250,
    "deepset-ai/COVID-QA": 150,
}
"""Questions taken of each source. Single sentences (QAMR) teach spans, encyclopaedia paragraphs (QED) teach refusal."""
CHUNK = 900
"""Characters of a passage, about what the library cuts."""
FOUND = 8


@dataclass(frozen=True)
class Item:
    question: str
    answer: str
    texts: tuple[Text, ...]
    gold: tuple[int, int] | None
    """Number of the text that answers and the offset of the answer in it."""


class Cached:
    """An embedder that reads each text once."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = sorted({text for text in texts if text not in self._known}, key=len)
        for first in range(0, len(new), 512):
            part = new[first : first + 512]
            self._known |= dict(zip(part, self._embed(part), strict=True))
        return np.stack([self._known[text] for text in texts])


def read(file: Path, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Training questions by source, sampled."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["source"] in SHARES:
                rows[row["source"]].append(row)
    draw = random.Random(seed)
    return {source: draw.sample(found, min(SHARES[source], len(found))) for source, found in sorted(rows.items())}


def library(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, Range]]:
    """Passages of all contexts: (number of the context's first row, range in it)."""
    first: dict[str, int] = {}
    passages: list[tuple[int, Range]] = []
    for number, row in enumerate(rows):
        if row["context"] in first:
            continue
        first[row["context"]] = number
        start: int | None = None
        last = 0
        for a, b in sentences(row["context"]):
            if start is not None and b - start > CHUNK:
                passages.append((number, (start, last)))
                start = None
            start, last = (a if start is None else start), b
        if start is not None:
            passages.append((number, (start, last)))
    return passages


def items(rows: Sequence[Mapping[str, Any]], embed: Cached, seed: int) -> list[Item]:
    """Each question with the passages a search finds for it; a third of them without their own context."""
    passages = library(rows)
    bodies = [rows[n]["context"][a:b] for n, (a, b) in passages]
    vectors, asked = embed(bodies), embed([row["question"] for row in rows])
    words = [list(dict.fromkeys(content_words(body))) for body in bodies]
    draw = random.Random(seed)
    found: list[Item] = []
    for row, vector in zip(rows, asked, strict=True):
        cosine = vectors @ vector
        weight = idf(content_words(row["question"]), words)
        lexical = np.array([sum(value for word, value in weight.items() if word in own) for own in words])
        fused = 1 / (60 + np.argsort(np.argsort(-cosine))) + 1 / (60 + np.argsort(np.argsort(-lexical)))
        removed = draw.random() < 1 / 3
        order = [i for i in np.argsort(-fused) if not (removed and rows[passages[i][0]]["context"] == row["context"])][
            :FOUND
        ]
        gold = None
        for place, i in enumerate(order):
            n, (a, b) = passages[i]
            if rows[n]["context"] == row["context"] and a <= row["start"] and row["end"] <= b:
                gold = (place, row["start"] - a)
        if gold is None and not removed:
            continue  # not found by the search: neither answerable nor a fair refusal
        texts = tuple(Text(bodies[i], "", float(cosine[i])) for i in order)
        found.append(Item(row["question"], row["answer"], texts, gold))
    return found


def fit_softmax(
    groups: Sequence[Sequence[Features]], targets: Sequence[Sequence[float]], decay: float, steps: int
) -> dict[str, float]:
    """Weights of a linear score whose softmax within each group comes nearest to the targets (cross-entropy, L2)."""
    import torch

    names = sorted({name for group in groups for features in group for name in features})
    index = {name: i for i, name in enumerate(names)}
    row: list[int] = []
    column: list[int] = []
    value: list[float] = []
    group_of: list[int] = []
    target: list[float] = []
    for g, (group, wish) in enumerate(zip(groups, targets, strict=True)):
        total = sum(wish)
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
        loss = -(wishes * (scores - top[groups_of] - torch.log(sums[groups_of]))).sum() / len(groups)
        torch.autograd.backward(loss + decay * weights.square().sum())
        optimizer.step()
    return {name: round(float(w), 4) for name, w in zip(names, weights.tolist(), strict=True) if abs(float(w)) >= 0.02}


def fit_logistic(rows: Sequence[Features], labels: Sequence[float], decay: float, steps: int) -> dict[str, float]:
    """Weights of a logistic regression; the group of each row is itself against a zero score."""
    groups = [[features, {}] for features in rows]
    return fit_softmax(groups, [[label, 1 - label] for label in labels], decay, steps)


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
        sorted((Unit(u.text, u.range, u.features, dot(u.features, unit)) for u in units), key=lambda u: -u.score)
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
        rows.append(confidence_features(best[0][0][0], units, best[0][2], None))
        labels.append(float(item.gold is not None))
    return {"unit": unit, "span": span_weights, "confidence": fit_logistic(rows, labels, 3e-4, 600)}


def measure(data: Sequence[Item], embed: Embed, weights: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """How well held-out items are answered and refused."""
    right, scores, unit_right = [], [], []
    positive: list[float] = []
    negative: list[float] = []
    for item in data:
        asked = wanted(item.question)
        units = rank_units(item.question, asked, item.texts, embed, weights["unit"])
        best = rank_spans(item.question, asked, item.texts, units, weights["span"])
        if not best:
            continue
        (unit, span), _, share = best[0]
        confidence = logistic(dot(confidence_features(unit, units, share, None), weights["confidence"]))
        (positive if item.gold else negative).append(confidence)
        if item.gold:
            body = item.texts[unit.text].text[span.start : span.end]
            right.append(f1(body, [item.answer]) == 1.0)
            scores.append(f1(body, [item.answer]))
            unit_right.append(unit_of(item, [units[0]]) is not None)
    return {
        "em": float(np.mean(right)), "f1": float(np.mean(scores)), "unit": float(np.mean(unit_right)),
        "auroc": auroc(positive, negative),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "spans_weights.json")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from retrieval.embedder import load_embedder

    embed = Cached(load_embedder().encode)
    train: list[Item] = []
    held: list[Item] = []
    for source, rows in read(options.questions, options.seed).items():
        found = items(rows, embed, options.seed)
        contexts = random.Random(options.seed)
        for item in found:
            (held if contexts.random() < 0.15 else train).append(item)
        print(source, len(found), flush=True)
    weights = fit(train, embed)
    print("train", measure(train[:400], embed, weights))
    print("held out", measure(held, embed, weights))
    options.out.write_text(json.dumps(weights, indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
