"""Published sets of long conversations with questions, as turns, sessions and the turns that hold the answer.

`locomo` (Maharana et al., ACL 2024): two people over months; categories 1 to 4 count, the fifth is adversarial and has
no evidence. `beam` (Tavakoli et al., 2025): chats of a user with an assistant; a memory keeps the user's words alone,
so only those count as evidence, and questions that rest on nothing else are left out.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from memory.errors import RememberingError
from model.errors import why

_CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop"}
_EVIDENCE = re.compile(r"D\d+:\d+")
_START = datetime(2024, 1, 1, tzinfo=UTC)  # of a BEAM chat whose first messages name no day


class UnknownDataset(RememberingError):
    """The dataset's name or file is not one that this evaluation reads."""

    title = "The memory evaluation cannot read this"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of a conversation; `speaker` is None for the user of an assistant."""

    key: str
    session: str
    speaker: str | None
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Question:
    """`updated` and `original`: the turns that say what holds now and what held before, for knowledge updates."""

    text: str
    evidence: frozenset[str]
    category: str
    updated: frozenset[str] = frozenset()
    original: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Conversation:
    name: str
    said: tuple[Said, ...]
    questions: tuple[Question, ...]


def read(dataset: str, path: Path) -> list[Conversation]:
    """Conversations of a LoCoMo file, or of a BEAM file or folder of such.

    :raises UnknownDataset: the name is unknown, or a file is not of that form.
    """
    if dataset not in _READERS:
        raise UnknownDataset(f"There is no memory dataset {dataset!r}.", f"Use {' or '.join(_READERS)}.")
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise UnknownDataset(f"{path} holds no JSON file.", "Name the data set's file or folder.")
    found: list[Conversation] = []
    for file in files:
        try:
            found += _READERS[dataset](json.loads(file.read_text("utf-8")), file.stem)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnknownDataset(
                f"{file} is not a file of {dataset}: {why(error)}.", "Name the data set's JSON file."
            ) from error
    return found


def _locomo(entries: list[dict[str, Any]], name: str) -> Iterator[Conversation]:
    for number, entry in enumerate(entries):
        talk = entry["conversation"]
        said = []
        for session in sorted((key for key, value in talk.items() if isinstance(value, list)), key=_session_number):
            at = datetime.strptime(talk[f"{session}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
            said += [
                Said(turn["dia_id"], session, turn["speaker"], turn["text"], at + timedelta(seconds=second))
                for second, turn in enumerate(talk[session])
            ]
        there = {turn.key for turn in said}
        questions = []
        for row in entry["qa"]:
            evidence = frozenset(key for text in row["evidence"] for key in _EVIDENCE.findall(text)) & there
            if row["category"] in _CATEGORIES and evidence:
                questions.append(Question(row["question"], evidence, _CATEGORIES[row["category"]]))
        yield Conversation(entry.get("sample_id", f"{name} {number}"), tuple(said), tuple(questions))


def _session_number(name: str) -> int:
    return int(name.removeprefix("session_"))


def _beam(entry: dict[str, Any], name: str) -> Iterator[Conversation]:
    said = []
    at = _START
    for batch in entry["chat"]:
        for number, group in enumerate(batch["turns"]):
            for message in group:
                if anchor := message.get("time_anchor"):
                    at = max(at, datetime.strptime(anchor, "%B-%d-%Y").replace(tzinfo=UTC))
                at += timedelta(minutes=1)
                if message["role"] == "user":
                    session = f"{batch['batch_number']}.{number}"
                    said.append(Said(str(message["id"]), session, None, message["content"], at))
    there = {turn.key for turn in said}
    questions = []
    for category, rows in entry["questions"].items():
        for row in rows:
            sources = row.get("source_chat_ids", [])
            evidence = frozenset(_leaves(sources)) & there
            pair = sources if category == "knowledge_update" else {}
            updated = frozenset(_leaves(pair.get("updated_info", []))) & there
            original = frozenset(_leaves(pair.get("original_info", []))) & there
            if evidence:
                questions.append(Question(row["question"], evidence, category, updated, original))
    yield Conversation(name, tuple(said), tuple(questions))


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _leaves(branch)
    else:
        yield str(tree)


_READERS: dict[str, Callable[[Any, str], Iterator[Conversation]]] = {"locomo": _locomo, "beam": _beam}
