"""Long conversations as a store of memories sees them: what was said when, and what later questions need of it.

What counts as turn, session and evidence says `app.evaluation.conversations`. N turns, Q questions, D embedding dim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.evaluation.conversations import Conversation, Question, read
from memory.retention.features import Floats, against_store, content, content_words, in_context

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
BUDGETS = (0.05, 0.10, 0.25, 0.50)
"""Shares of the words told."""
_ACCESS = 0.5
"""Cosine from which a turn counts as recalling an earlier one."""
_RECALLED = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """`at` in days; `session` counts from 0."""

    key: str
    text: str
    session: int
    at: float


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation with what features need of it; nothing in it but `questions` knows a question."""

    name: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]
    vectors: NDArray[np.float32]  # [N, D]
    asked: NDArray[np.float32]  # [Q, D]
    written: Floats  # [N, C + len(STORE)]
    words: Floats  # [N]
    accesses: tuple[Floats, ...]
    """For each turn the days at which it was written and recalled by later turns."""

    @property
    def sessions(self) -> NDArray[np.int64]:
        """[N]"""
        return np.array([turn.session for turn in self.turns], np.int64)

    def evidence(self) -> list[NDArray[np.int64]]:
        """For each question the places of its evidence turns."""
        place = {turn.key: index for index, turn in enumerate(self.turns)}
        return [np.array(sorted(place[key] for key in asked.evidence), np.int64) for asked in self.questions]

    def static(self, count: int | None = None) -> Floats:
        """Features [count, C + STORE + CONTEXT] of the first `count` turns, as they stood when these were all."""
        written = self.written[:count]
        return np.hstack([written, in_context(written, self.sessions[:count])])


def read_chats(dataset: str, path: Path, embed: Embed, limit: int | None = None) -> list[Chat]:
    """The conversations of a data set, embedded.

    :raises UnknownDataset: the name is unknown, or a file is not of that form.
    """
    raw = read(dataset, path)[:limit]
    texts = [said.text for talk in raw for said in talk.said] + [asked.text for talk in raw for asked in talk.questions]
    vectors = embed(texts) if texts else np.zeros((0, 1), np.float32)
    chats, turn_at, asked_at = [], 0, sum(len(talk.said) for talk in raw)
    for talk in raw:
        turns, questions = _turns(talk), talk.questions
        own = vectors[turn_at : turn_at + len(turns)]
        asked = vectors[asked_at : asked_at + len(questions)]
        turn_at, asked_at = turn_at + len(turns), asked_at + len(questions)
        words = np.array([max(1.0, float(len(turn.text.split()))) for turn in turns])
        chats.append(Chat(talk.name, turns, questions, own, asked, _written(turns, own), words, _accesses(turns, own)))
    return chats


def _turns(talk: Conversation) -> tuple[Turn, ...]:
    sessions: dict[str, int] = {}
    return tuple(
        Turn(said.key, said.text, sessions.setdefault(said.session, len(sessions)), said.at.timestamp() / 86400)
        for said in talk.said
    )


def _written(turns: Sequence[Turn], vectors: NDArray[np.float32]) -> Floats:
    seen: set[str] = set()
    rows = []
    for index, turn in enumerate(turns):
        words = content_words(turn.text)
        cosines = (vectors[:index] @ vectors[index]).astype(np.float64)
        follows = index > 0 and turns[index - 1].session == turn.session
        store = against_store(len(words - seen), len(words), cosines, float(cosines[-1]) if follows else 0.0)
        rows.append(np.r_[content(turn.text), store])
        seen |= words
    return np.array(rows)


def _accesses(turns: Sequence[Turn], vectors: NDArray[np.float32]) -> tuple[Floats, ...]:
    times: list[list[float]] = [[turn.at] for turn in turns]
    for index, turn in enumerate(turns):
        cosines = vectors[:index] @ vectors[index]
        for near in np.argsort(-cosines)[:_RECALLED]:
            if cosines[near] >= _ACCESS:
                times[near].append(turn.at)
    return tuple(np.array(row) for row in times)
