"""Answers a question by the steps of its plan (`app.steps`): each is a turn of its own with its own citation, and what
it found takes its place in the next.

The question is asked as it stands first: an answer whose evidence has all of its words needs no steps. A step without
an answer ends in a refusal that says which. What a document says enters a later question as a name, short and on one
line, and every step is asked whole, so that no text can lengthen the plan.
"""

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace

from app import prompts
from app.answer import Answer, Ask, Citation, Completed, Started, Step, TurnEvent
from app.each_document import proven
from app.sentences import content_words
from app.shelf import Shelf
from app.steps import SLOT, Plan, filled
from app.support import names
from app.turn import Turn

Asking = Callable[[Ask], Generator[TurnEvent, None, None]]
"""Runs a turn."""

_HELD = 0.75
"""Share of the described thing's words that stand around evidence which needs no steps."""
_AUXILIARIES = frozenset({"must", "may", "might", "should", "shall", "would", "could", "need"})
"""Words of a question that its answer may well say by others ("may end it by")."""
_BRIEF = "Answer with the name or the figure alone, and its mark."
"""To a model that writes: what it says goes into a question."""
_LONGEST = 80
"""Characters of a name that goes into a question."""
_WORDS = 8
"""Words up to which an answer is taken for a name; of a longer one, the only name in it that the question has not."""
_NAME = re.compile(r"[^\W\d_a-z][\w'’.&-]*(?: (?:(?:of|de|la|van|von|der|and|&) )*[^\W\d_a-z][\w'’.&-]*)*")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A step as it was asked; `proof` is None where the documents do not say."""

    question: str
    answer: Answer | None = None
    said: str = ""
    proof: Citation | None = None


def answer_in_steps(turn: Turn, plan: Plan, run: Asking, writes: bool = False) -> Generator[TurnEvent, None, None]:
    """Fill the turn with what the steps of `plan` find, or with the answer to the question as it stands.

    :param writes: the model answers in prose, and is told to be brief where its answer goes into a question.
    :raises LociError: any of `app.errors.LociError`.
    """
    if not plan.parts:
        whole = yield from _asked(turn, turn.standalone, run)
        if not whole.abstained and _holds(turn.shelf, plan, whole.citations):
            _take(turn, whole)
            return
    asked: list[_Asked] = []
    found: list[str] = []
    for number, step in enumerate(plan.steps):
        if any(not found[int(slot) - 1] for slot in SLOT.findall(step)):
            asked.append(_Asked(step))
            break
        yield Started("step", number, len(plan.steps))
        question = filled(step, found)
        last = number == len(plan.steps) - 1
        answer = yield from _asked(turn, question, run, brief=writes and not (last or plan.parts))
        said, proof = proven(question, answer)
        found.append(_name(said, question) if proof is not None else "")
        asked.append(_Asked(question, answer, " ".join(said.split()), proof))
        if not (plan.parts or last or found[-1]):  # an answer that names no one thing is none
            asked[-1] = replace(asked[-1], proof=None)
            break
    _write(turn, plan, asked)


def _asked(turn: Turn, question: str, run: Asking, brief: bool = False) -> Generator[TurnEvent, None, Answer]:
    """The answer to one step; its stages are passed on, so that a door sees them and may cancel between them."""
    bound = replace(
        turn.ask, question=question, whole=True, session=None, history=(), store=False, use_memory=False, after=None,
        request=None, system=_BRIEF if brief else None,
    )  # fmt: skip
    for event in run(bound):
        if isinstance(event, Completed):
            answer = event.answer
        elif isinstance(event, Started) and event.stage not in ("pack", "remember"):
            yield event
    turn.model = answer.model
    turn.spend(answer.usage)
    for part, milliseconds in asdict(answer.timing_ms).items():
        if part != "total":
            turn.timing[part] = turn.timing.get(part, 0.0) + milliseconds
    return answer


def _holds(shelf: Shelf, plan: Plan, citations: Sequence[Citation]) -> bool:
    """Whether what is cited, the paragraphs around it and the titles above have all words that the last step asks with,
    the names of the things that the steps before describe, and most of the words for them."""
    around = set(content_words(" ".join(_paragraph(shelf, one) for one in citations if one.quote)))
    described = " ".join(plan.steps[:-1])
    words = set(content_words(SLOT.sub(" ", described)))
    return (
        set(content_words(SLOT.sub(" ", plan.steps[-1]))) - _AUXILIARIES <= around
        and names(described) <= around
        and len(words & around) >= _HELD * len(words)
    )


def _paragraph(shelf: Shelf, cited: Citation) -> str:
    """The paragraph around a citation, or of a table the row, with the headings above it and the document's title."""
    above = f"{cited.title} {cited.locator.section or ''} "
    if cited.locator.cells is not None:
        return above + cited.quote
    text = shelf.text(cited.document)
    end = text.find("\n\n", cited.end)
    around = text[max(text.rfind("\n\n", 0, cited.start), 0) : end if end >= 0 else len(text)]
    return f"{above}{text.strip().split(chr(10), 1)[0]}\n{around}"


