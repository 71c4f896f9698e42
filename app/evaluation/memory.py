"""Does recall bring the turns that hold the answer? Long conversations are told to a real `MemoryStore`, turn by turn.

Every conversation is a scope of its own; the store is temporary. A turn is one memory and takes one place of a ranking.
"""

import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.evaluation.conversations import Conversation, Question, Said, UnknownDataset, read
from memory.settings import MemorySettings
from memory.store import MemoryStore
from memory.types import Recalled, Source
from retrieval.embedder import load_embedder

CUTOFFS = (5, 10, 25, 50)
_ALL = 200  # beyond the deepest cut-off, so that either leg alone can be ranked from one recall

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def evaluate(dataset: str, path: Path, **settings: Any) -> dict[str, Any]:
    """Evidence recall of the store and of each of its legs alone, in the shape of `loci eval --json`.

    `settings`: `conversations` (how many to read, default all), `embedder` (a reference for `load_embedder`, or a
    callable), and any field of `MemorySettings`. Rankings are judged without the relevance threshold;
    `default.recall@8` and `default.recalled` are what a turn gets with it.

    Metrics: `recall@k`, the share of the evidence turns within k places, and `ndcg@10`, over all questions and by
    category; `current_first`, the share of knowledge updates whose updated statement comes before every original one.

    :raises UnknownDataset: the name is unknown, or the file is empty or of another form.
    """
    started = time.perf_counter()
    limit = settings.pop("conversations", None)
    conversations = read(dataset, path)[:limit]
    if not conversations:
        raise UnknownDataset(f"{path} holds no conversations.", "Give the whole data set.")
    reference = settings.pop("embedder", "embedded")
    embed: Embed = reference if callable(reference) else load_embedder(reference).encode
    chosen = MemorySettings.model_validate(settings)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        # Texts are embedded in bulk first: told one by one they would cost most of the time.
        known = _embedded(conversations, embed)
        store = MemoryStore(Path(folder), chosen, known, "evaluation")
        open_store = MemoryStore(
            Path(folder), chosen.model_copy(update={"min_similarity": -1.0, "min_coverage": 0.0}), known, "evaluation"
        )
        try:
            for conversation in conversations:
                _judge(conversation, store, open_store, scores)
        finally:
            store.close()
            open_store.close()
    means = {name: {metric: float(np.mean(values)) for metric, values in of.items()} for name, of in scores.items()}
    return {
        "dataset": dataset,
        "items": sum(len(conversation.questions) for conversation in conversations),
        "metrics": means.pop("store", {}),
        "baselines": means,
        "settings": chosen.model_dump() | {"conversations": len(conversations)},
        "seconds": time.perf_counter() - started,
    }


def _judge(
    conversation: Conversation,
    store: MemoryStore,
    open_store: MemoryStore,
    scores: dict[str, dict[str, list[float]]],
) -> None:
    scope = [conversation.name]
    key_of = _tell(conversation, store)
    for question in conversation.questions:
        found = open_store.recall(question.text, scopes=scope, limit=_ALL)
        rankings = {
            "store": found,
            "dense": _by(found, lambda item: item.dense),
            "lexical": _by(found, lambda item: item.lexical),
        }
        for name, ranking in rankings.items():
            keys = [key_of[item.memory.id] for item in ranking]
            measured = {f"recall@{k}": recall_at(keys, question.evidence, k) for k in CUTOFFS}
            measured["ndcg@10"] = ndcg_at(keys, question.evidence, 10)
            if name == "store":
                measured |= {f"{question.category}.{metric}": measured[metric] for metric in ("recall@10", "ndcg@10")}
            if question.updated:
                measured["current_first"] = current_first(keys, question)
            for metric, value in measured.items():
                scores[name][metric].append(value)
        usual = [key_of[item.memory.id] for item in store.recall(question.text, scopes=scope, limit=8)]
        scores["store"]["default.recall@8"].append(recall_at(usual, question.evidence, 8))
        scores["store"]["default.recalled"].append(len(usual))


def _tell(conversation: Conversation, store: MemoryStore) -> dict[int, set[str]]:
    """Store a conversation; returns the turns that each memory holds."""
    key_of: dict[int, set[str]] = defaultdict(set)
    sessions: dict[str, int] = {}
    for said in conversation.said:
        if said.session not in sessions:
            sessions[said.session] = store.start_session(conversation.name, said.session, said.at)
        source = Source("told", sessions[said.session], speaker=said.speaker)
        stored = store.add(line(said), kind="episode", scope=conversation.name, source=source, now=said.at)
        key_of[stored.id].add(said.key)
    return key_of


def line(said: Said) -> str:
    """A turn as it is remembered: another's words with who said them and when, for questions name both."""
    if said.speaker is None:
        return said.text.strip()
    return f"{said.speaker} ({said.at.day} {said.at:%B %Y}): {said.text.strip()}"


def recall_at(ranking: Sequence[set[str]], gold: frozenset[str], k: int) -> float:
    """The fraction of the gold turns among the first k items."""
    return len(gold & set().union(*ranking[:k])) / len(gold)


def ndcg_at(ranking: Sequence[set[str]], gold: frozenset[str], k: int) -> float:
    """Binary NDCG (Järvelin and Kekäläinen, TOIS 2002)."""
    gained = sum(1 / math.log2(place + 2) for place, keys in enumerate(ranking[:k]) if keys & gold)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(gold))))
    return gained / ideal


def current_first(ranking: Sequence[set[str]], question: Question) -> float:
    """1 if an updated statement comes before every statement that only says the original."""
    places = {key: place for place, keys in reversed(list(enumerate(ranking))) for key in keys}
    last = len(ranking)
    updated = min(places.get(key, last) for key in question.updated)
    return float(
        updated < min((places.get(key, last) for key in question.original - question.updated), default=last + 1)
    )


def _by(found: Sequence[Recalled], score: Callable[[Recalled], float | None]) -> list[Recalled]:
    scored = [(value, item) for item in found if (value := score(item)) is not None]
    return [item for _, item in sorted(scored, key=lambda pair: -pair[0])]


def _embedded(conversations: Sequence[Conversation], embed: Embed) -> Embed:
    """`embed`, with every text of the conversations already done."""
    texts = list(dict.fromkeys(_texts(conversations)))
    rows = dict(zip(texts, embed(texts), strict=True)) if texts else {}

    def known(wanted: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([rows[text] if text in rows else embed([text])[0] for text in wanted])

    return known


def _texts(conversations: Sequence[Conversation]) -> Iterator[str]:
    for conversation in conversations:
        yield from (line(said) for said in conversation.said)
        yield from (question.text for question in conversation.questions)
