"""The way of a model that writes: steps 4 to 6 of a turn by a packed prompt, a stream of tokens and the citation
check."""

import json
import re
import time
from collections.abc import Iterator

from app import prompts
from app.answer import Started, Status, Text, TurnEvent
from app.best_of import MOST, best, draw
from app.claims import split_reasoning
from app.context import SLACK, Whole, budget, initial_rate, openings, pack, worth_whole
from app.context import Packed as Prompt
from app.grounding import Checked, check
from app.mend import mended
from app.quotes import find, proves
from app.settings_assistant import AssistantSettings
from app.turn import Turn
from model.engine import Delta, Engine, Finished, JsonSchema, KeepsShelves, Prefilling, Request, Sampling
from model.errors import UnsupportedConstraint
from retrieval.types import DocumentInfo, Locator, Passage

_FEW = 64
"""Tokens under which the time of a prefill says nothing about its rate."""
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Rate:
    """Tokens that the engine reads per second: a guess until measured, then the mean of the recent measurements."""

    def __init__(self) -> None:
        self._measured: float | None = None

    def of(self, engine: Engine) -> float:
        return self._measured if self._measured is not None else initial_rate(engine.describe())

    def learn(self, finished: Finished) -> None:
        tokens = finished.usage.prompt_tokens - finished.usage.cached_tokens
        if tokens >= _FEW and finished.prefill_ms > 0:
            rate = 1000 * tokens / finished.prefill_ms
            self._measured = rate if self._measured is None else 0.7 * self._measured + 0.3 * rate


