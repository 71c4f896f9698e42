"""What a finished turn and a user's verdict teach the store. Rules only; the user's own words only."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from memory import records, tuning
from memory.clock import stamp
from memory.consolidation import unsay
from memory.errors import NoSuchSession
from memory.extract import episode, extract, kind_of
from memory.feedback import corrected
from memory.redact import is_hollow
from memory.schema import exposures, memories, sessions, turns
from memory.schema import feedback as feedback_table
from memory.sessions import get_turn
from memory.types import Memory, Recalled, Source
from retrieval.sqlite import writing

if TYPE_CHECKING:
    from memory.store import MemoryStore


def observe(
    store: "MemoryStore",
    turn_id: int,
    question: str,
    recalled: Sequence[Recalled],
    cited: Sequence[int],
    scope: str,
    now: datetime | None,
) -> list[Memory]:
    """See `MemoryStore.observe`."""
    # 1. read the user's words, and embed them before the transaction: a writer must not hold the file for a model
    stated = extract(question, now)
    told = episode(question, stated) if store.settings.episodes else None
    if told and is_hollow(question[told[0] : told[1]]):
        told = None
    candidates = [one for one in stated if not is_hollow(one.text)]
    texts = [candidate.text for candidate in candidates] + ([question[told[0] : told[1]]] if told else [])
    embedded: Sequence[records.Vector] = list(store.embed(texts)) if texts else []
    at = stamp(now)
    stored: list[Memory] = []
    confirmed = []
    with writing(store.engine) as connection:
        turn = get_turn(connection, turn_id)
        if (taught := _taught_before(connection, turn_id)) is not None:
            return taught
        # 2. exposures, which retention learns from: labels first, for their features are those of before
        still_there = records.get_many(connection, [found.memory.id for found in recalled])  # one may be purged by now
        used_ids = still_there.keys() & set(cited)
        store.label(connection, {"cited": used_ids, "unused": still_there.keys() - used_ids}, at)
        for rank, found in enumerate(recalled, 1):
            if found.memory.id not in still_there:
                continue
            connection.execute(
                sa.insert(exposures).values(
                    memory=found.memory.id,
                    turn=turn_id,
                    at=at,
                    rank=rank,
                    score=found.score,
                    dense=found.dense,
                    lexical=found.lexical,
                    cited=found.memory.id in cited,
                    measured=json.dumps({name: round(value, 6) for name, value in found.measured.items()}),
                )
            )
        tuning.learn(connection, at)
        used = sa.update(memories).where(memories.c.id.in_(set(cited)))
        connection.execute(used.values(uses=memories.c.uses + 1, last_used=at))
        # 3. statements, kept or forgotten; offsets are of the message as the turn holds it
        exact = question == turn.question
        for candidate, vector in zip(candidates, embedded, strict=False):
            start, end = (candidate.start, candidate.end) if exact else (None, None)
            if candidate.action == "forget":
                stored += _forget(connection, store, candidate.text, scope, vector)
                continue
            source = Source(candidate.how, turn.session, turn_id, start, end)
            draft = store.draft(candidate.text, candidate.kind, scope, source, vector, candidate.event_date)
            stored.append(records.add(connection, draft, at, store.settings.duplicate_similarity))
            if stored[-1].created != at:
                confirmed.append(stored[-1].id)
        # 4. what else was told, as an episode
        if told:
            source = Source("extracted", turn.session, turn_id, *(told if exact else (None, None)))
            draft = store.draft(texts[-1], "episode", scope, source, embedded[-1])
            records.add(connection, draft, at, store.settings.duplicate_similarity)
        store.label(connection, {"confirmed": confirmed}, at)
    return stored


def _taught_before(connection: sa.Connection, turn_id: int) -> list[Memory] | None:
    """What a turn that is asked again after a kill taught the first time; None where it taught nothing."""
    if connection.execute(sa.select(turns.c.request).where(turns.c.id == turn_id)).scalar_one() is None:
        return None
    told = connection.execute(sa.select(memories).where(memories.c.turn == turn_id).order_by(memories.c.id)).all()
    shown = connection.execute(sa.select(exposures.c.id).where(exposures.c.turn == turn_id).limit(1)).first()
    if not told and shown is None:
        return None
    return [records.memory(row) for row in told if row.kind != "episode"]


def _forget(
    connection: sa.Connection, store: "MemoryStore", text: str, scope: str, vector: records.Vector
) -> list[Memory]:
    """Turn the one memory that says exactly this into a tombstone; anything vaguer is for the user to choose."""
    known = records.duplicate(connection, text, scope, vector, store.embedder_id, store.settings.duplicate_similarity)
    if known is None:
        return []
    unsay(connection, records.get(connection, known))
    records.change(connection, known, state="tombstone")
    return [records.get(connection, known)]


def feedback(store: "MemoryStore", turn_id: int | None, verdict: str, text: str | None, now: datetime | None) -> None:
    """See `MemoryStore.feedback`."""
    if verdict not in ("good", "bad", "correct"):
        raise ValueError(f"{verdict!r} is no verdict; it is good, bad or correct.")
    text = (text or "").strip() or None
    if verdict == "correct" and text is None:
        raise ValueError("A correction needs the right answer as its text.")
    if turn_id is None:
        last = store.last_turn()
        if last is None:
            raise NoSuchSession("There is no turn to give feedback on yet.", "Ask something first.")
        turn_id = last.id
    at = stamp(now)
    vector = store.embed([text])[0] if verdict == "correct" and text else None
    with writing(store.engine) as connection:
        turn = get_turn(connection, turn_id)
        correction, wrong = None, list[int]()
        if vector is not None and text is not None:
            scope = connection.execute(sa.select(sessions.c.scope).where(sessions.c.id == turn.session)).scalar_one()
            wrong = _wrong(connection, store, turn_id, text, vector)
            source = Source("told", turn.session, turn_id)
            draft = store.draft(text, kind_of(text), scope, source, vector)
            correction = records.add(connection, draft, at, store.settings.duplicate_similarity).id
            for old in wrong:
                if old != correction:
                    records.change(connection, old, valid_to=at, superseded_by=correction)
        shown = sa.select(exposures.c.memory).where(exposures.c.turn == turn_id, exposures.c.cited)
        judged = wrong if verdict == "correct" else connection.execute(shown).scalars().all()
        store.label(connection, {"corrected" if verdict == "correct" else verdict: judged}, at)
        row = sa.insert(feedback_table).values(turn=turn_id, at=at, verdict=verdict, text=text, correction=correction)
        connection.execute(row)


def _wrong(
    connection: sa.Connection, store: "MemoryStore", turn_id: int, text: str, vector: records.Vector
) -> list[int]:
    shown = sa.select(exposures.c.memory).where(exposures.c.turn == turn_id, exposures.c.cited)
    cited = records.get_many(connection, connection.execute(shown).scalars())
    valid = [memory for memory in cited.values() if memory.valid_to is None and memory.state == "active"]
    stored = records.vectors_of(connection, [memory.id for memory in valid], store.embedder_id)
    return corrected(valid, text, {key: float(other @ vector) for key, other in stored.items()})
