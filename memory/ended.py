"""Real deletion of sessions: their turns, feedback and episodes, in a transaction that the caller holds.

Facts learned from a session stay, without their provenance. Freed bytes go with the next `retrieval.scrub`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from memory import moving, records
from memory.quoting import standing, terms
from memory.schema import feedback, memories, sessions, turns
from memory.types import Elsewhere, Purged

_RETOLD = ("standalone_question", "reasoning")
"""What a stored result says beside question and answer; quotations are the documents' own."""


@dataclass(frozen=True, slots=True)
class GoneSession:
    """A session to be deleted; when it began tells it from one of its number in another profile's backup."""

    id: int
    started: str


def purge_session(connection: Connection, gone: GoneSession, elsewhere: Elsewhere) -> Purged | None:
    """Delete it; None where it is not there. `sessions` of the result has its number."""
    row = connection.execute(
        sa.select(sessions).where(sessions.c.id == gone.id, sessions.c.started == gone.started)
    ).first()
    if row is None:
        return None
    held = connection.execute(sa.select(turns).where(turns.c.session == gone.id)).all()
    own = [turn.id for turn in held]
    from_here = sa.or_(memories.c.session == gone.id, memories.c.turn.in_(own))
    episodes = connection.execute(sa.select(memories).where(from_here, memories.c.kind == "episode")).all()
    verdicts = connection.execute(sa.select(feedback).where(feedback.c.turn.in_(own))).all()
    said = [
        row.title,
        *(row.tags or "").split(),
        *_said(held),
        *(one.text for one in episodes),
        *(one.text for one in verdicts if one.text),
    ]
    texts = tuple(dict.fromkeys(text for text in said if text))
    moving.reset(connection, own)
    records.delete(connection, [one.id for one in episodes])
    connection.execute(sa.update(memories).where(from_here).values(start=None, end=None))
    connection.exec_driver_sql(
        "DELETE FROM turns_fts WHERE rowid IN (SELECT id FROM turns WHERE session = ?)", (gone.id,)
    )
    connection.execute(sa.delete(sessions).where(sessions.c.id == gone.id))
    words = _words_of_their_own(connection, texts, elsewhere)
    return Purged(
        memories=tuple(one.id for one in episodes),
        turns=(),
        sessions=(gone.id,),
        feedback=tuple(one.id for one in verdicts),
        texts=texts,
        words=tuple(sorted(words)),
    )


def _said(held: Sequence[Row[Any]]) -> Iterator[str]:
    for turn in held:
        yield turn.question
        yield turn.answer
        result = json.loads(turn.answer_json) if turn.answer_json else {}
        yield from (str(result[key]) for key in _RETOLD if isinstance(result, dict) and result.get(key))


def _words_of_their_own(connection: Connection, texts: tuple[str, ...], elsewhere: Elsewhere) -> set[str]:
    """Words of `texts` that nothing which stays has."""
    left = {word for word in frozenset[str]().union(*map(terms, texts)) if not elsewhere(word)}
    for text in connection.execute(sa.select(memories.c.text)).scalars():
        left -= standing(text, left)
    for turn in connection.execute(sa.select(turns.c.question, turns.c.answer, turns.c.answer_json)):
        left -= standing(" ".join(turn), left)
    return left
