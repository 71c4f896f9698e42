"""Questions for what holds now, and which of several statements says it. Pure functions.

Where two statements fill one slot, writing has settled which is valid (`memory.slots`). Most of what people tell fits
no slot ("I extended my reading goal to 12 books"); for that, the question decides: one that asks for a single present
value is answered by the later of the statements that compete for it.
"""

import re
from collections.abc import Callable, Sequence

from memory.types import Recalled

FIRST = 10
"""Places within which statements compete: whoever reads the recalled memories reads these."""
_RIVAL = 0.85
"""Share of an earlier statement's score from which a later one that names a value takes its place."""
_CHANGE = 0.4
"""The same for a later one that says that a value changed."""
_WORDS = 0.25
"""And the least share of the earlier one's words of the question that this one holds."""
_ALIKE = 0.25
"""Cosine below which two statements speak of different things."""
_PLACED = 3
"""How many later statements one earlier statement gives way to."""

_ASKED = re.compile(
    r"^(?:and\s+|so\s+)?(?:what(?:['’]s|\s+is|\s+are)|how\s+(?:many|much|long|often|old|far|big|large)"
    r"|when(?:['’]s|\s+is|\s+are|\s+do|\s+does|\s+should|\s+will)|where(?:['’]s|\s+is|\s+are|\s+do|\s+does)"
    r"|who(?:['’]s|\s+is|\s+are)|which|(?:at\s+)?what\s+(?:time|day|date|\w+\s+rates?))\b",
    re.IGNORECASE,
)
_PAST = re.compile(
    r"\b(?:did|was|were|had|used\s+to|originally|initially|at\s+first|previously|before|ago)\b", re.IGNORECASE
)
_CHANGING = (
    r"(?:increas|rais|extend|extension|reschedul|shorten|reduc|lower|updat|chang|mov(?:ed|ing)|push|postpon|delay|adjust"
    r"|revis|grow|grew|reach|improv|bump|dropp|rose|upgrad|expand|boost|cut|now|new|instead|total|rather)"
)
_CHANGED = re.compile(
    rf"\b{_CHANGING}\w*(?:[^\w.?!]+[\w'’%$:/]+){{0,8}}?[^\w.?!]+[$€£]?\d"
    r"|\d[\w%:,]*(?:[^\w.?!]+\w+){0,3}?[^\w.?!]+(?:now|instead)\b",
    re.IGNORECASE,
)
_VALUE = re.compile(r"\d")


def asks_for_present(question: str) -> bool:
    """Whether `question` asks for one value that holds now, as its English form tells."""
    return bool(_ASKED.match(question.strip())) and not _PAST.search(question)


def tells_change(text: str) -> bool:
    """Whether `text` says that something became another number, amount or date."""
    return bool(_CHANGED.search(text))


def latest_first(
    found: Sequence[Recalled], share: Callable[[int], float], cosine: Callable[[int, int], float]
) -> list[Recalled]:
    """Among the first places, put statements before earlier ones with which they compete for the value asked for.

    `share`: which share of the question's words a memory, named by its id, holds; `cosine`: of two memories.
    """
    contest = list(found[:FIRST])
    placed: dict[int, Recalled] = {}
    for earlier in contest:
        if earlier.memory.id in placed:
            continue
        rivals = [
            later
            for later in contest
            if later.memory.id not in placed
            and later.memory.valid_to is None
            and _after(later, earlier)
            and _VALUE.search(later.memory.text)
            and cosine(later.memory.id, earlier.memory.id) >= _ALIKE
            and (
                later.score >= _RIVAL * earlier.score
                or (
                    later.score >= _CHANGE * earlier.score
                    and share(later.memory.id) >= _WORDS * share(earlier.memory.id)
                    and tells_change(later.memory.text)
                )
            )
        ]
        for one in [*rivals[:_PLACED], earlier]:
            placed[one.memory.id] = one
    return [*placed.values(), *found[FIRST:]]


def _after(later: Recalled, earlier: Recalled) -> bool:
    return (later.memory.valid_from, later.memory.id) > (earlier.memory.valid_from, earlier.memory.id)
