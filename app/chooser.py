"""The way of a model too small for prose: steps 4 to 6 of a turn by choosing a span and its sentence (app.spans).

Taken whenever the engine that answers is not able to chat, which is so for `embedded`; doors say so themselves.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.answer import LeftOut, Text, TurnEvent, Used, Window
from app.answer_types import FITTING
from app.answerable import answerable
from app.judge import EngineJudge
from app.lookup import is_about, is_part
from app.paragraphs import is_row
from app.qualifiers import limited, turned
from app.query import FIRST_PERSON, to_second_person
from app.sentences import STOP_WORDS, Range, content_words
from app.settings_assistant import AssistantSettings
from app.spans import CLEAR, Choice, choose
from app.turn import Turn
from app.units import Text as SpanText
from memory.types import Recalled
from model.engine import Engine
from model.errors import UnsupportedConstraint
from retrieval.query import read_query
from retrieval.types import Passage

_LARGER = "Use a larger model for that: --model with a .gguf file, a folder of weights, or the URL of a server."
_WHO_AM_I = re.compile(r"\bwho (?:am i|are we)\b", re.IGNORECASE)


_EVERY = re.compile(r"\b(?:every|each) $", re.IGNORECASE)
_UNIT = re.compile(r"[ \u00a0-]?([a-zµ°²³%][\w/²³-]*)")
_LEADING_NUMBER = re.compile(r"(?:[-*+•–]\s+|#{1,6}\s+|\(?\d{1,3}(?:\.\d{1,3})*[.)]?\s+(?=[A-Z]))+")
"""The bullet or number of an item or clause, which is no part of what it says."""


class Chooser:
    """Answers with words of the passages or of a memory, or says that nothing supports an answer."""

    def __init__(self, engine: Engine, settings: AssistantSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._choice: Choice | None = None
        self._remembered: tuple[Recalled, Choice] | None = None

    def pack(self, turn: Turn) -> None:
        """Passages as found; the prompt is made of their best sentences.

        :raises UnsupportedConstraint: a JSON answer is asked for.
        """
        if turn.ask.schema is not None:
            raise UnsupportedConstraint("The embedded model cannot write JSON to a schema.", _LARGER)
        left = [
            LeftOut("the whole of " + name, "the embedded model reads passages only") for name in turn.ask.documents
        ]
        if turn.ask.system is not None:
            left.append(LeftOut("the system prompt", "the embedded model follows no instructions"))
        if turn.ask.best_of > 1:
            left.append(LeftOut(f"{turn.ask.best_of} answers to choose from", "the embedded model draws none"))
        turn.window = Window(self._engine.describe().context, Used(), tuple(left))

    def generate(self, turn: Turn) -> Iterator[TurnEvent]:
        """One choice; the text comes at once."""
        judge = EngineJudge(self._engine, turn.timed) if "score" in self._engine.describe().capabilities else None
        nearest = self._nearest_memory(turn)
        if nearest is not None and self._remembers(turn, nearest[1], alone=False):
            self._remembered = nearest
        if self._remembered is None and turn.passages:
            texts = [
                SpanText(p.text, f"{p.title} {p.locator.section or ''}", p.dense, p.start == 0) for p in turn.passages
            ]
            self._choice = choose(
                read_query(turn.query or turn.standalone).words, texts, turn.shelf.library.embed, judge
            )
            self._choice = _held_to_row(turn, self._held_to_text(turn, self._choice))
        if nearest is not None and not self._answers(self._choice) and self._remembers(turn, nearest[1], alone=True):
            self._remembered = nearest
        turn.usage = judge.usage if judge is not None else turn.usage
        turn.text = self._written(turn)
        yield Text(turn.text)

    def check(self, turn: Turn) -> None:
        """Cite the sentence or row around the span, from its own offsets; in a table, at the span's cell."""
        used = turn.window.used
        turn.window = Window(
            turn.window.window, Used(used.system, used.memories, turn.usage.prompt_tokens), turn.window.left_out
        )
        choice = self._choice
        if self._remembered is not None:
            recalled, chosen = self._remembered
            turn.cited.add(recalled.memory.id)
            turn.grounded = True
            turn.confidence = chosen.confidence
            return
        turn.confidence = choice.confidence if choice is not None else 0.0
        if not self._answers(choice):
            turn.abstained, turn.reason = True, self._why_not(turn)
            turn.cited.clear()
            return
        assert choice is not None  # _answers
        passage = turn.passages[choice.unit.text]
        at = turn.text.rindex("[1]")
        place = passage.start + choice.unit.range[0], passage.start + choice.unit.range[1]
        cited = turn.shelf.cite(1, (at, at + 3), passage, place, "verified")
        if cited.locator.cells is not None and (cell := field_of(passage.text, choice)) is not None:
            start, end = passage.start + cell[0], passage.start + cell[1]
            cited = replace(cited, locator=turn.shelf.locate(passage.document, start, end).locator)
        turn.citations = (cited,)
        turn.grounded = True

    # ---- inside ---------------------------------------------------------------------------------

    def _held_to_text(self, turn: Turn, choice: Choice | None) -> Choice | None:
        """The choice with the confidence that a text which was handed over answers at all: no search picked it out of
        many, so that its being near says more."""
        if (
            choice is None
            or choice.cell is not None
            or not turn.shelf.holds((passage := turn.passages[choice.unit.text]).document)
        ):
            return choice
        if not choice.confidence or choice.others:  # it names no amount, or the text is near for the sake of another
            return choice
        sure = answerable(read_query(turn.query or turn.standalone).words, passage, turn.shelf, choice.confidence)
        return choice if sure is None else replace(choice, confidence=sure)

    def _answers(self, choice: Choice | None) -> bool:
        return choice is not None and choice.confidence >= self._settings.abstain_below

    def _written(self, turn: Turn) -> str:
        choice = self._choice
        if self._remembered is not None:
            recalled, chosen = self._remembered
            text = recalled.memory.text
            fitting = chosen.kind in FITTING.get(chosen.wanted.kind, ())
            said = text[slice(*with_unit(text, chosen))] if fitting else to_second_person(text)
            return f"{said} [m{recalled.memory.id}]"
        if choice is None or not self._answers(choice):
            return _refusal(turn)
        return f"{written(turn.passages[choice.unit.text].text, choice)} [1]"

    def _nearest_memory(self, turn: Turn) -> tuple[Recalled, Choice] | None:
        """The memory that is likeliest to answer, and what of it."""
        found = [one for one in turn.memories if one.memory.kind != "episode"]
        if not found:
            return None
        question = "What is my name?" if _WHO_AM_I.search(turn.standalone) else turn.standalone
        choice = choose(question, [SpanText(one.memory.text) for one in found], turn.shelf.library.embed)
        return None if choice is None else (found[choice.unit.text], choice)

    def _remembers(self, turn: Turn, choice: Choice, alone: bool) -> bool:
        """Whether that choice from a memory answers.

        A document may well say something of "my boat" or of whoever else is asked about, so outside questions that
        plainly ask for a memory, one goes before the documents only if it has every word of the question, or, where
        that is about the user, most of them and the kind of thing asked for. Where no document answers (`alone`),
        most words do.
        """
        words, near = choice.unit.features["recall"], choice.unit.features["cosine"]
        if near < self._settings.memory_relevance:
            return False
        if turn.kind == "memory":
            return words >= 0.5 or near >= 0.6
        if FIRST_PERSON.search(turn.standalone) and choice.kind in FITTING.get(choice.wanted.kind, ()):
            return words >= 0.5
        return words >= (0.5 if alone else 0.99) and near >= 0.6

    def _why_not(self, turn: Turn) -> str:
        if turn.kind == "plain":
            return f"The embedded model answers from documents and memories only. {_LARGER}"
        if turn.kind == "memory" and not turn.passages:
            return "Nothing that is remembered about you answers this."
        if not turn.passages:
            return (
                "The library has nothing on this."
                if turn.ask.use_library
                else "The library was left out and no memory answers."
            )
        if self._choice is not None and self._choice.cell is not None:
            return f"The row on it has nothing under “{self._choice.cell.column}”."
        return (
            f"No passage supports an answer: the best has confidence {turn.confidence:.3f}, under "
            f"{self._settings.abstain_below:.2f}."
        )


