"""Real deletion of memories, and of what quotes them or a document: all in one transaction. The bytes that SQLite keeps
in free pages, full text and the WAL go with `retrieval.scrub`.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from memory import moving, records
from memory.blotting import Blotter
from memory.quoting import Document, Quoted, Statement, standing
from memory.schema import exposures, feedback, memories, sessions, turns
from memory.sessions import index_turn, opening
from memory.types import Elsewhere, Purged


def nowhere(term: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class GoneDocument:
    """A document of the library that is deleted: its id (`d12`), the hash of its text, and what quotes it."""

    id: str
    sha256: str
    quoted: Document


@dataclass(frozen=True, slots=True)
class _Linked:
    """Turns that have to do with what is deleted."""

    near: Set[int]
    """It was told or shown there, or in an earlier turn of the session: a word of it there is taken from it."""
    retold: Set[int]
    """Their answers made use of it: every word that no remaining memory has is taken from it."""


def purge(
    connection: Connection, ids: Sequence[int], texts: Sequence[str] = (), elsewhere: Elsewhere = nowhere
) -> Purged:
    """Delete memories with their earlier wordings and what they superseded, every memory that quotes one of those, and
    their words in turns, titles and feedback.

    `texts` are deleted wherever they stand, though no memory of `ids` has them.
    """
    going = _with_predecessors(connection, ids)
    said = {row.text for row in _rows(connection, going)} | set(texts)
    quoted = tuple(Statement(text) for text in sorted(said))
    going |= {row.id for row in connection.execute(sa.select(memories)) if any(any(q.spans(row.text)) for q in quoted)}
    linked = _linked(connection, going)
    records.delete(connection, sorted(going))
    words = frozenset[str]().union(*(one.terms for one in quoted))
    blotter = Blotter(quoted, memories=going)
    return replace(_blot(connection, blotter, words, linked, elsewhere), memories=tuple(sorted(going)), texts=(*said,))


def purge_document(connection: Connection, document: GoneDocument, elsewhere: Elsewhere = nowhere) -> Purged:
    """Take out of turns, titles and feedback what they have of a document: answers that cite it, quotations.

    Memories are the user's own words, and stay.
    """
    citing = {
        row.id
        for row in connection.execute(sa.select(turns.c.id, turns.c.answer_json))
        if document.sha256 in row.answer_json or f'"document": "{document.id}"' in row.answer_json
    }
    linked = _Linked(_followed(connection, citing), citing)
    blotter = Blotter((document.quoted,), documents=frozenset([document.id]))
    purged = _blot(connection, blotter, document.quoted.terms, linked, elsewhere)
    return replace(purged, texts=(document.quoted.text,))


def _with_predecessors(connection: Connection, ids: Iterable[int]) -> set[int]:
    """`ids` and all that led to them: earlier wordings, superseded statements."""
    found, fresh = set(ids), set(ids)
    while fresh:
        before = sa.select(memories.c.id).where(memories.c.superseded_by.in_(fresh))
        fresh = set(connection.execute(before).scalars()) - found
        found |= fresh
    return found


def _rows(connection: Connection, ids: Iterable[int]) -> Sequence[Row[Any]]:
    return connection.execute(sa.select(memories).where(memories.c.id.in_(list(ids)))).all()


def _linked(connection: Connection, ids: Set[int]) -> _Linked:
    told = {row.turn for row in _rows(connection, ids) if row.turn is not None}
    shown = connection.execute(sa.select(exposures).where(exposures.c.memory.in_(ids), exposures.c.turn.is_not(None)))
    rows = shown.all()
    cited = {row.turn for row in rows if row.cited}
    # Of a turn that was cut off nobody wrote down what it was shown.
    cut_off = set(connection.execute(sa.select(turns.c.id).where(sa.not_(turns.c.complete))).scalars())
    return _Linked(_followed(connection, told | cited) | {row.turn for row in rows} | cut_off, told | cited)


def _followed(connection: Connection, ids: Set[int]) -> set[int]:
    """The turns `ids` and those that came after them in their sessions, which had them before their eyes."""
    first = sa.select(turns.c.session, sa.func.min(turns.c.id).label("first")).where(turns.c.id.in_(ids))
    begun = first.group_by(turns.c.session).subquery()
    later = sa.select(turns.c.id).join(begun, sa.and_(turns.c.session == begun.c.session, turns.c.id >= begun.c.first))
    return set(connection.execute(later).scalars())


def _blot(connection: Connection, blotter: Blotter, words: Set[str], linked: _Linked, elsewhere: Elsewhere) -> Purged:
    # 1. words that no remaining memory has, nor anything else that is kept
    own = {word for word in words if not elsewhere(word)}
    for text in connection.execute(sa.select(memories.c.text)).scalars():
        own -= standing(text, own)
    # 2. turns that have nothing to do with it: what they say word for word goes, and their words are not its own
    retold, quick = frozenset(own), _quick(blotter.quoted)
    changed: list[int] = []
    held = connection.execute(sa.select(turns).order_by(turns.c.id)).all()
    for row in held:
        if row.id in linked.near:
            continue
        cut = _cleaned(row, blotter) if quick(row) else None
        changed += _write(connection, row, cut)
        kept = " ".join(cut.values()) if cut else f"{row.question} {row.answer} {row.answer_json}"
        own -= standing(kept, own)
    # 3. turns in which it was told, shown or used: its own words, too
    near = replace(blotter, words=frozenset(own))
    for row in held:
        if row.id in linked.near:
            which = replace(near, retold=retold) if row.id in linked.retold else near
            changed += _write(connection, row, _cleaned(row, which))
    # 4. vectors that questions moved which are not as they were; those of deleted memories went with them
    moving.reset(connection, changed)
    # 5. titles, which open with a question, and corrections
    titles = _blot_titles(connection, near, {row.id: row for row in held})
    corrections = _blot_feedback(connection, near, linked.near)
    return Purged((), tuple(sorted(changed)), titles, corrections, (), tuple(sorted(own)))


def _quick(quoted: Sequence[Quoted]) -> Callable[[Row[Any]], bool]:
    """Whether a turn can quote any of it at all: a cheap look before the thorough one."""
    wordless = any(not one.terms for one in quoted)
    needed = frozenset[str]().union(*(one.terms for one in quoted))

    def look(row: Row[Any]) -> bool:
        folded = f"{row.question} {row.answer} {row.answer_json}".lower()
        return wordless or any(word in folded for word in needed)

    return look


def _cleaned(row: Row[Any], blotter: Blotter) -> dict[str, str]:
    result = json.loads(row.answer_json) if row.answer_json else None
    if not row.complete:
        blotter = replace(blotter, words=blotter.words | _begun(row.answer, blotter))
    return {
        "question": blotter.text(row.question),
        "answer": blotter.answer(row.answer, result).result,
        "answer_json": json.dumps(blotter.result(result), ensure_ascii=False) if result is not None else "",
    }


def _begun(answer: str, blotter: Blotter) -> Set[str]:
    """The last word of an answer that was cut off, where one of the deleted words begins with it."""
    last = re.search(r"\w{3,}\Z", answer)
    begun = last[0].lower() if last else ""
    return {begun} if begun and any(term.startswith(begun) for one in blotter.quoted for term in one.terms) else set()


def _write(connection: Connection, row: Row[Any], cleaned: dict[str, str] | None) -> list[int]:
    if cleaned is None:
        return []
    same = json.loads(cleaned["answer_json"]) == json.loads(row.answer_json) if row.answer_json else True
    if (cleaned["question"], cleaned["answer"]) == (row.question, row.answer) and same:
        return []
    connection.execute(sa.update(turns).where(turns.c.id == row.id).values(cleaned))
    # Offsets into the question no longer hold.
    connection.execute(sa.update(memories).where(memories.c.turn == row.id).values(start=None, end=None))
    index_turn(connection, row.id, cleaned["question"], cleaned["answer"])
    return [row.id]


def _blot_titles(connection: Connection, blotter: Blotter, before: dict[int, Row[Any]]) -> tuple[int, ...]:
    first = dict(
        connection.execute(sa.select(turns.c.session, sa.func.min(turns.c.id)).group_by(turns.c.session)).tuples().all()
    )
    changed = []
    for row in connection.execute(sa.select(sessions)).all():
        if row.id in first and row.title == opening(before[first[row.id]].question):
            # A title cut short may end in half a word of what went.
            question = connection.execute(sa.select(turns.c.question).where(turns.c.id == first[row.id])).scalar_one()
            title = opening(question)
        else:
            title = blotter.text(row.title)
        tags = " ".join(tag for tag in (row.tags or "").split() if blotter.text(tag) == tag) or None
        if (title, tags) != (row.title, row.tags):
            connection.execute(sa.update(sessions).where(sessions.c.id == row.id).values(title=title, tags=tags))
            changed.append(row.id)
    return tuple(changed)


def _blot_feedback(connection: Connection, near: Blotter, turn_ids: Set[int]) -> tuple[int, ...]:
    plain, changed = replace(near, words=frozenset()), []
    for row in connection.execute(sa.select(feedback).where(feedback.c.text.is_not(None))).all():
        text = (near if row.turn in turn_ids else plain).text(row.text)
        if text != row.text:
            connection.execute(sa.update(feedback).where(feedback.c.id == row.id).values(text=text))
            changed.append(row.id)
    return tuple(changed)
