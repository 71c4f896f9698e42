"""Packs one prompt inside the model's window and inside a budget of seconds for reading it.

Parts are taken in the order of their worth: the question and the rules always; memories; whole documents that the user
asked for; passages by rank, or their best sentences (`app.packing`); earlier turns by their use to the question. What
does not fit is left out and named. Knows nothing about retrieval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from app import prompts
from app.answer import LeftOut, Used, Window
from app.earlier import by_use, named
from app.grounding import Source
from app.packing import fitted
from app.places import within
from app.query import Exchange
from memory.types import Recalled
from model.engine import EngineInfo, Message, Prompt
from model.errors import PromptTooLong
from retrieval.types import Passage

SLACK = 16
"""Tokens kept free: templates differ by a few between counting and reading."""
_HISTORY_SHARE = 0.25
"""Most of the budget that earlier turns may take."""
_MISFITS = 3
"""Turns that are tried in vain before the rest is left out: each try counts the prompt's tokens."""
_WHOLE_UNDER = 6000
"""Characters under which a document that holds most of the best passages is taken whole."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A document offered whole: all of it as one passage."""

    passage: Passage
    asked: bool
    """The user named or pinned it; otherwise it is small and holds what was found."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The prompt, what its marks stand for, and what it took."""

    messages: tuple[Message, ...]
    sources: tuple[Source, ...]
    memories: tuple[Recalled, ...]
    window: Window


def initial_rate(info: EngineInfo) -> float:
    """A conservative guess of tokens read per second, until the first answer has been timed."""
    if info.engine == "remote":
        return 2000.0
    operations = 2e13 if any(device.startswith(("cuda", "gpu", "metal", "mps")) for device in info.devices) else 5e10
    return operations / (2.0 * (info.active_parameters or info.total_parameters or 7e9))


def budget(info: EngineInfo, rate: float, seconds: float, reserved: int) -> tuple[int, str]:
    """Tokens that the prompt may take and the reason that binds: the window less the answer, or the time to read it."""
    window = info.context - reserved - SLACK
    timed = int(rate * seconds)
    return (
        (window, "the model's window is full")
        if window <= timed
        else (timed, f"reading it would take longer than {seconds:g} s")
    )


def pack(
    question: str,
    *,
    system: str,
    passages: Sequence[Passage],
    wholes: Sequence[Whole] = (),
    memories: Sequence[Recalled] = (),
    history: Sequence[Exchange] = (),
    turns: int = 6,
    count: Callable[[Prompt], int],
    window: int,
    limit: int,
    why: str,
    reserved: int,
) -> Packed:
    """One prompt of at most `limit` tokens (but never without question and rules, which only the `window` bounds).

    `history` goes from the oldest to the newest, and at most `turns` of it enter; `passages` are best first.

    :raises PromptTooLong: the question and the rules alone overflow the window.
    """
    least = count(_messages(system, [], question, [], []))
    if least + reserved + SLACK > window:
        raise PromptTooLong(
            f"The question takes {least} tokens and the answer may take {reserved}; the model's window is {window}.",
            "Ask something shorter, allow a shorter answer, or use a model with a larger window.",
        )
    draft = _Draft(system, question, count, max(limit, least))
    left: list[LeftOut] = []
    for one in memories:
        if not draft.take(memories=[*draft.memories, one]):
            left.append(LeftOut(f"memory m{one.memory.id}", why))
    for whole in wholes:
        inside = [p for p in draft.passages if p.document != whole.passage.document]
        if (
            not draft.take(passages=[*inside, whole.passage], wholes=draft.wholes | {whole.passage.document})
            and whole.asked
        ):
            left.append(LeftOut(f"the whole of {whole.passage.title or whole.passage.path}", why))
    found = [passage for passage in passages if passage.document not in draft.wholes]
    fitting = fitted(question, found, lambda passage: count(rendered(1, passage)), draft.limit - draft.size)
    for passage, part in zip(found, fitting, strict=True):
        name = f"{passage.title or passage.path}, line {passage.line}"
        if part is None or not draft.take(passages=[*draft.passages, part]):
            left.append(LeftOut(name, why))
        elif part.text != passage.text:
            left.append(LeftOut(f"{name}, in part", why))
    left += _take_earlier(draft, question, history, turns, why)
    return draft.packed(window, left)


def _take_earlier(
    draft: "_Draft", question: str, history: Sequence[Exchange], turns: int, why: str
) -> Iterator[LeftOut]:
    """Take earlier turns by their use to the question; what stays out is named, and comes back when one needs it."""
    room = draft.size + int(_HISTORY_SHARE * draft.limit)
    taken: list[int] = []
    waiting = by_use(question, history)
    misfits: list[int] = []
    while waiting and len(taken) < turns and len(misfits) < _MISFITS:
        place = waiting.pop(0)
        fits = draft.take(history=[history[one] for one in sorted([*taken, place])], most=room)
        (taken if fits else misfits).append(place)
    if len(misfits) == _MISFITS:  # no room is left: those that were not tried are out for the same reason
        misfits, waiting = [*misfits, *waiting], []
    for places, reason in ((misfits, why), (waiting, f"at most {turns} enter (assistant.history_turns)")):
        if places:
            yield LeftOut(
                named(history[place] for place in places),
                f"{reason}; what is there is likelier to be of use, and others come back when a question needs them",
            )


