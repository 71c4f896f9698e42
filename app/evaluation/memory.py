"""Does recall bring the turns that hold the answer? Long conversations are told to a real `MemoryStore`, turn by turn.

`locomo`: a JSON file of conversations with questions and the ids of their evidence turns. Categories 1 to 4 count; the
fifth is adversarial and has no evidence. Every conversation is a scope of its own; the store is temporary.
"""

import json
import math
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.errors import RememberingError
from memory.settings import MemorySettings
from memory.store import MemoryStore
from memory.types import Recalled, Source
from model.errors import why
from retrieval.embedder import load_embedder

CUTOFFS = (5, 10, 25, 50)
_CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop"}
_EVIDENCE = re.compile(r"D\d+:\d+")
_ALL = 200  # beyond the deepest cut-off, so that either leg alone can be ranked from one recall

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


class UnknownDataset(RememberingError):
    """The dataset's name or file is not one that this evaluation reads."""

    title = "The memory evaluation cannot read this"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of a conversation."""

    key: str
    speaker: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    evidence: frozenset[str]
    category: str


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    said: tuple[Said, ...]
    questions: tuple[Question, ...]


def evaluate(dataset: str, path: Path, **settings: Any) -> dict[str, Any]:
    """Evidence recall of the store and of each of its legs alone, in the shape of `loci eval --json`.

    `settings`: `conversations` (how many to read, default all), `embedder` (a reference for `load_embedder`, or a
    callable), and any field of `MemorySettings`. Rankings are judged without the relevance threshold;
    `default.recall@8` and `default.recalled` are what a turn gets with it.

    :raises UnknownDataset: the name is unknown or the file is of another form.
    """
    if dataset != "locomo":
        raise UnknownDataset(f"There is no memory dataset {dataset!r}.", "Use locomo.")
    started = time.perf_counter()
    limit = settings.pop("conversations", None)
    reference = settings.pop("embedder", "embedded")
    embed: Embed = reference if callable(reference) else load_embedder(reference).encode
    chosen = MemorySettings.model_validate(settings)
    conversations = read_locomo(path)[:limit]
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
    turns_of: dict[int, set[str]] = defaultdict(set)
    for said in conversation.said:
        stored = store.add(line(said), kind="episode", scope=conversation.name, source=Source("told"), now=said.at)
        turns_of[stored.id].add(said.key)
    for question in conversation.questions:
        found = open_store.recall(question.text, scopes=scope, limit=_ALL)
        rankings = {
            "store": found,
            "dense": _by(found, lambda item: item.dense),
            "lexical": _by(found, lambda item: item.lexical),
        }
        for name, ranking in rankings.items():
            keys = [turns_of[item.memory.id] for item in ranking]
            for k in CUTOFFS:
                scores[name][f"recall@{k}"].append(recall_at(keys, question.evidence, k))
            scores[name]["ndcg@10"].append(ndcg_at(keys, question.evidence, 10))
            if name == "store":
                scores[name][f"{question.category}.recall@10"].append(recall_at(keys, question.evidence, 10))
        usual = store.recall(question.text, scopes=scope, limit=8)
        kept = [turns_of[item.memory.id] for item in usual]
        scores["store"]["default.recall@8"].append(recall_at(kept, question.evidence, 8))
        scores["store"]["default.recalled"].append(len(usual))


def line(said: Said) -> str:
    """A turn as it is remembered: who said it and when stand in the text, for questions name both."""
    return f"{said.speaker} ({said.at.day} {said.at:%B %Y}): {said.text}"


def recall_at(ranking: Sequence[set[str]], gold: frozenset[str], k: int) -> float:
    """The fraction of the gold turns among the first k items."""
    return len(gold & set().union(*ranking[:k])) / len(gold)


def ndcg_at(ranking: Sequence[set[str]], gold: frozenset[str], k: int) -> float:
    """Binary NDCG (Järvelin and Kekäläinen, TOIS 2002)."""
    gained = sum(1 / math.log2(place + 2) for place, keys in enumerate(ranking[:k]) if keys & gold)
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(gold))))
    return gained / ideal


def read_locomo(path: Path) -> list[Conversation]:
    """Conversations of a LoCoMo file; questions whose evidence names no turn are left out.

    :raises UnknownDataset: the file is not of that form.
    """
    try:
        return [_conversation(entry, number) for number, entry in enumerate(json.loads(path.read_text("utf-8")))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnknownDataset(
            f"{path} is not a LoCoMo file: {why(error)}.", "Name the JSON file of conversations."
        ) from error


def _conversation(entry: dict[str, Any], number: int) -> Conversation:
    talk = entry["conversation"]
    said = []
    for name in sorted((key for key, value in talk.items() if isinstance(value, list)), key=_session_number):
        at = datetime.strptime(talk[f"{name}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
        said += [Said(turn["dia_id"], turn["speaker"], turn["text"], at) for turn in talk[name]]
    there = {turn.key for turn in said}
    questions = []
    for row in entry["qa"]:
        evidence = frozenset(key for text in row["evidence"] for key in _EVIDENCE.findall(text)) & there
        if row["category"] in _CATEGORIES and evidence:
            questions.append(Question(row["question"], evidence, _CATEGORIES[row["category"]]))
    return Conversation(entry.get("sample_id", f"conversation {number}"), tuple(said), tuple(questions))


def _session_number(name: str) -> int:
    return int(name.removeprefix("session_"))


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
