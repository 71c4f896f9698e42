"""The ways to sum up documents, beyond what a window holds: chosen sentences, or a model's own that were checked.

Map and reduce with one step: passages that fit the window become a few statements, each with its evidence; the
evidence of all windows is what the next round reads, until one window holds it. So every statement of the last round
is checked against the documents' own words, never against another summary.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from app import prompts
from app.answer import LeftOut, Started, Text, TurnEvent, Used, Window
from app.claims import split_reasoning
from app.context import SLACK
from app.grounding import Source, check
from app.places import within
from app.sentences import Range
from app.summary.extract import choose
from app.summary.parts import Part, ends, parts, passage, passages, standing_alone, tellable
from app.summary.statements import Statement, composed, proven
from app.turn import Turn
from model.engine import Delta, Engine, Finished, Message, Request, Sampling
from model.errors import UnsupportedConstraint
from retrieval.types import Passage

SENTENCES = 8
"""Of a summary that says nothing about its length."""
_EMBEDDED = 600
"""Sentences of one document that are embedded: about a second on two cores."""
_RUN = 25
"""Sentences that are looked at together; a longer section is several."""
_ROUNDS = 5
_LEANS = (
    "it ",
    "this ",
    "that ",
    "these ",
    "those ",
    "they ",
    "he ",
    "she ",
    "however",
    "but ",
    "and ",
    "also ",
    "such ",
)


class Extract:
    """Sentences chosen word for word: all that a model too small for prose can do, and it cannot be wrong."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pack(self, turn: Turn) -> None:
        """
        :raises UnsupportedConstraint: a JSON answer is asked for.
        """
        if turn.ask.schema is not None:
            raise UnsupportedConstraint("A summary has no JSON schema.", "Leave out --schema.")
        turn.window = Window(self._engine.describe().context, Used(), _left_out(turn))

    def generate(self, turn: Turn) -> Iterator[TurnEvent]:
        count = turn.length or SENTENCES
        each = max(count // max(len(turn.subjects), 1), 1)
        listed: list[tuple[str, list[Statement]]] = []
        total = 0
        for done, id in enumerate(turn.subjects):
            yield Started("read", done, len(turn.subjects))
            own = list(parts(turn.shelf, [id]))
            text = turn.shelf.text(id)
            found = [(part, place) for part in own for place in tellable(text, part)]
            found = [(part, place) for part, place in found if ends(text[slice(*place)])] or found
            total += len(found)
            chosen = _chosen(turn, found, each)
            if chosen:
                title = own[0].title if len(turn.subjects) > 1 else ""
                listed.append((title, [_cited(turn, part, place) for part, place in chosen]))
        kept = sum(len(statements) for _, statements in listed)
        _tell(turn, listed, f"{kept} of {total} sentences, chosen word for word")
        yield Text(turn.text)

    def check(self, turn: Turn) -> None:
        """Nothing is left to check: each sentence is cut from its document."""


class Condense:
    """A model's own sentences, of which those stay that the documents prove."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made = 0

    def pack(self, turn: Turn) -> None:
        """
        :raises UnsupportedConstraint: a JSON answer is asked for.
        """
        Extract(self._engine).pack(turn)

    def generate(self, turn: Turn) -> Iterator[TurnEvent]:
        count = turn.length or SENTENCES
        read = [one for part in parts(turn.shelf, turn.subjects) for one in passages(turn.shelf, part)]
        statements: list[Statement] = []
        for _ in range(_ROUNDS):
            windows = self._windows(read, count)
            statements = []
            for done, window in enumerate(windows):
                yield Started("read", done, len(windows))
                statements += self._statements(turn, window, count)
            evidence = _evidence(turn, statements)
            if len(windows) <= 1 or len(evidence) >= len(read):
                break
            read = evidence
        if not statements:
            yield from Extract(self._engine).generate(turn)
            return
        # What could not be brought into one window is cut to length; no statement is without proof.
        _tell(
            turn, [("", statements[:count] if len(statements) > 2 * count else statements)], self._how(len(statements))
        )
        yield Text(turn.text)

    def check(self, turn: Turn) -> None:
        """Nothing is left to check: what was not proven is not in the text."""

    def _how(self, kept: int) -> str:
        return f"written by {self._engine.describe().name}; {kept} of its last {self._made} sentences are proven"

    def _windows(self, read: Sequence[Passage], count: int) -> list[list[Passage]]:
        """`read` in runs that fit the model's window beside the instructions and the answer."""
        info = self._engine.describe()
        room = info.context - self._reserved() - SLACK - self._engine.count_tokens(prompts.summary(count)) - 64
        windows: list[list[Passage]] = []
        used = room + 1
        for one in read:
            size = self._engine.count_tokens(_shown(1, one)) + 4
            if used + size > room:
                windows.append([])
                used = 0
            windows[-1].append(one)
            used += size
        return windows

    def _reserved(self) -> int:
        return min(1024, self._engine.describe().context // 4)

    def _statements(self, turn: Turn, window: Sequence[Passage], count: int) -> list[Statement]:
        """What the model says of some passages, as far as they prove it."""
        shown = "\n".join(_shown(n, one) for n, one in enumerate(window, 1))
        messages = (Message("system", prompts.summary(count)), Message("user", f"{shown}\n\nThe summary:"))
        sampling = Sampling(temperature=turn.ask.temperature, seed=turn.ask.seed, max_tokens=self._reserved())
        written = ""
        for event in self._engine.generate(Request(messages, sampling)):
            if isinstance(event, Delta) and not event.reasoning:
                written += event.text
            elif isinstance(event, Finished):
                turn.spend(event.usage)
                turn.timing["prefill"] = turn.timing.get("prefill", 0.0) + event.prefill_ms
                turn.timing["decode"] = turn.timing.get("decode", 0.0) + event.decode_ms
        with turn.timed("check"):
            sources = [Source(n, one, one.title) for n, one in enumerate(window, 1)]
            kept, self._made = proven(check(split_reasoning(written)[0], sources, turn.shelf))
        return kept


def _chosen(turn: Turn, found: Sequence[tuple[Part, Range]], count: int) -> list[tuple[Part, Range]]:
    runs = _runs(found)
    if len(found) > _EMBEDDED:  # of each run its first sentences, where a text says what it is about
        runs = [run[: max(_EMBEDDED // len(runs), 1)] for run in runs][:_EMBEDDED]
    kept = [one for run in runs for one in run]
    if not kept:
        return []
    texts = [turn.shelf.text(part.document)[slice(*place)] for part, place in kept]
    vectors = turn.shelf.library.embed(texts)  # [N, D]
    opening = {run[0][1] for run in runs}
    weight = [
        (0.05 if place in opening else 0.0) - (0.1 if text.casefold().startswith(_LEANS) else 0.0)
        for (_, place), text in zip(kept, texts, strict=True)
    ]
    sections = [number for number, run in enumerate(runs) for _ in run]
    return [kept[i] for i in choose(vectors, sections, weight, count)]


def _runs(found: Sequence[tuple[Part, Range]]) -> list[list[tuple[Part, Range]]]:
    """The sentences by section, long sections in several runs: a speech has no headings, and yet it has parts."""
    runs: list[list[tuple[Part, Range]]] = []
    for _, own in groupby(found, key=lambda pair: pair[0].number):
        held = list(own)
        many = -(-len(held) // _RUN)
        runs += [held[i * len(held) // many : (i + 1) * len(held) // many] for i in range(many)]
    return runs


def _cited(turn: Turn, part: Part, place: Range) -> Statement:
    text = standing_alone(turn.shelf.text(part.document)[slice(*place)])
    return Statement(text, (turn.shelf.cite(0, (0, 0), passage(turn.shelf, part, place), place, "verified"),))


def _evidence(turn: Turn, statements: Sequence[Statement]) -> list[Passage]:
    """What proved the statements, each place once, in the order of the documents."""
    cited = {(c.document, c.start, c.end): c for one in statements for c in one.proof}
    order = {id: n for n, id in enumerate(turn.subjects)}
    found = []
    for id, start, end in sorted(cited, key=lambda key: (order[key[0]], *key[1:])):
        c = cited[id, start, end]
        part = Part(id, c.path, c.title, 0, start, end, c.locator.section or "")
        found.append(passage(turn.shelf, part, (start, end)))
    return found


def _tell(turn: Turn, listed: Sequence[tuple[str, Sequence[Statement]]], how: str) -> None:
    """The summary with what it is of and how it was made above; without a statement, a refusal."""
    if not any(statements for _, statements in listed):
        turn.abstained, turn.text = True, "There is nothing to sum up."
        turn.reason = "The documents hold no sentences that could stand in a summary."
        return
    names = [turn.shelf.named(id)[1] for id in turn.subjects]
    of = names[0] if len(names) == 1 else f"{len(names)} documents"
    turn.text, turn.citations = composed([(f"Summary of {of} ({how}):", ()), *listed])
    turn.grounded = True


def _left_out(turn: Turn) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(name, "a summary takes no more documents at once") for name in turn.beyond)


def _shown(n: int, one: Passage) -> str:
    return prompts.passage(n, one.title, within(one.page, one.locator), one.text)
