"""The way of a model too small for prose: steps 4 to 6 of a turn by choosing a span and its sentence (app.spans).

Doors show `NOTE` beside such answers: whenever the engine that answered is not able to chat, which is so for
`embedded`.
"""

import re
from collections.abc import Iterator, Sequence

from app.answer import LeftOut, Text, TurnEvent, Used, Window
from app.grounding import citation
from app.query import to_second_person
from app.settings_assistant import AssistantSettings
from app.spans import Choice, choose
from app.spans import Text as SpanText
from app.turn import Turn
from memory.types import Recalled
from model.engine import Engine, Score, Usage
from model.errors import UnsupportedConstraint
from retrieval.types import Passage

NOTE = (
    "Answered by the small embedded model, which picks sentences from your documents and does not reason. Name a "
    "larger one with --model."
)
_LARGER = "Use a larger model for that: --model with a .gguf file, a folder of weights, or the URL of a server."
_WHO_AM_I = re.compile(r"\bwho (?:am i|are we)\b", re.IGNORECASE)


class Chooser:
    """Answers with words of the passages or of a memory, or says that nothing supports an answer."""

    def __init__(self, engine: Engine, settings: AssistantSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._choice: Choice | None = None
        self._remembered: Recalled | None = None
        self._prompt_tokens = 0

    def pack(self, turn: Turn) -> None:
        """Passages as found; the prompt is made of those that the candidates stand in.

        :raises UnsupportedConstraint: a JSON answer is asked for.
        """
        if turn.ask.schema is not None:
            raise UnsupportedConstraint("The embedded model cannot write JSON to a schema.", _LARGER)
        left = [
            LeftOut("the whole of " + name, "the embedded model reads passages only") for name in turn.ask.documents
        ]
        if turn.ask.system is not None:
            left.append(LeftOut("the system prompt", "the embedded model follows no instructions"))
        turn.window = Window(self._engine.describe().context, Used(), tuple(left))

    def generate(self, turn: Turn) -> Iterator[TurnEvent]:
        """One choice; the text comes at once."""
        with turn.timed("decode"):
            embed = turn.shelf.library.embed
            if turn.kind == "memory":
                self._remembered = self._from_memory(turn)
            if self._remembered is None:
                texts = [SpanText(p.text, f"{p.title} {p.locator.section or ''}", p.dense) for p in turn.passages]
                question = turn.query or turn.standalone
                scores = self._scores if "score" in self._engine.describe().capabilities else None
                self._choice = choose(question, texts, embed, scores) if texts else None
            turn.text = self._written(turn)
        yield Text(turn.text)

    def check(self, turn: Turn) -> None:
        """Cite the sentence or row around the span, from its own offsets."""
        turn.usage = Usage(prompt_tokens=self._prompt_tokens)
        used = turn.window.used
        turn.window = Window(
            turn.window.window, Used(used.system, used.memories, self._prompt_tokens), turn.window.left_out
        )
        choice = self._choice
        if self._remembered is not None:
            turn.cited.add(self._remembered.memory.id)
            turn.grounded = True
            turn.confidence = self._remembered.score if 0 <= self._remembered.score <= 1 else None
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
        turn.citations = (citation(1, (at, at + 3), passage, place, "verified", turn.shelf),)
        turn.grounded = True

    # ---- inside ---------------------------------------------------------------------------------

    def _answers(self, choice: Choice | None) -> bool:
        return choice is not None and choice.confidence >= self._settings.abstain_below

    def _written(self, turn: Turn) -> str:
        choice = self._choice
        if self._remembered is not None:
            said = to_second_person(self._remembered.memory.text)
            return f"{said} [m{self._remembered.memory.id}]"
        if choice is None or not self._answers(choice):
            return _refusal(turn)
        text = turn.passages[choice.unit.text].text
        start, end = choice.span if choice.short else choice.unit.range
        return f"{' '.join(text[start:end].split())} [1]"

    def _from_memory(self, turn: Turn) -> Recalled | None:
        """The memory that answers a question about the user, if one does."""
        found = [one for one in turn.memories if one.memory.kind != "episode"]
        if not found:
            return None
        question = "What is my name?" if _WHO_AM_I.search(turn.standalone) else turn.standalone
        choice = choose(question, [SpanText(one.memory.text) for one in found], turn.shelf.library.embed)
        if choice is None:
            return None
        features = choice.unit.features
        near = features["cosine"] >= self._settings.memory_relevance
        return found[choice.unit.text] if near and (features["recall"] >= 0.5 or features["cosine"] >= 0.6) else None

    def _scores(
        self, question: str, passages: Sequence[str], candidates: Sequence[tuple[int, str]]
    ) -> tuple[Score, list[Score]]:
        from model.spanformat import NOT_FOUND, answer_continuation, span_prompt

        prompt = span_prompt(question, passages)
        self._prompt_tokens = self._engine.count_tokens(prompt)
        none, *scores = self._engine.score(
            prompt, [NOT_FOUND, *(answer_continuation(n, span) for n, span in candidates)]
        )
        return none, scores

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
        return (
            f"No passage supports an answer: the best has confidence {turn.confidence:.2f}, under "
            f"{self._settings.abstain_below:.2f}."
        )


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
