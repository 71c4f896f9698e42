"""One turn, the main path: every door calls it and none has a copy.

Knows the order of the steps. How each is done stands in the modules it names; what a turn knows so far is
`app.turn.Turn`.
"""

import json
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app import catalogue
from app.answer import Answer, Ask, Begun, Completed, Found, Packed, Started, Text, TurnEvent
from app.asked_before import answered_before
from app.chooser import Chooser, distinct
from app.earlier import history
from app.every import answer_every
from app.in_steps import answer_in_steps
from app.prose import Prose, Rate
from app.query import FIRST_PERSON, kind_of, standalone, standalone_by, with_memory
from app.router import route
from app.settings_assistant import AssistantSettings
from app.shelf import Library, Shelf
from app.steps import plan, plan_by
from app.summary.subjects import MOST, sentence_count, subjects
from app.summary.ways import Condense, Extract
from app.tables import reply as tables
from app.turn import Turn, Way
from memory.banks import Bank
from memory.types import Memory
from model.engine import Engine
from retrieval.query import check_dates, loosened
from retrieval.types import Passage

if TYPE_CHECKING:
    from memory.store import MemoryStore

_FOLLOWED = 6
"""Latest turns in which a follow-up's "it" is looked for."""
_MINE = re.compile(r"\b(?:my|mine|our|ours|me)\b", re.IGNORECASE)
"""Of what the memory knows better than any table."""
_SAVE_EVERY = 0.5
"""Seconds between two writes of a partial answer: a killed process loses at most this much of it."""


