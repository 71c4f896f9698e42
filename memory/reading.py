"""A language model reads the user's messages for what the rules of `memory.extract` missed, never while a turn waits.

The model marks words, it writes none: a statement counts only where it stands in a sentence of the user's own,
character by character, so nothing can be made up, and provenance holds. It is shown one message alone, never an answer,
a passage or a memory. Whatever goes wrong with it, the rules have already kept what they found.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import sqlalchemy as sa

from memory import records
from memory.clock import moment, stamp
from memory.dates import find_date
from memory.extract import LONGEST_MESSAGE, Candidate, extract, sentences
from memory.schema import memories, readings, sessions, turns
from memory.types import Kind, Memory, Source
from retrieval.sqlite import reading, writing

if TYPE_CHECKING:
    from memory.store import MemoryStore

Complete = Callable[[str, str, str], str]
"""Instructions, a message and a JSON Schema in; the model's answer out, which should satisfy the schema."""

INSTRUCTIONS = (
    "The user of an assistant sent the message below. Copy from it, word for word, each statement that says something "
    "lasting about the user: who they are, what they own, like, plan, decided or want from the assistant. Copy no "
    "questions, no requests of the moment and nothing about the world at large. An empty list is a good answer."
)
MOST = 8
"""Statements of one message."""
_LEAST = 5
"""Words of a message that a model is asked about."""
_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind) if kind != "episode"}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "statements": {
                "type": "array",
                "maxItems": MOST,
                "items": {
                    "type": "object",
                    "properties": {"words": {"type": "string", "maxLength": 400}, "kind": {"enum": list(_KINDS)}},
                    "required": ["words", "kind"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["statements"],
        "additionalProperties": False,
    }
)


def read_turns(store: "MemoryStore", complete: Complete, calls: int, dry_run: bool) -> list[Memory]:
    """See `MemoryStore.read_turns`."""
    written: list[Memory] = []
    for turn in _unread(store, calls):
        asked = moment(turn.asked_at)
        found = marked(turn.question, complete, asked) if len(turn.question.split()) >= _LEAST else []
        vectors = store.embed([one.text for one in found]) if found else ()
        with writing(store.engine) as connection:
            connection.execute(sa.insert(readings).prefix_with("OR IGNORE").values(turn=turn.id, at=stamp()))
            before = connection.execute(sa.select(sa.func.coalesce(sa.func.max(memories.c.id), 0))).scalar_one()
            for one, vector in zip(found, vectors, strict=True):
                source = Source("extracted", turn.session, turn.id, one.start, one.end)
                draft = store.draft(one.text, one.kind, turn.scope, source, vector, one.event_date)
                known = records.add(connection, draft, turn.asked_at, store.settings.duplicate_similarity)
                written += [known] if known.id > before else []
            if dry_run:
                connection.rollback()
    return written


def marked(message: str, complete: Complete, asked: datetime) -> list[Candidate]:
    """What the model marks in `message` beyond what the rules find there; nothing where its answer is unusable."""
    try:
        answer = json.loads(complete(INSTRUCTIONS, message[:LONGEST_MESSAGE], SCHEMA))
        given = [(str(one["words"]).strip(), str(one["kind"])) for one in answer["statements"][:MOST]]
    except (ValueError, KeyError, TypeError):
        return []
    own = list(sentences(message))
    taken = [(one.start, one.end) for one in extract(message, asked)]
    found = []
    for words, kind in given:
        words = words.rstrip(" .!?;,")
        start = message.find(words) if words else -1
        end = start + len(words)
        whole = any(first <= start and end <= last for first, last in own)
        if start < 0 or kind not in _KINDS or not whole or any(start < last and first < end for first, last in taken):
            continue
        taken.append((start, end))
        dated = find_date(words, asked.date())
        day = dated.day if dated else None
        found.append(Candidate(words, _KINDS[kind], start, end, "extracted", "remember", day))
    return found


def _unread(store: "MemoryStore", limit: int) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """The latest turns that no model has read."""
    query = (
        sa.select(turns.c.id, turns.c.session, turns.c.asked_at, turns.c.question, sessions.c.scope)
        .join(sessions, sessions.c.id == turns.c.session)
        .where(turns.c.id.not_in(sa.select(readings.c.turn)))
        .order_by(turns.c.id.desc())
        .limit(limit)
    )
    with reading(store.engine) as connection:
        return connection.execute(query).all()