class _Draft:
    """A prompt that grows while it fits."""

    def __init__(self, system: str, question: str, count: Callable[[Prompt], int], limit: int) -> None:
        self.system, self.question, self.count, self.limit = system, question, count, limit
        self.memories: list[Recalled] = []
        self.passages: list[Passage] = []
        self.wholes: frozenset[str] = frozenset()
        self.history: list[Exchange] = []
        self.size = self._size()

    def take(
        self,
        *,
        memories: list[Recalled] | None = None,
        passages: list[Passage] | None = None,
        wholes: frozenset[str] | None = None,
        history: list[Exchange] | None = None,
        most: int | None = None,
    ) -> bool:
        """Grow if the prompt as a whole still fits; else stay as it was."""
        before = self.memories, self.passages, self.wholes, self.history
        self.memories = self.memories if memories is None else memories
        self.passages = self.passages if passages is None else passages
        self.wholes = self.wholes if wholes is None else wholes
        self.history = self.history if history is None else history
        size = self._size()
        if size <= min(self.limit, self.limit if most is None else most):
            self.size = size
            return True
        self.memories, self.passages, self.wholes, self.history = before
        return False

    def _ordered(self) -> list[Passage]:
        """In document order; whole documents, then the others by their best passage."""
        rank = {document: i for i, document in reversed(list(enumerate(p.document for p in self.passages)))}
        return sorted(self.passages, key=lambda p: (p.document not in self.wholes, rank[p.document], p.start))

    def _rendered(self) -> tuple[list[str], list[str]]:
        memories = [prompts.memory(one.memory.id, one.memory.text) for one in self.memories]
        return memories, [rendered(n, p) for n, p in enumerate(self._ordered(), 1)]

    def _messages(self) -> tuple[Message, ...]:
        memories, passages = self._rendered()
        whole = len(self.wholes)
        return _messages(self.system, self.history, self.question, memories, passages[whole:], passages[:whole])

    def _size(self) -> int:
        return self.count(self._messages())

    def packed(self, window: int, left: Sequence[LeftOut]) -> Packed:
        memories, passages = self._rendered()
        ordered = self._ordered()
        part = {True: 0, False: 0}
        for passage, text in zip(ordered, passages, strict=True):
            part[passage.document in self.wholes] += self.count(text)
        used = Used(
            memories=sum(self.count(text) for text in memories),
            passages=part[False],
            documents=part[True],
            history=sum(self.count(one.question) + self.count(one.answer) for one in self.history),
            question=self.count(self.question),
        )
        # The template's own tokens count with the system text, so that the parts add up to the prompt.
        rest = self.size - used.memories - used.passages - used.documents - used.history - used.question
        sources = tuple(Source(n, p, f"{p.title} {p.locator.section or ''}") for n, p in enumerate(ordered, 1))
        return Packed(
            self._messages(),
            sources,
            tuple(self.memories),
            Window(window, replace(used, system=max(rest, 0)), tuple(left)),
        )


def openings(system: str, wholes: Sequence[Passage]) -> list[tuple[Message, ...]]:
    """Prompts that have no more in common than every prompt with these documents whole has."""
    documents = [rendered(n, passage) for n, passage in enumerate(wholes, 1)]
    return [
        _messages(system, [], "Who?", [], [], documents),
        _messages(system, [], "Where?", [prompts.memory(1, "one")], [], documents),
        _messages(system, [Exchange("Hello", "Yes?")], "When?", [], [], documents),
    ]


def rendered(n: int, passage: Passage) -> str:
    """Passage `n` as it stands in the prompt."""
    return prompts.passage(n, passage.title or passage.path, within(passage.page, passage.locator), passage.text)


def _messages(
    system: str,
    history: Sequence[Exchange],
    question: str,
    memories: Sequence[str],
    passages: Sequence[str],
    documents: Sequence[str] = (),
) -> tuple[Message, ...]:
    opening = prompts.documents(documents) if documents else ""
    turns = [
        message for one in history for message in (Message("user", one.question), Message("assistant", one.answer))
    ]
    if turns and opening:
        turns[0] = Message("user", f"{opening}\n\n{turns[0].content}")
        opening = ""
    return (Message("system", system), *turns, Message("user", prompts.final(question, memories, passages, opening)))


def worth_whole(passages: Sequence[Passage], characters: Callable[[str], int]) -> list[str]:
    """Ids of the small documents that hold at least half of the passages found: reading them whole loses nothing."""
    documents = dict.fromkeys(passage.document for passage in passages)
    return [
        d
        for d in documents
        if 2 * sum(p.document == d for p in passages) >= len(passages) and characters(d) <= _WHOLE_UNDER
    ]
