"""Training questions for `app.evaluation.fit_spans`, each with the passages that a search finds for it.

Each source of questions becomes a small library of its contexts, searched by meaning and words. A part of the
questions loses its own context, or the sentence that answers, and so has no answer.
"""

import json
import lzma
import random
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.sentences import Range, content_words, sentences
from app.units import Embed, Text, idf

SHARES: Mapping[str, int] = {
    "uwnlp/qamr": 2200,
    "google-research-datasets/QED": 1300,
    "uci-soe/FairytaleQAData": 500,
    "wasiahmad/PolicyQA": 250,
    "deepset-ai/COVID-QA": 150,
}
"""Questions taken of each source. Single sentences (QAMR) teach spans, encyclopaedia paragraphs (QED) teach refusal."""
HELD_OUT_SHARES: Mapping[str, int] = dict(SHARES) | {"uwnlp/qamr": 450}
"""The same of groups that the model was not trained on: all there are, but for the plentiful single sentences."""
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


def read(file: Path, seed: int, held_out: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Training questions by source, sampled."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["source"] in SHARES and unseen(row) == held_out:
                rows[row["source"]].append(row)
    draw = random.Random(seed)
    shares = HELD_OUT_SHARES if held_out else SHARES
    return {source: draw.sample(found, min(shares[source], len(found))) for source, found in sorted(rows.items())}


def unseen(row: Mapping[str, Any]) -> bool:
    """Whether the embedded model was not trained on the row's group: the split of `model.train.rows.Builder`."""
    return zlib.crc32(f"{row['source']} {row['group']}".encode()) % 33 == 0


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


def items(
    rows: Sequence[Mapping[str, Any]], embed: Cached, seed: int, others: Sequence[Mapping[str, Any]] = ()
) -> list[Item]:
    """Each question with the passages a search finds for it in the contexts of `rows` and `others`.

    A sixth of them lose their whole context, a sixth the sentence that answers: both then have no answer.
    """
    pool = [*rows, *others]
    passages = library(pool)
    bodies = [pool[n]["context"][a:b] for n, (a, b) in passages]
    vectors, asked = embed(bodies), embed([row["question"] for row in rows])
    words = [set(content_words(body)) for body in bodies]
    draw = random.Random(seed)
    found: list[Item] = []
    for row, vector in zip(rows, asked, strict=True):
        cosine = vectors @ vector
        weight = idf(content_words(row["question"]), [list(own) for own in words])
        lexical = np.array([sum(value for word, value in weight.items() if word in own) for own in words])
        fused = 1 / (60 + np.argsort(np.argsort(-cosine))) + 1 / (60 + np.argsort(np.argsort(-lexical)))
        lost = draw.choice(("context", "sentence", "", "", "", ""))
        own = [pool[n]["context"] == row["context"] for n, _ in passages]
        order = [i for i in np.argsort(-fused)[: 4 * FOUND] if not (lost == "context" and own[i])][:FOUND]
        texts = [bodies[i] for i in order]
        gold = None
        for place, i in enumerate(order):
            a, b = passages[i][1]
            if own[i] and a <= row["start"] and row["end"] <= b:
                gold = (place, row["start"] - a)
        if gold is None and lost != "context":
            continue  # not found by the search: neither answerable nor a fair refusal
        if lost == "sentence" and gold is not None:
            texts[gold[0]] = _without(texts[gold[0]], gold[1])
            gold = None
            if any(row["answer"].casefold() in text.casefold() for text in texts):
                continue  # perhaps answered all the same
        found.append(
            Item(
                row["question"],
                row["answer"],
                tuple(Text(text, "", float(cosine[i])) for text, i in zip(texts, order, strict=True) if text.strip()),
                gold,
            )
        )
    return found


def _without(text: str, at: int) -> str:
    """`text` without the sentence around character `at`."""
    start, end = next((r for r in sentences(text) if r[0] <= at < r[1]), (0, len(text)))
    return text[:start] + text[end:]
