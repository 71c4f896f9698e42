"""Whether a passage says what a sentence claims, by words alone: numbers, names, negations, then overlap.

Strict on what a reader would be harmed by (a changed number, name or "not"), lenient on wording. It errs towards
"unsupported": an answer that says too little is flagged, never one that says too much passed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from app.quotes import negations
from app.sentences import STOP_WORDS, Range, content_words, sentences, stem, word_ranges

OVERLAP = 0.5
"""Least share of the claim's content words that its evidence must hold."""
_WINDOW = 3
"""Units that together may support one claim."""
_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_TENS = {
    word: 10 * value
    for value, word in enumerate(["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"], 3)
}
_VALUES = {word: str(value) for value, word in enumerate(_SMALL)} | {word: str(value) for word, value in _TENS.items()}
_VALUES |= {
    w: str(v)
    for v, w in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], 1
    )
}
_NUMBER = re.compile(r"\d+(?:[.,:/ \u00a0\u202f’']\d+)*")
_THOUSANDS = re.compile(r"(?<=\d)[, \u00a0\u202f’'](?=\d{3}(?!\d))")
_OPPOSITES = (
    ("before", "after"),
    ("more", "less"),
    ("more", "fewer"),
    ("over", "under"),
    ("above", "below"),
    ("increas", "decreas"),
    ("ris", "fall"),
    ("rose", "fell"),
    ("open", "close"),
    ("open", "clos"),
    ("first", "last"),
    ("highest", "lowest"),
    ("largest", "smallest"),
    ("allow", "forbid"),
    ("with", "without"),
    ("include", "exclud"),
    ("includ", "exclud"),
    ("arriv", "depart"),
    ("buy", "sell"),
    ("bought", "sold"),
    ("north", "south"),
    ("east", "west"),
    ("left", "right"),
    ("minimum", "maximum"),
    ("always", "never"),
    ("import", "export"),
    ("accept", "reject"),
    ("gain", "lost"),
    ("safe", "unsafe"),
    ("legal", "illegal"),
    ("requir", "optional"),
    ("mandatory", "optional"),
    ("true", "false"),
    ("win", "los"),
    ("up", "down"),
)
_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th|er|e|º|ª)\b", re.I)
_INITIAL = re.compile(r"(?:^|[.!?:。>|\n\"“«„(*-]\s*)$")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sentence of the answer asserts, in comparable form."""

    words: tuple[str, ...]
    numbers: frozenset[str]
    names: frozenset[str]
    negated: bool
    stems: frozenset[str]
    """Of all words, the small ones too."""
    bound: tuple[tuple[str, str], ...]
    """Each number with the content word that stands before it."""

    @property
    def empty(self) -> bool:
        return not self.words and not self.numbers


@dataclass(frozen=True, slots=True)
class Evidence:
    """The range that supports a claim, and the share of the claim's words in it."""

    range: Range
    overlap: float


def claim_of(text: str) -> Claim:
    words = tuple(dict.fromkeys(content_words(text)))
    return Claim(words, numbers(text), names(text), negations(text) % 2 == 1, _stems(text), bindings(text))


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(text[a:b]) for a, b in word_ranges(text))


def bindings(text: str) -> tuple[tuple[str, str], ...]:
    """Each number with the content word before it: what tells "opens at 8, closes at 18" from its reverse."""
    found = []
    before = ""
    for match in re.finditer(rf"{_NUMBER.pattern}|[^\W\d_]+", text):
        word = match.group()
        if word[0].isdigit():
            if before:
                found.append((before, next(iter(numbers(word)), word)))
        elif word.casefold() not in STOP_WORDS:
            before = stem(word)
    return tuple(found)


def _rebound(claim: Claim, window: str) -> bool:
    """Whether a number of the claim goes with a word that, in the window, goes with other numbers only."""
    there = bindings(window)
    for word, number in claim.bound:
        with_word = {n for w, n in there if w == word}
        if with_word and number not in with_word and any(n == number for _, n in there):
            return True
    return False


def numbers(text: str) -> frozenset[str]:
    """Numbers in one form: `1,200` and `1 200` are one, and so are `twelve` and `12`; signs of currency do not
    count."""
    text = _THOUSANDS.sub("", _ORDINAL.sub("", text))
    found = {match.group().rstrip(".,:/").replace(",", ".") for match in _NUMBER.finditer(text)}
    found = {number for number in found if number}
    found = {re.sub(r"\.0+$", "", number.lstrip("0") or "0") for number in found}
    words = {text[a:b].casefold() for a, b in word_ranges(text) if a or text[:5].casefold() != "first"}
    return frozenset(found | {_VALUES[word] for word in words & _VALUES.keys() if word not in ("one", "zero")})