def _held_to_row(turn: Turn, choice: Choice | None) -> Choice | None:
    """The choice without confidence where it is a whole row that the question names by columns alone, or one row of
    those that an average or a sum is asked of."""
    if choice is None or choice.cell is not None:
        return choice
    passage = turn.passages[choice.unit.text]
    text, named = passage.text, f"{passage.title} {passage.locator.section or ''}"
    whole = field_of(text, choice) is None and not is_about(text, choice.unit.range, choice.words)
    if whole or is_part(turn.standalone, text, choice.unit.range, named):
        return replace(choice, confidence=0.0)
    return choice


def written(text: str, choice: Choice) -> str:
    """What is said: the field of a row, the span with its unit, or the sentence without its bullet or number."""
    if (field := field_of(text, choice)) is not None:
        start, end = field
    elif choice.short and (choice.wanted.denied or not turned(text, choice.unit.range, with_unit(text, choice))):
        start, end = with_unit(text, choice)
    else:
        start, end = choice.unit.range
        start += len(lead.group()) if (lead := _LEADING_NUMBER.match(text[start:end])) else 0
    return " ".join(text[start:end].split())


def field_of(text: str, choice: Choice) -> Range | None:
    """The field (`Header: value`) or cell of a row that is asked for; None outside rows, or if none stands out.

    A field whose header the question names goes before the one the span is in, unless the question names its value
    too: that is what the row is about.
    """
    first, last = choice.unit.range
    if choice.cell is not None:
        label = f"{choice.cell.column}: "
        start, end = choice.span
        return start - len(label) if text.endswith(label, first, start) else start, end
    row = text[first:last]
    separator = next((one for one in ("; ", " | ", "\t") if one in row), None)
    if separator is None or "\n" in row or not is_row(row):
        return None
    fields, at = [], first
    for part in row.split(separator):
        bare = part.strip("| ")
        start = at + part.find(bare)
        fields.append((start, start + len(bare)))
        at += len(part) + len(separator)
    named = [one for one in fields if _names(text[slice(*one)], choice)]
    if len(named) == 1:
        return named[0]
    holding = [one for one in fields if one[0] <= choice.span[0] and choice.span[1] <= one[1]]
    return holding[0] if holding and (holding[0] in named or choice.share >= CLEAR) else None


