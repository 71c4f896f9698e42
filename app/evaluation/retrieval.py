"""Does search bring the right passage? Measured on the library as it is, in a folder that is gone afterwards.

Q questions. Recall and nDCG count one relevant item per question, by its rank; the span measures follow Smith and
Troynikov, "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024).
"""

import csv
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from app.evaluation.windows import nearest
from model.errors import why
from retrieval.embedder import Embedder
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.query import loosened
from retrieval.settings import RetrievalSettings
from retrieval.types import Passage

_DEPTH = 10
_TOP = 5
"""Passages, or windows, whose intersection over union is taken."""
_TOKENS = 1500
"""Tokens that the passages may take whose recall of spans is taken."""

Span = tuple[str, int, int]
"""Document's file name, start and end."""


@dataclass(frozen=True, slots=True)
class Question:
    """`gold` are the spans that answer it; finding a passage of `gold`'s document is a hit where spans are whole."""

    text: str
    gold: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    texts: dict[str, str]
    """File name to text."""
    questions: tuple[Question, ...]
    by_document: bool
    """Whether a document is one relevant item (a paragraph), or its spans are."""


def recall_at(ranks: Sequence[int | None], k: int) -> float:
    """Share of questions whose relevant item is among the first `k`; ranks count from 1, None is not found."""
    return sum(rank is not None and rank <= k for rank in ranks) / max(len(ranks), 1)


def ndcg_at(ranks: Sequence[int | None], k: int) -> float:
    """Mean of 1 / log2(1 + rank) within the first `k`: nDCG (Järvelin, Kekäläinen, 2002) with one relevant item."""
    gains = (1 / math.log2(1 + rank) for rank in ranks if rank is not None and rank <= k)
    return sum(gains) / max(len(ranks), 1)


def span_scores(found: Iterable[Span], gold: Iterable[Span]) -> tuple[float, float]:
    """Recall and intersection over union of two sets of characters, each given as spans."""
    have, want = _characters(found), _characters(gold)
    both = len(have & want)
    return both / max(len(want), 1), both / max(len(have | want), 1)


def _characters(spans: Iterable[Span]) -> set[tuple[str, int]]:
    return {(name, place) for name, start, end in spans for place in range(start, end)}