def names(text: str) -> frozenset[str]:
    """Stems of the words with a capital that no sentence start explains, and of words in capitals or mixed with
    digits."""
    found = set()
    for a, b in word_ranges(text):
        word = text[a:b]
        if word.casefold() in STOP_WORDS or len(word) < 2:
            continue
        strange = any(c.isupper() for c in word[1:]) or (
            any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
        )
        initial = _INITIAL.search(text[max(a - 6, 0) : a]) and not text[b : b + 2].strip()[:1].isupper()
        if strange or (word[0].isupper() and not initial):
            found.add(stem(word))
    return frozenset(found)


def evidence(claim: Claim, text: str, within: Range | None = None, *, context: str = "") -> Evidence | None:
    """The shortest run of units in `text[within]` that supports `claim`; None if none does.

    Names may stand anywhere in the passage or its `context` (title, headings), since prose goes on with "it" and "she".
    """
    if claim.empty:
        return None
    start, end = within or (0, len(text))
    units = sentences(text, start, end)
    around = set(content_words(text[start:end] + " " + context))
    if not claim.names <= around or _misspelt(claim, around, names(text[start:end])):
        return None
    best: Evidence | None = None
    for size in range(1, _WINDOW + 1):
        for first in range(len(units) - size + 1):
            window = units[first][0], units[first + size - 1][1]
            found = _judge(claim, text[window[0] : window[1]], set(content_words(context)))
            if found is not None and (best is None or found > best.overlap + 0.15 * (size - 1)):
                best = Evidence(window, found)
        if best is not None:
            return best
    return best


def agrees(text: str, source: str) -> bool:
    """Whether the numbers of `text` stand in `source`, and none of its words is almost a name of it."""
    claim, around, known = claim_of(text), set(content_words(source)), names(source)
    return claim.numbers <= numbers(source) and not any(
        _misspelt(Claim((name,), frozenset(), frozenset(), False, frozenset(), ()), around, known)
        for name in {*claim.names, *claim.words[:1]}
    )


def _misspelt(claim: Claim, around: set[str], known: frozenset[str]) -> bool:
    """Whether the claim opens with a word that is almost, but not quite, a name of the passage."""
    first = claim.words[0] if claim.words else ""
    if len(first) < 4 or first in around:
        return False
    return any(SequenceMatcher(None, first, name).ratio() >= 0.75 for name in known if abs(len(name) - len(first)) <= 2)


def _judge(claim: Claim, window: str, context: set[str]) -> float | None:
    own = set(content_words(window))
    if not claim.numbers <= numbers(window):
        return None
    plain = [word for word in claim.words if not word.isdigit()]
    share = sum(1 for word in plain if word in own or word in context) / len(plain) if plain else 1.0
    if share < OVERLAP or _rebound(claim, window):
        return None
    units = [window[a:b] for a, b in sentences(window)]
    telling = [unit for unit in units if len(set(content_words(unit)) & set(claim.words)) >= 2] or [window]
    return None if any(contradicts(claim, unit) for unit in telling) else share


def contradicts(claim: Claim, unit: str) -> bool:
    """Whether the unit negates what the claim asserts, or the reverse, or says the opposite word."""
    if claim.negated != (negations(unit) % 2 == 1):
        # A negation elsewhere in a long unit is no contradiction if the claim's own words stand apart from it.
        parts = [part for part in re.split(r"[,;:.。，；]|\b(?:but|while|although|except)\b", unit) if part.strip()]
        near = max(parts, key=lambda part: len(set(content_words(part)) & set(claim.words)), default=unit)
        if claim.negated != (negations(near) % 2 == 1):
            return True
    own = _stems(unit)

    def opposed(said: str, opposite: str) -> bool:
        return said in claim.stems and opposite not in claim.stems and opposite in own and said not in own

    return any(opposed(a, b) or opposed(b, a) for a, b in _OPPOSITE_STEMS)


_OPPOSITE_STEMS: Sequence[tuple[str, str]] = tuple((stem(a), stem(b)) for a, b in _OPPOSITES)