class Prose:
    """Packs, streams and checks. A question that is not about the library gets an ordinary answer, marked not
    grounded."""

    def __init__(self, engine: Engine, settings: AssistantSettings, rate: Rate) -> None:
        self._engine, self._settings, self._rate = engine, settings, rate
        self._prompt: Prompt | None = None
        self._held: dict[tuple[str, str], Checked] = {}
        """What was checked of the turn's answer already: a draft that stands is not held to its sources again."""

    def pack(self, turn: Turn) -> None:
        """The prompt; `turn.window` says what it took and what was left out.

        :raises UnsupportedConstraint: a JSON answer is asked of an engine that cannot be held to a schema.
        """
        ask, info = turn.ask, self._engine.describe()
        if ask.schema is not None and "json_schema" not in info.capabilities:
            raise UnsupportedConstraint(
                f"{info.name} cannot be held to a JSON schema.", "Leave out --schema, or use a GGUF model or a server."
            )
        reserved = min(ask.max_tokens, max(info.context // 2, 1))
        limit, why = budget(info, self._rate.of(self._engine), self._settings.prefill_seconds, reserved)
        plain = turn.kind == "plain"
        wholes = [] if plain else self._wholes(turn)
        system = "\n\n".join(part for part in (prompts.PLAIN if plain else prompts.SYSTEM, ask.system) if part)
        if limit < info.context and wholes and isinstance(self._engine, KeepsShelves):
            # What is at hand takes no time to read.
            ready = self._engine.at_hand(openings(system, [one.passage for one in wholes if one.asked])[0])
            window = info.context - reserved - SLACK
            limit = min(window, limit + ready)
        self._prompt = pack(
            turn.standalone,
            system=system,
            passages=[] if plain else turn.passages,
            wholes=wholes,
            memories=turn.memories,
            history=turn.history,
            turns=self._settings.history_turns,
            count=self._engine.count_tokens,
            window=info.context,
            limit=limit,
            why=why,
            reserved=reserved,
        )
        turn.window = self._prompt.window

    def _wholes(self, turn: Turn) -> list[Whole]:
        """Documents to read whole: those asked for, the pinned ones, and small ones that hold what was found."""
        library, shelf = turn.shelf.library, turn.shelf
        # Pinned ones first: they are the same from question to question, so that their reading is kept.
        pinned = turn.ask.use_library and not turn.ask.within
        asked = [d for d in library.documents(turn.ask.scope) if d.pinned] if pinned else []
        named = [library.document(reference) for reference in turn.ask.documents]
        asked += [d for d in named if d.id not in {a.id for a in asked}]
        wholes = [Whole(whole_document(d, shelf.text(d.id)), True) for d in asked]
        known = {p.document: p for p in turn.passages}
        for id in worth_whole(turn.passages, lambda d: len(shelf.text(d))):
            if id not in {a.id for a in asked}:
                p = known[id]
                wholes.append(Whole(_whole(id, p.path, p.title, shelf.text(id), p.text_sha256, p.collection), False))
        return wholes

    def generate(self, turn: Turn) -> Iterator[TurnEvent]:
        """Stream the model's words as they come."""
        assert self._prompt is not None  # pack comes first
        ask = turn.ask
        sampling = Sampling(
            temperature=ask.temperature,
            seed=ask.seed,
            max_tokens=min(ask.max_tokens, max(self._engine.describe().context // 2, 1)),
        )
        constraint = JsonSchema(ask.schema) if ask.schema is not None else None
        request = Request(self._prompt.messages, sampling, constraint)
        checkable = turn.kind != "plain" and ask.schema is None
        if ask.best_of > 1 and checkable:
            yield from self._best(turn, request)
        else:
            yield from self._stream(turn, request)
        if self._settings.mend and checkable:
            yield from self._mend(turn)

    def _stream(self, turn: Turn, request: Request) -> Iterator[TurnEvent]:
        for event in self._engine.generate(request):
            if isinstance(event, Prefilling):
                yield Started("read", event.done, event.total)
            elif isinstance(event, Delta):
                if event.reasoning:
                    turn.thought += event.text
                else:
                    turn.text += event.text
                yield Text(event.text, event.reasoning)
            elif isinstance(event, Finished):
                self._rate.learn(event)
                turn.usage = event.usage
                turn.timing |= {"prefill": event.prefill_ms, "decode": event.decode_ms}

    def _best(self, turn: Turn, request: Request) -> Iterator[TurnEvent]:
        """The best of several answers; it comes at once."""
        began = time.perf_counter()
        drawn = yield from draw(self._engine, request, min(turn.ask.best_of, MOST))
        read = drawn[0].prefill_ms
        turn.timing |= {"prefill": read, "decode": max(1000 * (time.perf_counter() - began) - read, 0.0)}
        with turn.timed("check"):
            chosen, turn.confidence = best(drawn, lambda one: self._checked(turn, one.text, one.thought))
        turn.text, turn.thought = chosen.text, chosen.thought
        for one in drawn:
            turn.spend(one.usage)
        yield Text(turn.text)

    def _mend(self, turn: Turn) -> Iterator[TurnEvent]:
        """Rewrite what no source supports."""
        assert self._prompt is not None
        draft = self._checked(turn, turn.text, turn.thought)
        text = yield from mended(
            self._engine,
            self._prompt.messages,
            draft,
            lambda text: self._checked(turn, text),
            self._settings.mend,
            turn.ask.seed,
            turn.spend,
        )
        if text != draft.answer:
            turn.text, turn.thought = text, draft.reasoning or ""

    def _checked(self, turn: Turn, text: str, thought: str = "") -> Checked:
        """A text held to all that the prompt gave."""
        assert self._prompt is not None
        if (text, thought) not in self._held:
            memories = [(one.memory.id, one.memory.text) for one in self._prompt.memories]
            checked = check(text, self._prompt.sources, turn.shelf, memories, thought.strip() or None)
            self._held[text, thought] = checked
        return self._held[text, thought]

    def check(self, turn: Turn) -> None:
        """Resolve every mark and quotation; flag what nothing supports."""
        assert self._prompt is not None
        if turn.kind == "plain":
            turn.text, thought = split_reasoning(turn.text)
            turn.reasoning = "\n\n".join(t for t in (turn.thought.strip(), thought) if t) or None
            turn.reason = (
                "This is not about the library: the model answered from what it learned, and nothing was checked."
            )
            return
        if turn.ask.schema is not None:
            self._check_json(turn)
            return
        checked = self._checked(turn, turn.text, turn.thought)
        turn.text, turn.reasoning = checked.answer, checked.reasoning
        turn.citations, turn.unsupported = checked.citations, checked.unsupported
        turn.cited |= set(checked.memories)
        turn.grounded = checked.supported
        turn.abstained = checked.refused and not checked.supported
        if turn.abstained:
            turn.reason = "The model found no answer in what it was given."
        elif not turn.grounded:
            turn.reason = "Nothing in the documents or memories supports this answer."

    def _check_json(self, turn: Turn) -> None:
        """Strings of a JSON answer that stand in a source are cited; a schema leaves no room for marks."""
        assert self._prompt is not None
        turn.text, turn.reasoning = split_reasoning(turn.text)
        found = []
        for match in _STRING.finditer(turn.text):
            value = json.loads(match.group())
            for source in self._prompt.sources if proves(value) else ():
                p = source.passage
                if (hit := find(value, turn.shelf.text(p.document), (p.start, p.end))) is not None:
                    status: Status = "verified" if hit.exact else "repaired"
                    found.append(turn.shelf.cite(source.n, match.span(), p, (hit.start, hit.end), status))
                    break
        turn.citations, turn.grounded = tuple(found), bool(found)
        if not found:
            turn.reason = "No value of this answer is a quotation from the documents."


def whole_document(document: DocumentInfo, text: str) -> Passage:
    """All of a document as one passage."""
    return _whole(document.id, document.path, document.title, text, document.text_sha256, document.collection)


def _whole(id: str, path: str, title: str, text: str, sha256: str, collection: str) -> Passage:
    return Passage(-1, id, path, title, None, 1, 0, len(text), Locator(), text, sha256, collection, 1.0)