def _names(field: str, choice: Choice) -> bool:
    """Whether the question names the header of `field` and asks for a thing such as its value."""
    header, _, value = field.partition(": ")
    if not value or not set(content_words(header)) & choice.words:
        return False
    counted = choice.wanted.kind in ("money", "number", "percent", "time", "date", "duration", "frequency")
    return not set(content_words(value)) & choice.words and (not counted or any(c.isdigit() for c in value))


def with_unit(text: str, choice: Choice) -> Range:
    """The span, and after a bare number its unit ("4 knots") unless the question named it ("how many boats"); before
    a time that recurs, "every"."""
    start, end = choice.span
    if choice.wanted.kind == "frequency" and (every := _EVERY.search(text[choice.unit.range[0] : start])):
        start -= len(every.group())
    if choice.kind == "number" and choice.wanted.lead != "how many":
        unit = _UNIT.match(text, end, choice.unit.range[1])
        if unit is not None and unit.group(1).casefold() not in STOP_WORDS:
            end = unit.end()
    return limited(text, choice.unit.range, (start, end))


def _refusal(turn: Turn) -> str:
    if turn.kind == "plain":
        return "The embedded model cannot do this: it only finds answers in your documents and memories."
    if turn.kind == "memory":
        return "I do not remember anything that answers this, and the documents do not say."
    return "The documents do not say."


def distinct(passages: Sequence[Passage], limit: int) -> list[Passage]:
    """The first `limit` passages that do not repeat the text of a better one."""
    kept: list[Passage] = []
    for one in passages:
        if any(
            p.document == one.document and p.start < one.end and one.start < p.end and _shared(p, one) > 0.5
            for p in kept
        ):
            continue
        kept.append(one)
    return kept[:limit]


def _shared(a: Passage, b: Passage) -> float:
    return (min(a.end, b.end) - max(a.start, b.start)) / max(min(a.end - a.start, b.end - b.start), 1)
