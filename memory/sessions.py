"""Conversations as they were held: sessions and their turns, kept by value, searchable by every word said."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from memory import branches
from memory.blotting import Blotter
from memory.branches import Branches
from memory.clock import stamp
from memory.errors import NoSuchSession, OnlySecrets
from memory.redact import Exactly, is_hollow, redact
from memory.schema import sessions, turns
from memory.settings import MemorySettings
from memory.types import Session, Turn, TurnFound
from retrieval.fulltext import fts_query, fts_text
from retrieval.sqlite import reading, writing


class SessionLog:
    """The half of `MemoryStore` that keeps conversations. A turn is stored from its first moment on, so that a crash
    leaves what had come, readable and marked incomplete."""

    engine: Engine
    settings: MemorySettings

    def plain(self, text: str) -> str:
        """What may be stored of a text that a person typed: all but its secrets, unless the settings say otherwise."""
        return redact(text).text if self.settings.redact else text

    def statement(self, text: str) -> str:
        """What may be stored of a text that is to be remembered.

        Raises ValueError for an empty text, OnlySecrets where nothing would be left of it.
        """
        kept = self.plain(text.strip())
        if not kept:
            raise ValueError("There is nothing to remember: the text is empty. `loci memory forget` removes a memory.")
        if is_hollow(kept):
            found = redact(text).summary() or "they are removed already"
            raise OnlySecrets(
                f"Secrets are not stored, and nothing else is in it ({found}).", "Say what is to be known without them."
            )
        return kept

    def start_session(self, scope: str = "main", title: str = "", now: datetime | None = None) -> int:
        """Open a session bounded by the collection `scope`; returns its id."""
        with writing(self.engine) as connection:
            return _start_session(connection, scope, self.plain(title), now)

    def sessions(self, scopes: Sequence[str] | None = None) -> list[Session]:
        """Sessions of the scopes (None: all), the one used last first."""
        query = _sessions()
        if scopes is not None:
            query = query.where(sessions.c.scope.in_(list(scopes)))
        with reading(self.engine) as connection:
            found = [_session(row) for row in connection.execute(query)]
        return sorted(found, key=lambda one: (one.last_turn or one.started, one.id), reverse=True)

    def change_session(
        self, session_id: int, *, title: str | None = None, tags: Sequence[str] | None = None
    ) -> Session:
        """Give a session another title or other tags, each a word; None leaves them. Raises NoSuchSession."""
        values: dict[str, str | None] = {}
        if title is not None:
            values["title"] = self.plain(title.strip())
        if tags is not None:
            words = dict.fromkeys(word.lstrip("#") for tag in tags for word in self.plain(tag).split())
            values["tags"] = " ".join(word for word in words if word) or None
        with writing(self.engine) as connection:
            _get_session(connection, session_id)
            if values:
                connection.execute(sa.update(sessions).where(sessions.c.id == session_id).values(values))
            return _get_session(connection, session_id)

    def session(self, session_id: int) -> Session:
        """Raises NoSuchSession."""
        with reading(self.engine) as connection:
            return _get_session(connection, session_id)

    def turns(self, session_id: int) -> list[Turn]:
        """The turns of a session in order. Raises NoSuchSession."""
        with reading(self.engine) as connection:
            _get_session(connection, session_id)
            return _turns(connection, session_id)

    def turn(self, turn_id: int) -> Turn:
        """Raises NoSuchSession."""
        with reading(self.engine) as connection:
            return get_turn(connection, turn_id)

    def last_turn(self) -> Turn | None:
        """The turn asked last, in any session."""
        with reading(self.engine) as connection:
            row = connection.execute(sa.select(turns).order_by(turns.c.id.desc()).limit(1)).first()
            return _turn(row) if row is not None else None

    def branch(self, session_id: int, upto: int | None = None) -> list[Turn]:
        """The turns that lead to `upto` (None: the turn asked last), in order. Raises NoSuchSession."""
        with reading(self.engine) as connection:
            _get_session(connection, session_id)
            path = set(branches.of_session(connection, session_id).path(upto))
            return [turn for turn in _turns(connection, session_id) if turn.id in path]

    def branches(self, session_id: int) -> Branches:
        """Which turn of a session follows which. Raises NoSuchSession."""
        with reading(self.engine) as connection:
            _get_session(connection, session_id)
            return branches.of_session(connection, session_id)

    def asked(self, limit: int) -> list[str]:
        """The questions asked last in any session, each once, oldest first."""
        latest = sa.func.max(turns.c.id)
        query = sa.select(turns.c.question).group_by(turns.c.question).order_by(latest.desc()).limit(limit)
        with reading(self.engine) as connection:
            return list(reversed(connection.execute(query).scalars().all()))

    def requested(self, request: str) -> Turn | None:
        """The turn that was begun for a request."""
        with reading(self.engine) as connection:
            return _requested(connection, request)

    def begin_turn(
        self,
        session: int | None,
        question: str,
        now: datetime | None = None,
        *,
        after: int | None = None,
        scope: str = "main",
        request: str | None = None,
    ) -> int:
        """Store a question before its answer is there; an empty title of the session becomes the question's opening.

        It follows the turn asked last, or `after`: another turn of the session, or 0 for its beginning. Without a
        `session` it opens one of `scope`. A `request` for which a turn was begun before gets that one. Raises
        NoSuchSession.
        """
        question = self.plain(question)
        with writing(self.engine) as connection:
            if request is not None and (begun := _requested(connection, request)):
                return begun.id
            if session is None:
                session = _start_session(connection, scope, "", now)
            found = _get_session(connection, session)
            values = {"session": session, "asked_at": stamp(now), "question": question, "request": request}
            row = sa.insert(turns).values(values | {"answer": "", "answer_json": "", "complete": False})
            turn = int(connection.execute(row.returning(turns.c.id)).scalar_one())
            index_turn(connection, turn, question, "")
            if after is not None:
                if after != branches.OPENING and get_turn(connection, after).session != session:
                    raise _no_turn(after)
                branches.follow(connection, session, turn, after)
            if not found.title:
                named = sa.update(sessions).where(sessions.c.id == session).values(title=opening(question))
                connection.execute(named)
            return turn

    def update_turn(self, turn: int, partial_answer: str) -> None:
        """Keep what has streamed so far. Raises NoSuchSession."""
        with writing(self.engine) as connection:
            answer = self.plain(partial_answer)
            question = get_turn(connection, turn).question
            connection.execute(sa.update(turns).where(turns.c.id == turn).values(answer=answer))
            index_turn(connection, turn, question, answer)

    def finish_turn(self, turn: int, answer: str, answer_json: str, complete: bool) -> None:
        """Store the whole answer; `complete` is False for one that was cancelled. Raises NoSuchSession.

        A secret of the question is kept out of the answer, too, and citations keep their places.
        """
        if self.settings.redact:
            answer, answer_json = without_secrets(answer, answer_json)
        with writing(self.engine) as connection:
            question = get_turn(connection, turn).question
            values = {"answer": answer, "answer_json": answer_json, "complete": complete}
            connection.execute(sa.update(turns).where(turns.c.id == turn).values(values))
            index_turn(connection, turn, question, answer)

    def search_turns(self, text: str, scopes: Sequence[str] | None = None, limit: int = 20) -> list[TurnFound]:
        """Turns whose question or answer holds words of `text`, best first; scopes None means all."""
        match = fts_query(text)
        if not match or (scopes is not None and not scopes):
            return []
        scoped = "" if scopes is None else f"AND s.scope IN ({', '.join('?' * len(scopes))})"
        with reading(self.engine) as connection:
            hits = connection.exec_driver_sql(
                f"""SELECT t.id, s.title, s.scope FROM turns_fts
                    JOIN turns t ON t.id = turns_fts.rowid JOIN sessions s ON s.id = t.session
                    WHERE turns_fts MATCH ? {scoped} ORDER BY bm25(turns_fts), t.id DESC LIMIT ?""",
                (match, *(scopes or ()), limit),
            ).all()
            found = []
            for turn_id, title, scope in hits:
                turn = get_turn(connection, turn_id)
                found.append(TurnFound(turn, title, scope, _excerpt(turn, text)))
            return found

    def export_session(self, session_id: int) -> str:
        """A session as a JSON object: all its branches, answers whole, by value. Raises NoSuchSession."""
        with reading(self.engine) as connection:
            session, held = _get_session(connection, session_id), _turns(connection, session_id)
            tree = branches.of_session(connection, session_id)
        document = {
            "schema": 1,
            "id": session.id,
            "title": session.title,
            "scope": session.scope,
            "started": session.started,
            "tags": list(session.tags),
            "turns": [
                {
                    "id": turn.id,
                    "follows": tree.parents[turn.id] or None,
                    "asked_at": turn.asked_at,
                    "question": turn.question,
                    "answer": turn.answer,
                    "complete": turn.complete,
                    "result": json.loads(turn.answer_json) if turn.answer_json else None,
                }
                for turn in held
            ],
        }
        return json.dumps(document, ensure_ascii=False, indent=2)


def opening(question: str) -> str:
    """The title that a session takes from its first question."""
    title = " ".join(question.split())
    return title if len(title) <= 60 else title[:59].rstrip() + "…"


def without_secrets(answer: str, answer_json: str) -> tuple[str, str]:
    """An answer and its stored result without the secrets of the question that the result opens with."""
    result = json.loads(answer_json) if answer_json else None
    asked = result.get("question") if isinstance(result, dict) else None
    secrets = redact(asked).secrets if isinstance(asked, str) else ()
    if not secrets:
        return answer, answer_json
    blotter = Blotter((Exactly(secrets),), mark="[removed]")
    return blotter.text(answer), json.dumps(blotter.result(result), ensure_ascii=False)


def _start_session(connection: Connection, scope: str, title: str, now: datetime | None) -> int:
    values = {"scope": scope, "title": title, "started": stamp(now)}
    return int(connection.execute(sa.insert(sessions).values(values).returning(sessions.c.id)).scalar_one())


def _requested(connection: Connection, request: str) -> Turn | None:
    row = connection.execute(sa.select(turns).where(turns.c.request == request)).first()
    return _turn(row) if row is not None else None


def get_turn(connection: Connection, turn_id: int) -> Turn:
    """Raises NoSuchSession."""
    row = connection.execute(sa.select(turns).where(turns.c.id == turn_id)).first()
    if row is None:
        raise _no_turn(turn_id)
    return _turn(row)


def _no_turn(turn_id: int) -> NoSuchSession:
    return NoSuchSession(f"There is no turn {turn_id}.", "It may have been deleted with its session.")


def _sessions() -> sa.Select[Any]:
    return (
        sa.select(sessions, sa.func.max(turns.c.asked_at).label("last_turn"), sa.func.count(turns.c.id).label("turns"))
        .join(turns, isouter=True)
        .group_by(sessions.c.id)
    )


def _get_session(connection: Connection, session_id: int) -> Session:
    row = connection.execute(_sessions().where(sessions.c.id == session_id)).first()
    if row is None:
        raise NoSuchSession(f"There is no session {session_id}.", "`loci sessions list` shows them.")
    return _session(row)


def _session(row: sa.Row[Any]) -> Session:
    return Session(row.id, row.title, row.scope, row.started, row.last_turn, row.turns, tuple((row.tags or "").split()))


def _turns(connection: Connection, session_id: int) -> list[Turn]:
    rows = connection.execute(sa.select(turns).where(turns.c.session == session_id).order_by(turns.c.id))
    return [_turn(row) for row in rows]


def _turn(row: sa.Row[Any]) -> Turn:
    return Turn(row.id, row.session, row.asked_at, row.question, row.answer, row.answer_json, row.complete)


def index_turn(connection: Connection, turn: int, question: str, answer: str) -> None:
    """Put a turn into full text, instead of what stood there."""
    connection.exec_driver_sql("DELETE FROM turns_fts WHERE rowid = ?", (turn,))
    connection.exec_driver_sql(
        "INSERT INTO turns_fts (rowid, question, answer) VALUES (?, ?, ?)", (turn, fts_text(question), fts_text(answer))
    )


def _excerpt(turn: Turn, text: str, around: int = 60) -> str:
    """The first place where a word of `text` stands, in its surroundings."""
    said = turn.question + "\n" + turn.answer
    folded = said.casefold() if len(said.casefold()) == len(said) else said
    places = [folded.find(word) for word in text.casefold().split()]
    place = min((place for place in places if place >= 0), default=0)
    start, end = max(0, place - around), min(len(said), place + around)
    middle = " ".join(said[start:end].split())
    return f"{'…' if start else ''}{middle}{'…' if end < len(said) else ''}"
