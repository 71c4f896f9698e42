"""Where a text repeats what was deleted: word for word, said back by the other side ("my boat" as "your boat"), with
all its words in another order, or by a word that stands nowhere else. Pure functions over text; knows no rows.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

from retrieval.fulltext import STOP_WORDS, fts_terms

Span = tuple[int, int]

RUN = 6
"""Words in a row that make a text a quotation of a document."""

MANY = 100
"""Words from which on they are looked up by whole words."""

# Words that stand for one another when the other side says the same. No third person: "she is vegan" is not about me.
_SIDES = (
    "my your our",
    "i you we",
    "am are is",
    "was were",
    "have has",
    "do does",
    "me you us",
    "mine yours ours",
    "myself yourself",
    "mein dein ihr unser",
    "meine deine ihre unsere",
    "meinen deinen ihren unseren",
    "meinem deinem ihrem unserem",
    "meiner deiner ihrer unserer",
    "ich du sie wir",
    "bin bist sind",
    "habe hast haben",
    "mich dich",
    "mir dir ihnen",
    "mon ton votre notre",
    "ma ta votre notre",
    "mes tes vos nos",
    "je j tu vous",
    "suis es êtes",
    "ai as avez",
    "mi tu su",
    "mis tus sus",
    "yo tú usted",
    "soy eres es",
    "tengo tienes tiene",
)
_SIDE_OF: dict[str, set[str]] = {}
for _row in _SIDES:
    for _word in _row.split():
        _SIDE_OF.setdefault(_word, set()).update(_row.split())
_SHORT = {"am": "m|re", "are": "re|m", "is": "s", "have": "ve", "has": "s"}
"""What "I am" becomes behind an apostrophe."""
_EXPANDED = {"m": "am", "re": "are", "ve": "have"}

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*\s+|[。！？]|\s*\n+")
_NO_TERM = re.compile(r"m|re|ve|ll|s|t|d|.*[我你您].*")
"""What is left of "I'm" and the like; and pairs of characters that the other side says otherwise."""
_BETWEEN = r"[\W_]{1,6}"


class Quoted(Protocol):
    """Something whose repetitions are looked for."""

    @property
    def terms(self) -> Set[str]:
        """Its words as full text knows them, without those that carry no topic."""
        ...

    def spans(self, text: str) -> Iterable[Span]:
        """Where `text` repeats it."""
        ...


@dataclass(frozen=True)
class Statement:
    """A short text, such as a memory."""

    text: str

    @cached_property
    def terms(self) -> frozenset[str]:
        return terms(self.text)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = _WORD.findall(self.text)
        if not words:
            return re.compile(re.escape(self.text.strip()) or r"(?!)")
        made = _alternatives(words[0])
        for before, word in pairwise(words):
            full = _EXPANDED.get(word.lower(), word) if before.lower() in _SIDE_OF else word
            short = _SHORT.get(full.lower())
            apostrophe = rf"|['’](?:{short})" if short else ""
            made += rf"(?:{_BETWEEN}{_alternatives(full)}{apostrophe})"
        before = "" if _UNSPACED.match(words[0]) else r"(?<!\w)"
        after = "" if _UNSPACED.match(words[-1][-1]) else r"(?!\w)"
        return re.compile(before + made + after, re.IGNORECASE)

    def spans(self, text: str) -> Iterator[Span]:
        """The words themselves; and sentences that have every telling word, if there are two or more of these."""
        folded = _folded(text)
        if not all(term in folded for term in self.terms):  # soon told, and true of nearly every text
            return
        exact = [match.span() for match in self._pattern.finditer(text)]
        yield from exact
        if len(self.terms) > 1:
            for start, end in sentences(text):
                inside = any(start < b and a < end for a, b in exact)
                if not inside and all(holds(text[start:end], term) for term in self.terms):
                    yield start, end


@dataclass(frozen=True)
class Document:
    """A long text, quoted by any `RUN` words in a row, or by a whole line of fewer; and by its `names`."""

    text: str
    names: tuple[str, ...] = ()

    @cached_property
    def terms(self) -> frozenset[str]:
        return terms(self.text)

    @cached_property
    def _runs(self) -> frozenset[tuple[str, ...]]:
        words = [word.casefold() for word in _WORD.findall(self.text)]
        return frozenset(tuple(words[n : n + RUN]) for n in range(max(1, len(words) - RUN + 1)))

    @cached_property
    def _lines(self) -> frozenset[tuple[str, ...]]:
        found = (tuple(word.casefold() for word in _WORD.findall(line)) for line in self.text.splitlines())
        return frozenset(line for line in found if 2 < len(line) < RUN)

    def spans(self, text: str) -> Iterator[Span]:
        for name in self.names:
            yield from (match.span() for match in re.finditer(re.escape(name), text, re.IGNORECASE))
        places = [match.span() for match in _WORD.finditer(text)]
        words = [text[start:end].casefold() for start, end in places]
        for length, known in [(RUN, self._runs), *((n, self._lines) for n in range(3, RUN) if self._lines)]:
            for n in range(len(words) - length + 1):
                if tuple(words[n : n + length]) in known:
                    yield places[n][0], places[n + length - 1][1]


def terms(text: str) -> frozenset[str]:
    """The words of a text that tell something, in lower case; pairs of characters where a script has no spaces."""
    found = (term.strip('"*') for term in fts_terms(text))
    return frozenset(term for term in found if not (term in STOP_WORDS or term in _SIDE_OF or _NO_TERM.fullmatch(term)))


def holds(text: str, term: str) -> bool:
    """Whether `term` stands in `text`; as a part of a word if it is long enough not to do so by chance."""
    folded = _folded(text)
    if term not in folded:
        return False
    if len(term) > 4 or _UNSPACED.match(term):
        return True
    return bool(re.search(rf"(?<![^\W_]){re.escape(term)}(?![^\W_])", folded))


def standing(text: str, words: Set[str]) -> Set[str]:
    """Those of `words` that stand in `text`; many are looked up by whole words, not by parts, as that is faster."""
    if len(words) > MANY:
        return words & terms(text)
    folded = _folded(text)
    return {word for word in words if word in folded and holds(text, word)}


def sentences(text: str) -> Iterator[Span]:
    """Ranges of the sentences and lines of a text, without the white space around them."""
    position = 0
    for match in [*_SENTENCE_END.finditer(text), None]:
        start, end = position, match.end() if match else len(text)
        position = end
        part = text[start:end]
        if part.strip():
            yield start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def holding(text: str, words: Set[str]) -> Iterator[Span]:
    """The sentences that hold one of `words`."""
    if any(holds(text, word) for word in words):
        yield from (span for span in sentences(text) if any(holds(text[slice(*span)], word) for word in words))


def said_back(text: str) -> str:
    """A statement in the second person, word by word, as an assistant repeats it."""
    turned = {"my": "your", "our": "your", "i": "you", "we": "you", "am": "are", "me": "you", "mine": "yours"}
    plain = re.sub(r"\b(i)['’](?:m)\b", "I am", text, flags=re.IGNORECASE)

    def turn(match: re.Match[str]) -> str:
        other = turned.get(match[0].lower())
        return match[0] if other is None else other.capitalize() if match[0][0].isupper() and match[0] != "I" else other

    return _WORD.sub(turn, plain)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Ranges in order, those that touch made one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


@dataclass(frozen=True)
class Cut:
    """A text with ranges replaced by `mark`, and where its characters went."""

    text: str
    removed: Sequence[Span]
    mark: str

    @cached_property
    def result(self) -> str:
        return self._with([self.mark] * len(self.removed))

    @cached_property
    def blank(self) -> str:
        """The text with spaces in place of what was removed, so that places stay."""
        return self._with([" " * (end - start) for start, end in self.removed])

    def _with(self, marks: Sequence[str]) -> str:
        parts, position = [], 0
        for (start, end), mark in zip(self.removed, marks, strict=True):
            parts += [self.text[position:start], mark]
            position = end
        return "".join([*parts, self.text[position:]])

    def moved(self, start: int, end: int) -> Span | None:
        """The range in the result; None if something of it was removed."""
        if any(start < b and a < end for a, b in self.removed):
            return None
        shift = sum(len(self.mark) - (b - a) for a, b in self.removed if b <= start)
        return start + shift, end + shift


def _folded(text: str) -> str:
    """As full text's words are made."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def _alternatives(word: str) -> str:
    others = _SIDE_OF.get(word.lower())
    if others:
        return "(?:" + "|".join(sorted(map(re.escape, {*others, word}), key=len, reverse=True)) + ")"
    return re.sub("[我你您]", "[我你您他她]", re.escape(word))
