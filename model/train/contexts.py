"""Passages among which questions are asked, with an index that finds others which resemble them."""

import re
from collections import defaultdict
from collections.abc import Sequence
from random import Random

_WORD = re.compile(r"\w{4,}")


class Contexts:
    """Passages with their groups, and an index that finds others which share a rare word with a question."""

    def __init__(self) -> None:
        self.sentences: list[list[str]] = []
        self.titles: list[str] = []
        self.groups: dict[str, list[int]] = defaultdict(list)
        self.group_of: list[str] = []
        self._words: dict[str, list[int]] = defaultdict(list)

    def add(self, sentences: list[str], group: str, title: str = "") -> int:
        number = len(self.sentences)
        self.sentences.append(sentences)
        self.titles.append(title)
        self.groups[group].append(number)
        self.group_of.append(group)
        for word in {one.lower() for one in _WORD.findall(" ".join(sentences))}:
            self._words[word].append(number)
        return number

    def similar(self, question: str, random: Random) -> int | None:
        """A context that shares one of the question's rarer words."""
        found = [self._words[word] for one in _WORD.findall(question) if (word := one.lower()) in self._words]
        rare = sorted((one for one in found if len(one) > 1), key=len)[:3]
        return random.choice(random.choice(rare)) if rare else None


def window(sentences: Sequence[str], keep: int | None, random: Random, longest: int) -> tuple[str, int]:
    """Consecutive sentences of about `longest` characters at most, `keep` among them; and the first's number."""
    first = last = random.randrange(len(sentences)) if keep is None else keep
    size = len(sentences[first])
    while True:
        sides = [side for side, open_ in ((-1, first > 0), (1, last < len(sentences) - 1)) if open_]
        if not sides:
            break
        side = random.choice(sides)
        size += len(sentences[first - 1 if side < 0 else last + 1])
        if size > longest:
            break
        first, last = (first - 1, last) if side < 0 else (first, last + 1)
    return " ".join(sentences[first : last + 1]), first
