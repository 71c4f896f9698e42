"""The state of one turn while it is being answered, and the ways to answer that fill it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from app.answer import Answer, Ask, Citation, LeftOut, ModelUsed, Step, Timing, TurnEvent, Used, UsedMemory, Window
from app.query import Exchange, Kind
from app.sentences import Range
from app.shelf import Shelf
from app.steps import Plan
from memory.types import Recalled
from model.engine import EngineInfo, Usage
from retrieval.types import Passage

NO_MODEL = ModelUsed("", "torch", "none", "none", ())
"""Of an answer that needed no model: from the catalogue, or the acknowledgement of a statement."""

_UNEMBEDDED = "of another embedder: recalled by words alone until `loci memory reindex`"


@dataclass
class Turn:
    """What is known so far; `result` makes the answer of it. Times in milliseconds."""

    ask: Ask
    shelf: Shelf
    epoch: int
    history: Sequence[Exchange] = ()
    kind: Kind = "library"
    standalone: str = ""
    """The question without the conversation around it, in the user's words."""
    query: str = ""
    """The same with "my boat" replaced by what the memories say it is."""
    subjects: tuple[str, ...] = ()
    """Ids of the documents or attachments to be summed up, or to be asked one by one."""
    beyond: tuple[str, ...] = ()
    """Titles of documents that a summary leaves out."""
    length: int | None = None
    """Sentences that a summary is to have."""
    plan: Plan | None = None
    """How the question is to be asked in steps."""
    steps: tuple[Step, ...] = ()
    """In which the question was answered."""
    table_query: str | None = None
    """The query over a table's rows that answered."""
    memories: list[Recalled] = field(default_factory=list)
    cited: set[int] = field(default_factory=set)
    """Memories that the answer or its query used."""
    unembedded: int = 0
    """Memories of another embedder, whose vectors were not compared with the question."""
    passages: list[Passage] = field(default_factory=list)
    window: Window = field(default_factory=lambda: Window(0, Used()))
    text: str = ""
    """What was streamed; after the check, the answer."""
    thought: str = ""
    reasoning: str | None = None
    grounded: bool = False
    abstained: bool = False
    reason: str | None = None
    confidence: float | None = None
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[Range, ...] = ()
    model: ModelUsed = NO_MODEL
    usage: Usage = field(default_factory=Usage)
    timing: dict[str, float] = field(default_factory=dict)
    session: int | None = None
    id: int | None = None
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time spent inside to `part` of the timing."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timing[part] = self.timing.get(part, 0.0) + 1000 * (time.perf_counter() - began)

    def used(self) -> tuple[UsedMemory, ...]:
        return tuple(
            UsedMemory(one.memory.id, one.memory.text, one.score, one.memory.id in self.cited) for one in self.memories
        )

    def spend(self, usage: Usage) -> None:
        """Add the tokens of one more call of the model."""
        own = self.usage
        self.usage = Usage(
            own.prompt_tokens + usage.prompt_tokens,
            own.cached_tokens + usage.cached_tokens,
            own.completion_tokens + usage.completion_tokens,
            own.drafted + usage.drafted,
            own.accepted + usage.accepted,
        )

    def describe(self, info: EngineInfo) -> None:
        self.model = ModelUsed(info.reference, info.engine, info.architecture, info.quantization, info.devices)

    def result(self) -> Answer:
        several = "memory" if self.unembedded == 1 else "memories"
        left = [LeftOut(f"the meaning of {self.unembedded:,} {several}", _UNEMBEDDED)] if self.unembedded else []
        timing = replace(Timing(**self.timing), total=1000 * (time.perf_counter() - self.began))
        return Answer(
            question=self.ask.question,
            standalone_question=self.standalone or self.ask.question,
            answer=self.text,
            reasoning=self.reasoning,
            grounded=self.grounded,
            abstained=self.abstained,
            reason=self.reason,
            confidence=self.confidence,
            citations=self.citations,
            unsupported=self.unsupported,
            query=self.table_query,
            memories=self.used(),
            context=replace(self.window, left_out=(*self.window.left_out, *left)),
            scope=self.ask.scope,
            library_epoch=self.epoch,
            seed=self.ask.seed,
            model=self.model,
            usage=self.usage,
            timing_ms=timing,
            session=self.session,
            turn=self.id,
            steps=self.steps,
        )


class Way(Protocol):
    """One way to answer: steps 4 to 6 of a turn, each filling the turn's fields."""

    def pack(self, turn: Turn) -> None: ...

    def generate(self, turn: Turn) -> Iterator[TurnEvent]: ...

    def check(self, turn: Turn) -> None: ...