def _name(said: str, question: str) -> str:
    """What an answer puts into a later question; empty where it names no one thing."""
    said = " ".join(said.split()).strip(' ."“”')
    known = set(content_words(question))
    if len(said.split()) > _WORDS or len(said) > _LONGEST:
        named = {one for one in _NAME.findall(said) if content_words(one) and not set(content_words(one)) <= known}
        said = named.pop() if len(named) == 1 else ""
    elif ": " in said:  # a row's field, with its header
        said = said.split(": ", 1)[1]
    return prompts.data(said)[:_LONGEST]


def _take(turn: Turn, answer: Answer) -> None:
    """The answer to the question as it stands becomes the turn's."""
    turn.text, turn.reasoning, turn.citations = answer.answer, answer.reasoning, answer.citations
    turn.grounded, turn.abstained, turn.reason = answer.grounded, answer.abstained, answer.reason
    turn.confidence, turn.unsupported = answer.confidence, answer.unsupported
    turn.window, turn.table_query = answer.context, answer.query


def _write(turn: Turn, plan: Plan, asked: Sequence[_Asked]) -> None:
    """The last step's answer, or first what the documents do not say; then a line for each other step that was
    answered, so that the citation of every one stands."""
    missing = next((one for one in asked if one.proof is None), None)
    turn.window = next(one.answer.context for one in reversed(asked) if one.answer is not None)
    lines, told, steps = list(asked), list[Citation](), list[Step]()
    text = ""
    if missing is not None:
        turn.reason = f"No passage supports an answer to a part of the question: {missing.question}"
        text = f"The documents do not say: {missing.question}\n"
    elif not plan.parts and (last := lines.pop()).answer is not None:
        _take(turn, last.answer)
        told = [*last.answer.citations]
        text = f"{last.answer.answer}\n"
        steps = [Step(last.question, last.said, tuple(one.n for one in told))]
    unsupported = [*turn.unsupported]
    on_the_way = []
    for one in lines:
        if one.proof is None:
            on_the_way.append(Step(one.question, None, ()))
            continue
        n = max((cited.n for cited in told), default=0) + 1
        text += f"{chr(10) if text else ''}{one.question} "
        if one.answer is not None and one.answer.unsupported:
            unsupported.append((len(text), len(text) + len(one.said)))
        text += f"{one.said} "
        told.append(replace(one.proof, n=n, answer_start=len(text), answer_end=len(text) + len(f"[{n}]")))
        text += f"[{n}]"
        on_the_way.append(Step(one.question, one.said, (n,)))
    turn.text, turn.citations, turn.unsupported = text.strip(), tuple(told), tuple(unsupported)
    turn.steps = (*on_the_way, *steps)
    turn.grounded = bool(told) and (missing is None or plan.parts)
    turn.abstained = not turn.grounded
    turn.confidence = min(
        (one.answer.confidence for one in asked if one.answer and one.answer.confidence is not None), default=None
    )