def evaluate(
    dataset: str,
    path: Path,
    *,
    embedder: Callable[[], Embedder] | None = None,
    limit: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure search on `dataset` (`xquad` or `chunking`) at `path`, beside meaning alone and words alone.

    `limit` takes the first questions only; `settings` are those of `RetrievalSettings`. The shape is that of
    `loci eval --json`.

    :raises BadInput: the dataset is unknown or empty, or its files are not there.
    """
    readers = {"xquad": read_xquad, "chunking": read_chunking}
    if dataset not in readers:
        raise BadInput(f"There is no retrieval dataset {dataset!r}.", f"Known: {', '.join(readers)}.")
    data = readers[dataset](path)
    questions = data.questions[:limit]
    if not questions:
        raise BadInput(f"{path} holds no questions.", "Give the whole data set.")
    start = time.perf_counter()
    # One embedder, and one embedding of the library, for all three searches.
    base = RetrievalSettings(**settings)
    kinds = {"fused": base.dense_weight, "dense": 1.0, "lexical": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root / "files", data.texts)
        library = Library(root / "library", root / "cache", base, embedder)
        ingest(library, [root / "files"])
        ingest_seconds = time.perf_counter() - start
        remembering = _Remembering(library.embedder)
        measured = {}
        for kind, weight in kinds.items():
            chosen = base.model_copy(update={"dense_weight": weight})
            view = Library(root / "library", root / "cache", chosen, lambda: remembering)
            measured[kind] = _measure(view, data, questions)
            view.close()
        if not data.by_document:
            measured["windows"] = _measure_windows(data, questions, remembering)
        chunks = library.stats()["chunks"]
        library.close()
    metrics = measured.pop("fused")
    metrics["ingest_passages_per_second"] = chunks / ingest_seconds
    return {
        "dataset": dataset,
        "items": len(questions),
        "metrics": metrics,
        "baselines": measured,
        "settings": base.model_dump() | {"documents": len(data.texts), "chunks": chunks},
        "seconds": time.perf_counter() - start,
    }


class _Remembering:
    """An embedder that embeds each query once; the latencies of the first search are the ones that tell."""

    def __init__(self, embedder: Embedder) -> None:
        self.id = embedder.id
        self.sha256 = embedder.sha256
        self.dimension = embedder.dimension
        self.max_tokens = embedder.max_tokens
        self.count_tokens = embedder.count_tokens
        self._encode = embedder.encode
        self._known: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(texts) != 1:
            return self._encode(texts)
        if texts[0] not in self._known:
            self._known[texts[0]] = self._encode(texts)
        return self._known[texts[0]]


def _measure(library: Library, data: Dataset, questions: Sequence[Question]) -> dict[str, float]:
    ranks: list[int | None] = []
    spans: list[tuple[float, float]] = []
    latencies: list[float] = []
    for question in questions:
        before = time.perf_counter()
        # More passages than items: several can be of one document.
        passages = _search(library, question.text, 4 * _DEPTH)
        latencies.append(1000 * (time.perf_counter() - before))
        ranks.append(_rank(passages, question, data.by_document))
        if not data.by_document:
            recall, _ = span_scores(_within(passages, library.embedder.count_tokens), question.gold)
            best = [(Path(item.path).name, item.start, item.end) for item in passages[:_TOP]]
            spans.append((recall, span_scores(best, question.gold)[1]))
    metrics = {
        "recall@1": recall_at(ranks, 1),
        "recall@5": recall_at(ranks, 5),
        "ndcg@10": ndcg_at(ranks, _DEPTH),
        "latency_ms_p50": sorted(latencies)[len(latencies) // 2],
        "latency_ms_p95": sorted(latencies)[len(latencies) * 95 // 100],
    }
    if spans:
        metrics["span_recall"] = sum(recall for recall, _ in spans) / len(spans)
        metrics["span_iou"] = sum(iou for _, iou in spans) / len(spans)
    return metrics


def _search(library: Library, question: str, limit: int) -> list[Passage]:
    """What the assistant would find: words that a question quotes need not stand in the documents as they are."""
    found = library.search(question, collections=["main"], limit=limit)
    plain = None if found else loosened(question)
    return found if plain is None else library.search(plain, collections=["main"], limit=limit)


def _measure_windows(data: Dataset, questions: Sequence[Question], embedder: Embedder) -> dict[str, float]:
    """The spans that windows bring, of which five are far more than the tokens that passages may take."""
    found = nearest(data.texts, [question.text for question in questions], embedder, _TOP)
    scores = [span_scores(own, question.gold) for own, question in zip(found, questions, strict=True)]
    return {
        "span_recall": sum(recall for recall, _ in scores) / len(scores),
        "span_iou": sum(iou for _, iou in scores) / len(scores),
    }


def _within(passages: Sequence[Passage], count: Callable[[str], int]) -> list[Span]:
    """The first passages that together take at most `_TOKENS`."""
    found: list[Span] = []
    left = _TOKENS
    for passage in passages:
        left -= count(passage.text)
        if left < 0:
            break
        found.append((Path(passage.path).name, passage.start, passage.end))
    return found


def _rank(passages: Sequence[Passage], question: Question, by_document: bool) -> int | None:
    """Rank of the first right document among documents, or of the first passage that touches a gold span."""
    if by_document:
        names = list(dict.fromkeys(Path(passage.path).name for passage in passages))
        return min((names.index(name) + 1 for name, _, _ in question.gold if name in names), default=None)
    for rank, passage in enumerate(passages, start=1):
        name = Path(passage.path).name
        if any(name == gold and passage.start < end and start < passage.end for gold, start, end in question.gold):
            return rank
    return None


def read_xquad(path: Path) -> Dataset:
    """SQuAD's format: each paragraph is a document, its questions are to find it.

    :raises BadInput: not there, or of another format.
    """
    file = path / "xquad.en.json" if path.is_dir() else path
    try:
        articles = json.loads(file.read_text(encoding="utf-8"))["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        names = [f"{number:04d}.txt" for number in range(len(paragraphs))]
        texts = {name: paragraph["context"] for name, paragraph in zip(names, paragraphs, strict=True)}
        questions = tuple(
            Question(item["question"], ((name, 0, len(paragraph["context"])),))
            for name, paragraph in zip(names, paragraphs, strict=True)
            for item in paragraph["qas"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{file} is not a file in SQuAD's format: {why(error)}.", "Name an xquad.*.json file."
        ) from error
    return Dataset(texts, questions, by_document=True)


def read_chunking(path: Path) -> Dataset:
    """A folder of corpora (`NAME.md`) and `questions.csv` with character spans.

    :raises BadInput: not there, or of another format.
    """
    try:
        texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(path.glob("*.md"))}
        with (path / "questions.csv").open(encoding="utf-8", newline="") as handle:
            questions = tuple(
                Question(
                    row["question"],
                    tuple(
                        (f"{row['corpus_id']}.md", span["start_index"], span["end_index"])
                        for span in json.loads(row["references"])
                    ),
                )
                for row in csv.DictReader(handle)
                if f"{row['corpus_id']}.md" in texts
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is not a folder of the chunking set: {why(error)}.", "It holds questions.csv."
        ) from error
    return Dataset(texts, questions, by_document=False)


def _write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
