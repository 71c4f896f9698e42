"""A text as it reads, whatever characters it is typed in, with the place of each character in the text as it stands.

Characters that cannot be seen are left out; the others are normalised (NFKC), digits of any script are ASCII's, and
dashes of any kind are hyphens.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Fillers and variation selectors, which are not of category Cf, where all else is that is not to be seen."""


@dataclass(frozen=True, slots=True)
class Folded:
    text: str
    """Not longer or shorter by rule: a ligature becomes two characters, two in a row one."""
    _starts: tuple[int, ...] | None
    _ends: tuple[int, ...] | None
    """Of each character of `text` in the original; None where both are the same."""

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]`, which is not empty, stands in the original."""
        if self._starts is None or self._ends is None:
            return start, end
        return self._starts[start], self._ends[end - 1]


def folded(text: str) -> Folded:
    """`text` as it reads."""
    if text.isascii():
        return Folded(text, None, None)
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        for character in _plain(text[start:end]):
            characters.append(character)
            starts.append(start)
            ends.append(end)
    return Folded("".join(characters), tuple(starts), tuple(ends))


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Spans of characters with the marks that follow them: normalising makes one of both."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not unicodedata.combining(text[end]):
            yield start, end
            start = end


def _plain(cluster: str) -> Iterator[str]:
    for character in unicodedata.normalize("NFKC", cluster):
        category = unicodedata.category(character)
        if category == "Nd":
            yield str(unicodedata.decimal(character))
        elif category == "Pd":
            yield "-"
        elif category != "Cf" and not _UNSEEN.match(character):
            yield character
