"""The plain rows that leave this room. Times are UTC, ISO 8601 with a `Z`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

Kind = Literal["fact", "preference", "event", "instruction", "episode"]
State = Literal["active", "archived", "tombstone"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a memory came from: a turn and its characters, a command, an import, or a session that it sums up."""

    how: Literal["told", "extracted", "command", "import", "summary"]
    session: int | None = None
    turn: int | None = None
    start: int | None = None
    end: int | None = None
    speaker: str | None = None
    """Who said it; None is the user."""


@dataclass(frozen=True, slots=True)
class Memory:
    id: int
    text: str
    kind: Kind
    scope: str
    """The collection that bounds it."""
    state: State
    pinned: bool
    retention: float | None
    """Probability of use, once a retention model is active."""
    created: str
    last_used: str | None
    uses: int
    valid_from: str
    valid_to: str | None
    superseded_by: int | None
    source: Source
    event_date: str | None = None
    """The day that the text speaks of, resolved against the day it was said; ISO 8601."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory with its score for one query, and what explains it.

    `dense` is its cosine with the query (None: it has no vector of this embedder), `lexical` how its words cover the
    query's (None: not at all); `parts` are the terms whose sum is the score,
    `measured` what they are before their weights.
    """

    memory: Memory
    score: float
    dense: float | None
    lexical: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer as stored. `answer_json` is the whole answer in the shape of `loci ask --json`."""

    id: int
    session: int
    asked_at: str
    question: str
    answer: str
    answer_json: str
    complete: bool
    """False while it streams, and for ever if it was cancelled or the process died."""


@dataclass(frozen=True, slots=True)
class Session:
    id: int
    title: str
    scope: str
    started: str
    last_turn: str | None
    turns: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnFound:
    """A turn that holds the words searched for."""

    turn: Turn
    title: str
    """Of its session."""
    scope: str
    excerpt: str
    """The words in their surroundings, from the question or the answer."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line of an import that is not a memory, counted from 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    added: int
    unchanged: int
    """Rows the store already had."""
    bad: tuple[BadRow, ...]
    redacted: int = 0
    """Rows that lost a secret."""
    others: int = 0
    """Rows added that are no memories: sessions, turns, what was shown when, ..."""
    hollow: int = 0
    """Memories left out because they told nothing but a secret."""


Elsewhere = Callable[[str], bool]
"""Whether a word stands in what is not deleted and this room does not see, such as the library."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge deleted, and where it blotted words out."""

    memories: tuple[int, ...]
    turns: tuple[int, ...]
    sessions: tuple[int, ...]
    """By their titles, or as a whole."""
    feedback: tuple[int, ...]
    texts: tuple[str, ...]
    """What was deleted, to look for what is left of it. It must not be stored."""
    words: tuple[str, ...]
    """Words of it that stand nowhere else."""


NOTHING = Purged((), (), (), (), (), ())


def joined(parts: Iterable[Purged]) -> Purged:
    """What several purges did together, each number once and in order."""
    found = list(parts)
    every = [[value for part in found for value in getattr(part, field.name)] for field in fields(Purged)]
    return Purged(*(tuple(sorted(set(values))) for values in every))
