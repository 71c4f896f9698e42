"""Which earlier turns of a long chat are worth their place in the prompt: those that this question is likely to need.

Age tells little: in ten chats with an assistant (BEAM, 170 questions) the six latest turns are 2% of those that the
answers rest on, the last two and the four that share most words with the question 47%; in LoCoMo 1% and 56%. The
very latest stay whatever they say, since a follow-up leans on them. T turns.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from app.query import Exchange
from app.sentences import content_words
from app.turn import Turn
from app.units import idf

if TYPE_CHECKING:
    from memory.store import MemoryStore

CANDIDATES = 200
"""The latest turns among which is chosen."""
_LATEST = 2
_READ = 4000
"""Characters of an answer that are compared with the question."""


def history(turn: Turn, memory: "MemoryStore | None") -> list[Exchange]:
    """Earlier turns of the session, the question as it stood alone; or what the door says came before."""
    if turn.ask.history:
        told = list(enumerate(turn.ask.history, 1))[-CANDIDATES:]
        return [Exchange(question, answer, number) for number, (question, answer) in told]
    if memory is None or turn.ask.session is None:
        return []
    upto = turn.ask.after if turn.id is None else turn.id  # other branches of the session are not before it
    earlier = list(enumerate(memory.branch(turn.ask.session, upto), 1))[-CANDIDATES:]
    return [
        Exchange(_standalone_of(one.answer_json) or one.question, one.answer, number)
        for number, one in earlier
        if one.id != turn.id and one.answer
    ]


def _standalone_of(answer_json: str) -> str | None:
    try:
        found = json.loads(answer_json).get("standalone_question")
    except (ValueError, AttributeError):
        return None  # a turn that was cut off before it had an answer
    return found if isinstance(found, str) else None


def by_use(question: str, history: Sequence[Exchange]) -> list[int]:
    """Places in `history`, which is in order of time: the most likely to be needed first.

    After the latest, a turn's worth is the share of the question's words, by how rare they are in the chat, that it
    holds, and the share that the user said in it. Of equal ones the later goes first.
    """
    asks = list(dict.fromkeys(content_words(question)))
    own = [content_words(one.question) for one in history]
    whole = [words + content_words(one.answer[:_READ]) for words, one in zip(own, history, strict=True)]
    worth = [sum(shares) for shares in zip(_shared(asks, own), _shared(asks, whole), strict=True)]
    latest = len(history) - _LATEST
    return sorted(
        range(len(history)), key=lambda place: (place < latest, -worth[place] if place < latest else 0, -place)
    )


def _shared(asks: Sequence[str], turns: Sequence[Sequence[str]]) -> list[float]:
    """Of each turn the weighted share of the words `asks` that it has [T]."""
    weight = idf(asks, turns)
    total = sum(weight.values()) or 1.0
    return [sum(weight[word] for word in asks if word in held) / total for held in map(set, turns)]


def named(turns: Iterable[Exchange]) -> str:
    """`turn 3 of this session`, `turns 1 to 4 and 7 of this session`."""
    numbers = sorted(one.number for one in turns)
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"turn{'s' * (len(numbers) > 1)} {listed} of this session"
