"""Does search bring the right passage? Measured on the library as it is, in a folder that is gone afterwards.

Recall asks whether one relevant item is among the first; nDCG weighs all of them. The span measures follow Smith and
Troynikov, "Evaluating Chunking Strategies for Retrieval" (Chroma, 2024).
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import BadInput
from app.evaluation.packing import BUDGETS, flat, packed
from app.evaluation.passage_sets import Dataset, Question, Span, read_beir, read_chunking, read_xquad
from app.evaluation.windows import nearest
from retrieval.embedder import Embedder
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.query import loosened
from retrieval.settings import RetrievalSettings
from retrieval.types import Passage

_DEPTH = 10
_RECALLS = (1, 5, 10)
_TOP = 5
"""Passages, or windows, whose intersection over union is taken."""
_TOKENS = 1500
"""Tokens that the passages may take whose recall of spans is taken."""
_Found = tuple[list[Passage], Question]


def recall_at(ranks: Sequence[int | None], k: int) -> float:
    """Share of questions whose relevant item is among the first `k`; ranks count from 1, None is not found."""
    return sum(rank is not None and rank <= k for rank in ranks) / max(len(ranks), 1)


def ndcg_at(ranks: Sequence[int | None], k: int) -> float:
    """Mean of 1 / log2(1 + rank) within the first `k`: nDCG (Järvelin, Kekäläinen, 2002) with one relevant item."""
    gains = (1 / math.log2(1 + rank) for rank in ranks if rank is not None and rank <= k)
    return sum(gains) / max(len(ranks), 1)


def recall_of(found: Sequence[str], grades: Mapping[str, float], k: int) -> float:
    """Share of the relevant items that are among the first `k` found, as BEIR counts it."""
    return sum(name in grades for name in found[:k]) / max(len(grades), 1)


def ndcg_of(found: Sequence[str], grades: Mapping[str, float], k: int) -> float:
    """nDCG with the grades themselves as gains, as trec_eval computes it."""
    gain = sum(grades.get(name, 0.0) / math.log2(1 + rank) for rank, name in enumerate(found[:k], start=1))
    best = sorted(grades.values(), reverse=True)[:k]
    ideal = sum(grade / math.log2(1 + rank) for rank, grade in enumerate(best, start=1))
    return gain / ideal if ideal else 0.0


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
    """Measure search on `dataset` (`xquad`, `chunking` or `beir`) at `path`, beside meaning alone and words alone, and,
    where the settings name a reranker, beside the two fused without it.

    `limit` takes the first questions only; `settings` are those of `RetrievalSettings`. The shape is that of
    `loci eval --json`.

    :raises BadInput: the dataset is unknown or empty, or its files are not there.
    """
    readers = {"xquad": read_xquad, "chunking": read_chunking, "beir": read_beir}
    if dataset not in readers:
        raise BadInput(f"There is no retrieval dataset {dataset!r}.", f"Known: {', '.join(readers)}.")
    data = readers[dataset](path)
    questions = data.questions[:limit]
    if not questions:
        raise BadInput(f"{path} holds no questions.", "Give the whole data set.")
    start = time.perf_counter()
    # One embedder, and one embedding of the library, for all searches.
    base = RetrievalSettings(**settings)
    fused = base.model_copy(update={"reranker": ""})
    kinds = {
        "": base,
        "dense": fused.model_copy(update={"dense_weight": 1.0}),
        "lexical": fused.model_copy(update={"dense_weight": 0.0}),
    } | ({"fused": fused} if base.reranker else {})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root / "files", data.texts)
        library = Library(root / "library", root / "cache", base, embedder)
        ingest(library, [root / "files"])
        ingest_seconds = time.perf_counter() - start
        remembering = _Remembering(library.embedder)
        measured = {}
        for kind, chosen in kinds.items():
            view = Library(root / "library", root / "cache", chosen, lambda: remembering)
            found, measured[kind] = _measure(view, data, questions)
            view.close()
            if kind == "" and any(question.answers or not data.by_document for question in questions):
                ways = _measure_packing(found, remembering.count_tokens)
                measured[""] |= ways["packed"]
                measured["flat"] = ways["flat"]
        if not data.by_document:
            measured["windows"] = _measure_windows(data, questions, remembering)
        chunks = library.stats()["chunks"]
        library.close()
    metrics = measured.pop("")
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


def _measure(library: Library, data: Dataset, questions: Sequence[Question]) -> tuple[list[_Found], dict[str, float]]:
    found: list[list[Passage]] = []
    latencies: list[float] = []
    for question in questions:
        before = time.perf_counter()
        # More passages than items: several can be of one document.
        found.append(_search(library, question.text, 4 * _DEPTH))
        latencies.append(1000 * (time.perf_counter() - before))
    pairs = list(zip(found, questions, strict=True))
    measure = _of_documents if data.by_document else _of_spans
    metrics = measure(pairs, library.embedder.count_tokens)
    metrics["latency_ms_p50"] = sorted(latencies)[len(latencies) // 2]
    metrics["latency_ms_p95"] = sorted(latencies)[len(latencies) * 95 // 100]
    return pairs, metrics


def _measure_packing(pairs: Sequence[_Found], count: Callable[[str], int]) -> dict[str, dict[str, float]]:
    """Share of the answers, or of the gold spans, within prompts of few tokens: as packed, and whole passages."""

    def share(kept: Sequence[Passage], question: Question) -> float:
        return span_scores(map(_span, kept), question.answers or question.gold)[0]

    return {
        "packed": {
            f"packed_recall@{room}": _mean(share(packed(q.text, found, count, room), q) for found, q in pairs)
            for room in BUDGETS
        },
        "flat": {
            f"packed_recall@{room}": _mean(share(flat(found, count, room), q) for found, q in pairs) for room in BUDGETS
        },
    }


def _of_documents(pairs: Sequence[_Found], count: Callable[[str], int]) -> dict[str, float]:
    ranked = [
        (list(dict.fromkeys(Path(one.path).name for one in passages)), question.graded) for passages, question in pairs
    ]
    metrics = {f"recall@{k}": _mean(recall_of(names, grades, k) for names, grades in ranked) for k in _RECALLS}
    metrics[f"ndcg@{_DEPTH}"] = _mean(ndcg_of(names, grades, _DEPTH) for names, grades in ranked)
    return metrics


def _of_spans(pairs: Sequence[_Found], count: Callable[[str], int]) -> dict[str, float]:
    ranks = [_rank(passages, question) for passages, question in pairs]
    metrics = {f"recall@{k}": recall_at(ranks, k) for k in _RECALLS} | {f"ndcg@{_DEPTH}": ndcg_at(ranks, _DEPTH)}
    metrics["span_recall"] = _mean(span_scores(_within(found, count), question.gold)[0] for found, question in pairs)
    best = (([_span(one) for one in found[:_TOP]], question.gold) for found, question in pairs)
    metrics["span_iou"] = _mean(span_scores(spans, gold)[1] for spans, gold in best)
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
        found.append(_span(passage))
    return found


def _rank(passages: Sequence[Passage], question: Question) -> int | None:
    """Rank of the first passage that touches a gold span."""
    for rank, (name, start, end) in enumerate(map(_span, passages), start=1):
        if any(name == gold and start < last and first < end for gold, first, last in question.gold):
            return rank
    return None


def _span(passage: Passage) -> Span:
    return Path(passage.path).name, passage.start, passage.end


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / max(len(known), 1)


def _write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
