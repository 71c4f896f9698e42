"""What of the passages found enters a prompt that has no room for all: their best sentences. Knows no prompt.

Whole passages by rank are as good where half of them or more fit. Where fewer do, the sentences at the edges of all
passages are let go, those of least worth first: each passage stays one run of its text, and more of them have a part.
Spans of the gold in 250 tokens, of eight passages found, whole and by sentences: Chroma's chunking set .60 and .79,
CLAP NQ .80 and .88, answers in XQuAD's articles .90 and .97; in 1,000 tokens of the first .97 and .96.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.sentences import Range, sentences
from retrieval.runs import share_of_runs
from retrieval.types import Passage

_TIGHT = 2.0
"""Passages that take more than so many times the room are cut."""
_OWN = 0.3
"""Share of a sentence's own likeness to the question, in runs of characters, beside its passage's score."""


@dataclass(slots=True)
class _Part:
    """What is left of a passage: its sentences `first` to `last`."""

    sentences: list[Range]
    worth: list[float]
    fence: float
    rate: float
    """Tokens of a character."""
    first: int = 0
    last: int = -1

    @property
    def range(self) -> Range:
        return self.sentences[self.first][0], self.sentences[self.last][1]

    def tokens(self) -> float:
        start, end = self.range
        return self.fence + self.rate * (end - start)

    def least(self) -> tuple[float, bool]:
        """The worth of the lesser edge, and whether it is the last sentence."""
        head, tail = self.worth[self.first], self.worth[self.last]
        return min(head, tail), tail <= head


def fitted(
    question: str, passages: Sequence[Passage], count: Callable[[Passage], int], room: int
) -> list[Passage | None]:
    """For each of `passages`, best first: itself, a part of it, or None, so that they take about `room` tokens.

    `count` counts a passage as it stands in the prompt. Where half of them or more fit, all are returned whole, and
    the caller leaves out what does not fit.
    """
    total = sum(count(one) for one in passages)
    if total <= _TIGHT * room or not passages:
        return list(passages)
    parts = _parts(question, passages, count)
    target = float(room)
    while True:
        _shrink(parts, target)
        kept = [None if part is None else _cut(one, part) for one, part in zip(passages, parts, strict=True)]
        over = sum(count(one) for one in kept if one is not None) - room
        if over <= 0 or not any(kept):
            return kept
        target -= over  # tokens were estimated by characters


def _parts(question: str, passages: Sequence[Passage], count: Callable[[Passage], int]) -> "list[_Part | None]":
    ranges = [sentences(one.text) for one in passages]
    shares = share_of_runs(
        question, [one.text[start:end] for one, own in zip(passages, ranges, strict=True) for start, end in own]
    )
    likeness = iter(shares / max(shares.max(initial=0.0), 1e-9))
    best = max(max(one.score for one in passages), 1e-9)
    found: list[_Part | None] = []
    for one, own in zip(passages, ranges, strict=True):
        worth = [(1 - _OWN) * one.score / best + _OWN * float(next(likeness)) for _ in own]
        fence = count(replace(one, text=""))
        rate = (count(one) - fence) / max(len(one.text), 1)
        found.append(_Part(own, worth, fence, rate, 0, len(own) - 1) if own else None)
    return found


def _shrink(parts: "list[_Part | None]", room: float) -> None:
    """Let go of sentences at the edges, the least worth first, until the rest takes `room` tokens."""
    taken = sum(part.tokens() for part in parts if part is not None)
    while taken > room:
        left = [(part.least(), number) for number, part in enumerate(parts) if part is not None]
        if not left:
            return
        # Of equals, one of the passage found last.
        (_, at_end), number = min(left, key=lambda item: (item[0][0], -item[1]))
        part = parts[number]
        assert part is not None
        taken -= part.tokens()
        if part.first == part.last:
            parts[number] = None
            continue
        part.first, part.last = (part.first, part.last - 1) if at_end else (part.first + 1, part.last)
        taken += part.tokens()


def _cut(passage: Passage, part: _Part) -> Passage:
    start, end = part.range
    if (part.first, part.last) == (0, len(part.sentences) - 1):
        return passage
    return replace(
        passage,
        start=passage.start + start,
        end=passage.start + end,
        line=passage.line + passage.text.count("\n", 0, start),
        text=passage.text[start:end],
    )