class Assistant:
    """Owns the sequence of a turn. Not thread-safe: one turn at a time, like the engine."""

    def __init__(
        self, engine: Callable[[], Engine], library: Library, memory: "MemoryStore | None", settings: AssistantSettings
    ) -> None:
        self._load = engine
        self._loaded: Engine | None = None
        self._library = library
        self._memory = memory
        self._settings = settings
        self._rate = Rate()

    def ask(self, ask: Ask) -> Answer:
        """The answer, without the events on the way."""
        answers = [event.answer for event in self.turn(ask) if isinstance(event, Completed)]
        return answers[0]

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        """Answer `ask`. Closing the generator cancels; what came is kept as an incomplete turn.

        :raises LociError: any of `app.errors.LociError`.
        """
        if earlier := answered_before(self._memory, ask):
            yield Completed(earlier)
            return
        if ask.use_library and not ask.whole:  # what a step asks may have words of a document
            check_dates(ask.question)
        turn = Turn(ask, Shelf(self._library, ask.attachments), self._epoch(ask))
        with self._kept(turn):
            if turn.session is not None and turn.id is not None:
                yield Begun(turn.session, turn.id)
            # 1. The question, standing alone, and its kind. Statement, catalogue and rows need no model.
            self._understand(turn)
            if turn.kind == "steps":
                yield from self._in_steps(turn)
            if turn.kind == "every":
                documents = [self._library.document(id) for id in turn.subjects]
                yield from answer_every(turn, self._library, documents, self.ask)
            elif turn.kind not in ("statement", "catalogue", "table", "steps"):
                yield from self._ready(turn)
                way = self._way(turn)
                # 2. What is known about the user.
                yield Started("recall")
                self._recall(turn)
                # 3. Passages of the library and of the attachments.
                yield Started("retrieve")
                self._retrieve(turn)
                yield Found(turn.passages, turn.used())
                # 4. One prompt inside the window and the time.
                yield Started("pack")
                way.pack(turn)
                yield Packed(turn.window)
                # 5. The model's words, saved as they come.
                yield Started("answer")
                yield from self._saved(turn, way.generate(turn))
                # 6. Every citation held to its source.
                yield Started("check")
                with turn.timed("check"):
                    way.check(turn)
            # 7. The episode, what the user told, and what was of use.
            yield Started("remember")
            remembered = self._remember(turn)
            answer = self._finish(turn)
        yield Completed(answer, tuple((one.id, one.text) for one in remembered if one.state == "active"))

    # ---- 1 ----------------------------------------------------------------------------------------

    def _epoch(self, ask: Ask) -> int:
        return ask.library_epoch if ask.library_epoch is not None else self._library.epoch()

    def _understand(self, turn: Turn) -> None:
        turn.history = history(turn, self._memory) if self._settings.history_turns else []
        turn.standalone = turn.ask.question
        turn.kind = kind_of(turn.ask.question)
        if turn.kind in ("library", "memory"):  # a greeting or a statement leans on nothing
            turn.standalone = standalone(turn.ask.question, turn.history[-_FOLLOWED:])
            turn.kind = kind_of(turn.standalone)
        if turn.kind == "catalogue" and turn.ask.summary is None:
            if not turn.ask.use_library or turn.ask.attachments or turn.ask.within:
                turn.kind = "library"  # the files meant may be the attachments
                return
            turn.text = catalogue.answer(turn.standalone, self._library.documents(turn.ask.scope), turn.ask.scope)
            turn.grounded = True
        self._route(turn)
        if turn.kind in ("plain", "statement") and (turn.ask.attachments or turn.ask.documents or turn.ask.within):
            turn.kind = "library"  # "translate this" is about what was handed over

    def _route(self, turn: Turn) -> None:
        """Send the turn on the way of its question, where that is another than looking it up and certain to answer."""
        told = turn.ask.summary is not None
        ours = turn.kind == "memory" and not _MINE.search(turn.standalone)  # "how much do we spend on ropes in total?"
        if not (told or ours or turn.kind in ("library", "plain")):  # plain: "write a summary of the lease"
            return
        found = tables.within(turn.ask, turn.standalone, self._library)
        way = "summary" if told else route(turn.standalone, found)
        if turn.ask.whole and way != "table":
            return
        formed = turn.ask.schema is not None or turn.ask.system is not None  # a form that only the usual way can give
        if way == "summary" and (told or not formed) and self._sums_up(turn):
            turn.kind = "summary"
        elif told:
            turn.kind = "library"
        elif way == "every" and turn.kind != "plain" and not formed and self._asks_every(turn):
            turn.kind = "every"
        elif way == "table" and turn.kind != "plain" and tables.reply(turn, self._library, found):
            turn.kind = "table"
        elif turn.kind == "library" and not (turn.ask.whole or formed or turn.ask.documents):
            turn.plan = plan(turn.standalone)
            turn.kind = "steps" if turn.plan is not None else turn.kind

    def _sums_up(self, turn: Turn) -> bool:
        """Whether the documents that a summary is asked of are certain."""
        ask = turn.ask
        turn.length = ask.summary or sentence_count(turn.standalone)
        if ask.summary is None and ask.attachments:
            turn.subjects = turn.shelf.attachments()
            return True
        bound = ask.within or ask.documents
        documents = [self._library.document(id) for id in bound] or self._library.documents(ask.scope)
        if not ask.use_library:
            documents = []
        elif ask.summary is None and not bound:
            documents = subjects(turn.standalone, documents)
        turn.subjects = tuple(one.id for one in documents[:MOST])
        turn.beyond = tuple(one.title for one in documents[MOST:])
        return bool(documents)

    def _asks_every(self, turn: Turn) -> bool:
        """Whether there are documents to ask one by one."""
        ask = turn.ask
        if not ask.use_library or ask.attachments or ask.documents or len(ask.within) == 1:
            return False
        turn.subjects = ask.within or tuple(one.id for one in self._library.documents(ask.scope))
        return len(turn.subjects) > 1

    def _in_steps(self, turn: Turn) -> Iterator[TurnEvent]:
        """Ask one thing after the other; a model that writes may find that the question is one."""
        yield from self._ready(turn)
        if turn.plan is not None and self._loaded is not None and self._writes:
            turn.plan = plan_by(self._loaded, turn.standalone, turn.plan)
        if turn.plan is None:
            turn.kind = "library"
        else:
            yield from answer_in_steps(turn, turn.plan, self.turn, self._writes)

    def _ready(self, turn: Turn) -> Iterator[TurnEvent]:
        """Load the model if this is the first question; a model that writes may restate a follow-up better than the
        rules."""
        if self._loaded is None:
            yield Started("load")
            with turn.timed("load"):
                self._loaded = self._load()
        turn.describe(self._loaded.describe())
        if self._writes and turn.kind in ("library", "memory"):
            turn.standalone = standalone_by(self._loaded, turn.ask.question, turn.history[-_FOLLOWED:])

    @property
    def _writes(self) -> bool:
        """Whether the loaded model writes prose; one that does not chooses among what was found."""
        return self._loaded is not None and "chat" in self._loaded.describe().capabilities

    def _way(self, turn: Turn) -> Way:
        assert self._loaded is not None  # _ready comes first
        if turn.kind == "summary":
            return Condense(self._loaded) if self._writes else Extract(self._loaded)
        if not self._writes:
            return Chooser(self._loaded, self._settings)
        if not turn.ask.use_library and not turn.ask.attachments and not turn.ask.documents and turn.kind == "library":
            turn.kind = "plain"
        return Prose(self._loaded, self._settings, self._rate)

    # ---- 2, 3 -------------------------------------------------------------------------------------

    def _recall(self, turn: Turn) -> None:
        turn.query = turn.standalone
        if turn.kind == "summary" or self._memory is None or not turn.ask.use_memory or not self._settings.memories:
            return
        with turn.timed("recall"):
            many = self._settings.memories
            # What chooses among statements can do nothing with an episode; what writes reads a few, and one summary.
            budget: dict[Bank, int] = {"statement": many}
            if self._writes:
                budget |= {"episode": 2, "session": 1}
            found = self._memory.recall(turn.standalone, scopes=turn.ask.scope, limit=many, budget=budget)
            # A turn that was taken up again is not told what it taught before it was cut off.
            turn.memories = [one for one in found if turn.id is None or one.memory.source.turn != turn.id]
            turn.unembedded = self._memory.unembedded()
            known = [(one.memory.id, one.memory.text) for one in turn.memories]
            turn.query, used = with_memory(turn.standalone, known)
            turn.cited |= set(used)

    def _retrieve(self, turn: Turn) -> None:
        ask, limit = turn.ask, self._settings.passages
        if turn.kind == "summary" or (turn.kind == "plain" and self._writes):
            return
        with turn.timed("retrieve"):
            found: list[Passage] = turn.shelf.attached(turn.query, limit)
            if ask.use_library:
                if ask.documents:
                    found += self._search(turn, turn.query, ask.documents)
                searches = [self._search(turn, query, ask.within or None) for query in self._queries(turn)]
                found += [one for rank in range(limit) for search in searches for one in search[rank : rank + 1]]
            turn.passages = distinct(found, limit)

    def _queries(self, turn: Turn) -> list[str]:
        """The question; and where it speaks of the user and no memory named the thing, the question with the nearest
        memory."""
        near = [one for one in turn.memories if (one.dense or 0.0) >= self._settings.memory_relevance]
        if not near or turn.query != turn.standalone or not FIRST_PERSON.search(turn.standalone):
            return [turn.query]
        return [turn.query, f"{turn.query} {near[0].memory.text}"]

    def _search(self, turn: Turn, query: str, documents: tuple[str, ...] | None) -> list[Passage]:
        """The best passages. Words that a question quotes may be worded otherwise in the documents: if none has them
        as they stand, they are words like others."""
        for wording in (query, loosened(query)):
            found = (
                []
                if wording is None
                else self._library.search(
                    wording,
                    collections=turn.ask.scope,
                    limit=self._settings.passages,
                    documents=documents,
                    epoch=turn.ask.library_epoch,
                )
            )
            if found:
                return found
        return []

    # ---- 5, 7 -------------------------------------------------------------------------------------

    def _saved(self, turn: Turn, events: Iterator[TurnEvent]) -> Iterator[TurnEvent]:
        """Pass the events on, writing the partial answer every now and then."""
        saved = time.monotonic()
        for event in events:
            if (
                isinstance(event, Text)
                and turn.id is not None
                and self._memory is not None
                and time.monotonic() - saved >= _SAVE_EVERY
            ):
                self._memory.update_turn(turn.id, turn.text)
                saved = time.monotonic()
            yield event

    def _remember(self, turn: Turn) -> list[Memory]:
        """Learn from the user's own words, and from which recalled memories the answer used."""
        remembered: list[Memory] = []
        if self._memory is not None and turn.id is not None:
            remembered = self._memory.observe(
                turn.id, turn.ask.question, recalled=turn.memories, cited=sorted(turn.cited), scope=turn.ask.scope[0]
            )
        if turn.kind == "statement":
            asked = turn.ask.question
            secret = self._memory is not None and self._memory.plain(asked) != asked
            turn.text = _acknowledged(remembered, stored=turn.id is not None, secret=secret)
        return remembered

    @contextmanager
    def _kept(self, turn: Turn) -> Iterator[None]:
        """Begin the turn in the memory database; whatever ends it early leaves it there as incomplete."""
        ask, memory = turn.ask, self._memory
        if memory is None or not ask.store:
            turn.session = ask.session
            yield
            return
        turn.id = memory.begin_turn(ask.session, ask.question, after=ask.after, scope=ask.scope[0], request=ask.request)
        turn.session = memory.turn(turn.id).session
        try:
            yield
        except BaseException:  # a closed generator included: what came is kept
            memory.finish_turn(turn.id, turn.text, json.dumps(turn.result().to_json(), ensure_ascii=False), False)
            raise

    def _finish(self, turn: Turn) -> Answer:
        turn.citations = turn.shelf.held_to_disk(turn.citations)
        answer = turn.result()
        if self._memory is not None and turn.id is not None:
            self._memory.finish_turn(turn.id, answer.answer, json.dumps(answer.to_json(), ensure_ascii=False), True)
        return answer


def _acknowledged(remembered: list[Memory], stored: bool, secret: bool) -> str:
    if not stored:
        return "Nothing was stored: memory is off for this question."
    if not remembered and secret:
        return "Secrets are not stored, and there was nothing else to remember."
    if not remembered:
        return "Understood. There was nothing new to remember."
    kept = "; ".join(one.text.rstrip(".") for one in remembered if one.state == "active")
    gone = "; ".join(one.text.rstrip(".") for one in remembered if one.state == "tombstone")
    return " ".join([f"I will remember: {kept}."] * bool(kept) + [f"I have forgotten: {gone}."] * bool(gone))
