"""The plain rows that the widgets show: what comes from a store or an engine becomes one of these first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.answer import Citation, LeftOut, Status, Used, UsedMemory, Window
from retrieval.types import Locator


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The model in use, for the status line and `/model`."""

    name: str
    reference: str
    engine: str
    architecture: str
    context: int
    quantization: str
    devices: tuple[str, ...]
    total_parameters: int | None
    active_parameters: int | None
    writes_prose: bool
    """False for a model so small that it only chooses passages' own words."""


@dataclass(frozen=True, slots=True)
class LibraryRow:
    """What there is to ask about, for the first screen and the top line."""

    documents: int
    collections: tuple[str, ...]
    pinned: tuple[str, ...] = ()
    """Titles of the documents in scope that every question is given whole."""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One document of the library."""

    id: str
    """`d12`, as commands name it."""
    title: str
    path: str
    collection: str
    pages: int | None
    passages: int
    bytes: int
    """of its file"""
    read: str
    """When, in local time."""
    pinned: bool


@dataclass(frozen=True, slots=True)
class PinnedRow:
    """What the model has read of the pinned documents, ahead of questions."""

    tokens: int
    documents: int
    """of the pinned ones, those that the window has room for"""
    pinned: int


@dataclass(frozen=True, slots=True)
class HealthRow:
    """How the library is."""

    figures: tuple[str, ...]
    """Counts and sizes, in words."""
    problems: tuple[str, ...]
    """of the database"""
    changed: int
    """Files in scope that are not as they were read."""
    gone: int
    """Files in scope that are not there any more."""
    gone_named: tuple[str, ...]
    """Some of these."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    id: int
    title: str
    scope: str
    when: str
    """Start or last turn, `2026-03-01 14:05`, in local time."""
    turns: int
    found: str = ""
    """The words around a hit, where the row comes from a search."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PastRow:
    """What earlier sessions left for this one."""

    questions: tuple[str, ...]
    """Asked last, oldest first."""
    cut_off: SessionRow | None
    """The session used last, where its last answer is not whole: the process died, or it was stopped."""


@dataclass(frozen=True, slots=True)
class MemoryRow:
    id: int
    text: str
    kind: str
    state: str
    pinned: bool
    why: str
    """Where it came from, in words."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer as it is shown, live or from an older session."""

    text: str
    reasoning: str | None
    grounded: bool
    abstained: bool
    reason: str | None
    confidence: float | None
    citations: tuple[Citation, ...]
    unsupported: tuple[tuple[int, int], ...]
    memories: tuple[UsedMemory, ...]
    window: Window | None
    rate: float | None
    """Tokens per second of the answer; None where none were written."""
    acceptance: float | None
    """Share of the drafted tokens that the model kept; None where none were drafted."""
    seconds: float
    session: int | None
    turn: int | None
    query: str | None = None
    """The query over a table's rows that gave the answer."""


@dataclass(frozen=True, slots=True)
class TurnMark:
    """Where a turn stands among the branches of its session."""

    after: int
    """The turn that it follows; 0 opens the session."""
    versions: tuple[int, ...] = ()
    """The turns that follow the same one, itself included, in the order they were asked."""


@dataclass(frozen=True, slots=True)
class TurnRow:
    """A turn that is over. `answer` is None where nothing but the partial text was kept."""

    id: int
    """Its number in the store; 0 where it is not stored."""
    question: str
    text: str
    complete: bool
    answer: AnswerRow | None
    mark: TurnMark = TurnMark(0)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A citation opened: the quote inside the text around it."""

    n: int
    title: str
    path: str
    where: str
    status: Status
    before: str
    quote: str
    after: str
    note: str
    """What the reader must know about the passage; empty where it stands as cited."""
    has_page: bool = False
    """Whether it is a page of a PDF, which can be drawn as long as the file stands as it was read."""


@dataclass(frozen=True, slots=True)
class AddedRow:
    """What one `/add` did, in counts, and each file that failed with its reason."""

    counts: Mapping[str, int]
    chunks: int
    failed: tuple[tuple[str, str], ...]


def answer_row(answer: Mapping[str, Any]) -> AnswerRow:
    """An answer in its JSON shape (schema 1, live or stored) as a row."""
    context = answer.get("context")
    usage, timing = answer.get("usage") or {}, answer.get("timing_ms") or {}
    tokens, milliseconds = usage.get("completion_tokens", 0), timing.get("decode", 0.0)
    chosen = answer.get("confidence") is not None  # from the documents: its tokens were scored, none was written
    return AnswerRow(
        text=answer.get("answer") or "",
        reasoning=answer.get("reasoning"),
        grounded=bool(answer.get("grounded")),
        abstained=bool(answer.get("abstained")),
        reason=answer.get("reason"),
        confidence=answer.get("confidence"),
        citations=tuple(Citation(**{**row, "locator": Locator(**row["locator"])}) for row in answer["citations"]),
        unsupported=tuple((start, end) for start, end in answer.get("unsupported") or ()),
        memories=tuple(UsedMemory(**row) for row in answer.get("memories") or ()),
        window=Window(
            window=context["window"],
            used=Used(**context["used"]),
            left_out=tuple(LeftOut(**row) for row in context["left_out"]),
        )
        if context
        else None,
        rate=tokens / milliseconds * 1000 if tokens and milliseconds and not chosen else None,
        acceptance=usage.get("accepted", 0) / usage["drafted"] if usage.get("drafted") else None,
        seconds=timing.get("total", 0.0) / 1000,
        session=answer.get("session"),
        turn=answer.get("turn"),
        query=answer.get("query"),
    )
