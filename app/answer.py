"""What a turn takes and gives: the request, the events on the way, the answer in its stable JSON shape (schema 1)."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from app.passages import locator_json
from model.engine import Usage
from retrieval.types import Drift, Locator, Passage

Status = Literal["verified", "repaired", "misattributed", "not_found"]


@dataclass(frozen=True, slots=True)
class Citation:
    """One mark of the answer, resolved. `start`/`end` count code points in the document's extraction `text_sha256`."""

    n: int
    answer_start: int
    answer_end: int
    document: str
    path: str
    title: str
    page: int | None
    line: int
    start: int
    end: int
    locator: Locator
    quote: str
    text_sha256: str
    status: Status
    on_disk: Drift | None = None
    """How the document's file differed, when the answer was given, from what the library had read of it."""


@dataclass(frozen=True, slots=True)
class UsedMemory:
    id: int
    text: str
    score: float
    cited: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of the prompt by part."""

    system: int = 0
    memories: int = 0
    passages: int = 0
    documents: int = 0
    history: int = 0
    question: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    window: int
    used: Used
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelUsed:
    reference: str
    engine: Literal["torch", "llama", "remote"]
    architecture: str
    quantization: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds."""

    load: float = 0.0
    recall: float = 0.0
    retrieve: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    check: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """A question that had to be answered on the way, and what was found."""

    question: str
    answer: str | None
    """Without marks; None where the documents do not say."""
    citations: tuple[int, ...]
    """Numbers `n` of the answer's citations that prove it."""


@dataclass(frozen=True, slots=True)
class Answer:
    question: str
    standalone_question: str
    answer: str
    reasoning: str | None
    grounded: bool
    abstained: bool
    reason: str | None
    """Why it abstained or is not grounded, in words for the user; None of a reply that claims nothing of a source,
    such as what was stored."""
    confidence: float | None
    citations: tuple[Citation, ...]
    unsupported: tuple[tuple[int, int], ...]
    """Spans of `answer` that no citation supports."""
    query: str | None
    """The read-only query behind an answer from rows."""
    memories: tuple[UsedMemory, ...]
    context: Window
    scope: tuple[str, ...]
    library_epoch: int
    seed: int
    model: ModelUsed
    usage: Usage
    timing_ms: Timing
    session: int | None = None
    turn: int | None = None
    steps: tuple[Step, ...] = ()
    """In which the question was answered, in their order, the last included; none where it was asked as it stands."""

    def to_json(self) -> dict[str, Any]:
        """The object that `loci ask --json` prints."""
        row = {"schema": 1, **asdict(self)}
        for cited, citation in zip(row["citations"], self.citations, strict=True):
            cited["locator"] = locator_json(citation.locator)
            if citation.on_disk is None:
                del cited["on_disk"]
        return row


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the assistant, with all that bounds it."""

    question: str
    scope: tuple[str, ...] = ("main",)
    """Collections, the first of which receives what is stored."""
    session: int | None = None
    """Continue this session; None starts one (if `store`)."""
    history: tuple[tuple[str, str], ...] = ()
    """Earlier (question, answer) pairs, oldest first, of a door that keeps the conversation itself; they go before
    the session's."""
    attachments: tuple[tuple[str, str], ...] = ()
    """(name, text) pairs; searched and cited like documents, in this turn alone."""
    documents: tuple[str, ...] = ()
    """Ids of documents to take whole into the window where it and the budget allow."""
    within: tuple[str, ...] = ()
    """Ids of the documents in which alone is looked; empty for all of the scope."""
    summary: int | None = None
    """Sum up the documents of `within`, or all of the scope, in about so many sentences; `question` is a title then."""
    system: str | None = None
    schema: str | None = None
    """JSON Schema text that the answer must satisfy."""
    use_library: bool = True
    use_memory: bool = True
    store: bool = True
    """Keep the turn in memory.db and learn from it. `use_memory=False, store=False` is incognito."""
    seed: int = 0
    max_tokens: int = 1024
    temperature: float = 0.0
    best_of: int = 1
    """Answers to draw, of which the best supported stands; for a model that writes."""
    library_epoch: int | None = None
    """Retrieve as of this epoch (a batch pins one); None is the library as it is now."""
    after: int | None = None
    """The turn of the session that this one follows, 0 for none: a branch. None is the turn asked last."""
    whole: bool = False
    """Ask it as it stands, never in steps."""
    request: str | None = None
    """Names this very question: if it was asked and stored before, its turn is taken up, or its answer given again."""


Stage = Literal["wait", "load", "recall", "retrieve", "pack", "read", "step", "answer", "mend", "check", "remember"]


@dataclass(frozen=True, slots=True)
class Begun:
    """The turn is stored, though it has no answer yet: `turn` is its number in the session."""

    session: int
    turn: int


@dataclass(frozen=True, slots=True)
class Started:
    """A stage of the turn began; `done` of `total` where it can tell. `wait`: the model answers another door first;
    `step`: one of the questions into which this one was taken apart; `mend`: a sentence without support is written
    anew."""

    stage: Stage
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What recall and retrieval brought, before the packer chose."""

    passages: Sequence[Passage]
    memories: Sequence[UsedMemory]


@dataclass(frozen=True, slots=True)
class Packed:
    context: Window


@dataclass(frozen=True, slots=True)
class Text:
    """Streamed text of the answer as the model writes it; the checked form comes in `Completed`."""

    text: str
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    answer: Answer
    remembered: tuple[tuple[int, str], ...] = field(default=())
    """(id, text) of memories this turn stored."""


TurnEvent = Begun | Started | Found | Packed | Text | Completed
"""`Begun` comes first, where the turn is stored at all. The order is the main path's. `Completed` comes last and once,
unless the stream is closed before: that cancels."""


class Assists(Protocol):
    """Who answers: `app.assistant.Assistant` in this process, or the resident's."""

    def ask(self, ask: Ask) -> Answer:
        """The answer, without the events on the way."""
        ...

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        """Answer `ask`. Closing the generator cancels; what came is kept as an incomplete turn.

        :raises LociError: any of `app.errors.LociError`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Profile:
    """Folders of one profile; they share nothing with another's."""

    name: str
    data: Path
    cache: Path
    config: Path
