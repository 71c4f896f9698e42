"""Passages among which questions are asked, with an index that finds others which resemble them."""

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from random import Random

_WORD = re.compile(r"\w{4,}")
_COMMON = 2000
"""Contexts with a word, above which it tells nothing of a question."""
_FOUND = 12
"""Contexts that a search brings."""


class Contexts:
    """Passages with their groups, and an index that finds others which share its words."""

    def __init__(self) -> None:
        self.sentences: list[list[str]] = []
        self.titles: list[str] = []
        self.groups: dict[str, list[int]] = defaultdict(list)
        self.group_of: list[str] = []
        self._words: dict[str, list[int]] = defaultdict(list)
        self._by_sentence: dict[int, list[set[str]]] = {}

    def add(self, sentences: list[str], group: str, title: str = "") -> int:
        number = len(self.sentences)
        self.sentences.append(sentences)
        self.titles.append(title)
        self.groups[group].append(number)
        self.group_of.append(group)
        for word in {one.lower() for one in _WORD.findall(" ".join(sentences))}:
            self._words[word].append(number)
        return number

    def similar(self, question: str) -> list[int]:
        """Contexts that share words with the question, those that share most and rarest first; `_FOUND` at most."""
        score: dict[int, float] = defaultdict(float)
        for word in dict.fromkeys(one.lower() for one in _WORD.findall(question)):
            where = self._words.get(word, ())
            if 0 < len(where) <= _COMMON:
                weight = math.log(len(self.sentences) / len(where))
                for number in where:
                    score[number] += weight
        return heapq.nlargest(_FOUND, score, key=lambda one: score[one])

    def nearest(self, number: int, question: str) -> int:
        """Which sentence of context `number` shares the most words with the question; of equals, the first."""
        if number not in self._by_sentence:
            self._by_sentence[number] = [set(_WORD.findall(one.lower())) for one in self.sentences[number]]
        asked = set(_WORD.findall(question.lower()))
        shared = [len(asked & own) for own in self._by_sentence[number]]
        return shared.index(max(shared))


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
