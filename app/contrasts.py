"""Whether a sentence speaks of another one of the things that a question names: the north pier for the south pier, 2020
for 2019, Monday for Saturday, Anna's salary for Berta's.

Compared are words of closed kinds, of which a thing has one. Those that stand before a noun, and numbers that stand
after it, are compared where the noun is the same; days, months, seasons and years wherever they stand.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from app.answer_types import Wanted, is_amount
from app.sentences import STOP_WORDS, stem, word_ranges
from app.units import Text, Unit, passage_of

_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_BEFORE_NOUN = (
    ["north", "south", "east", "west"],
    ["left", "right"],
    ["upper", "middle", "lower"],
    ["inner", "outer"],
    _ORDINALS,
)
_KINDS = {word: kind for kind, words in enumerate(_BEFORE_NOUN) for word in words}
_SAME = {f"{way}ern": way for way in _BEFORE_NOUN[0]} | {
    f"{n}{ending}": _ORDINALS[n - 1] for n, ending in zip(range(1, 11), ("st", "nd", "rd", *["th"] * 7), strict=True)
}
"""Other ways to write one."""
_NUMBERED = re.compile(r"\b([^\W\d_]{3,}) (\d{1,3})\b((?:(?:,| and| or| to| ?[-–]) ?\d{1,3}\b)*)(?![.,:]\d|%)")
"""Room 3; rooms 3, 4 and 7; rooms 3 to 7."""
_NO_NAMES = STOP_WORDS | {"within", "least", "every", "around", "nearly", "exactly", "last", "past", "next", "another"}
"""What stands before an amount: within 30 days."""
_COMPARED = re.compile(
    r"(?:\b(?:than|as [a-z]+ as|unlike|compared (?:with|to))|, (?:like|against|as (?:is|are|was|were|did|in|on)))\b"
    r"[^,.;:]*",
    re.IGNORECASE,
)
"""Twice as long as the south pier; against 400 in 2023."""
_PRONOUN = re.compile(r"\b(?:it|its|this|that|these|those|they|their|he|his|she|her)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")
_PARAGRAPH = re.compile(r"\n\s*\n")

_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_ENDINGS = ["day", "sday", "nesday", "rsday", "urday"]
_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
_SEASONS = ["spring", "summer", "autumn", "winter"]
_CALENDAR: tuple[tuple[re.Pattern[str], Sequence[str]], ...] = (
    (re.compile(rf"\b({'|'.join(_DAYS)})(?:(?:{'|'.join(_ENDINGS)})s?\b|(?=\.?,| ?[-–]| \d))"), _DAYS),
    (re.compile(rf"\b({'|'.join(m for m in _MONTHS if m != 'May')}|(?<=\w )May(?! [a-z]))\b"), _MONTHS),
    (re.compile(rf"\b({'|'.join(_SEASONS)})s?\b"), _SEASONS),
    (re.compile(r"(?<![\d.,$€£])\b(1[5-9]\d\d|20\d\d)\b(?!['’]?s\b|[.,]?\d|%)"), ()),
)
"""The words of each kind; and which follow each other, the first after the last. Years are numbers."""
_TO = re.compile(r" ?(?:to|until|till|through|-|–) ?(?:the )?")
_SHORT = re.compile(r"\b(\d\d)(\d\d)([-–/])(\d\d)\b(?![-/])")
"""1998–99, 1998/99."""
_OPEN = re.compile(
    r"\b(?:(?:before|after|since|until|till)(?: [\w.]+){0,2}|(?:from|to|by|than|between|following|through)(?: the)?) $",
    re.IGNORECASE,
)
_ANY = re.compile(r"\b(?:daily|weekdays|weekends?|year[- ]round|(?:every|any|each) (?:day|month|season|year))\b", re.I)

_OWNER = re.compile(
    r"\b(?!(?:What|Who|Where|When|How|Why|That|There|Here|It|He|She|Let)['’]s )([A-ZÀ-ÖØ-Þ][\w-]+)['’]s? ([a-zà-ÿ]\w+)"
)


def contradicts(question: str, unit: Unit, texts: Sequence[Text], asked: Wanted) -> bool:
    """Whether what the unit says is of another thing of its kind than the one that `question` names."""
    text, above = texts[unit.text].text, texts[unit.text].heading
    said = passage_of(texts, unit)
    return (
        any(_apart(own, said, text[: unit.range[0]], above) for own in _named(question))
        # Where a day is asked for, those of the sentence may be the answer.
        or (asked.kind != "date" and any(_another(*kind, question, said) for kind in _CALENDAR))
        or _of_another(question, said, f"{above} {text}")
    )


# ---- beside a noun -------------------------------------------------------------------------------

_Named = tuple[int, str, frozenset[str]]
"""The kind of the words, the stem of the noun, and the words that stand beside it."""


def _named(text: str) -> Iterator[_Named]:
    """The nouns of `text` that such words stand beside: "the north and south piers", "rooms 3 to 5"."""
    words = [(text[a:b].casefold(), a, b) for a, b in word_ranges(text)]
    run: set[str] = set()
    last = -1
    for (word, _, end), (noun, start, _) in pairwise(words):
        word = _SAME.get(word, word)
        kind = _KINDS.get(word, -1)
        if kind < 0:
            run = run if word in ("and", "or", "the") else set()
            continue
        run, last = {word, *(run if kind == last else ())}, kind
        if _SAME.get(noun, noun) not in _KINDS and noun not in STOP_WORDS and text[end:start] == " ":
            yield kind, stem(noun), frozenset(run)
    for match in _NUMBERED.finditer(text):
        first, *others = (int(one) for one in re.findall(r"\d+", match[2] + match[3]))
        held = range(first, others[-1] + 1) if re.search(r"to|[-–]", match[3]) else (first, *others)
        if match[1].casefold() not in _NO_NAMES and match[1].capitalize() not in _MONTHS:
            yield len(_BEFORE_NOUN), stem(match[1]), frozenset(map(str, held))


def _apart(own: _Named, said: str, before: str, above: str) -> bool:
    """Whether the noun has other words of the kind: in the sentence or, where that says "it" or has the bare noun, in
    the nearest one of its paragraph, or in the headings above."""
    kind, noun, asked = own
    leans = _PRONOUN.search(said) or noun in (stem(said[a:b]) for a, b in word_ranges(said))
    earlier = [*reversed(_SENTENCE.split(_PARAGRAPH.split(before)[-1])), above] if leans else []
    for body in (said, *earlier):
        if any((k, n) == (kind, noun) and asked & words for k, n, words in _named(body)):
            return False
        if any((k, n) == (kind, noun) for k, n, _ in _named(_COMPARED.sub(" ", body))):
            return True
    return False


# ---- days, months, seasons, years ----------------------------------------------------------------


def _another(pattern: re.Pattern[str], names: Sequence[str], question: str, said: str) -> bool:
    """Whether the question names one of a kind and the sentence others alone."""
    asked, held = _held(pattern, names, question), _held(pattern, names, said)
    others = _held(pattern, names, _COMPARED.sub(" ", said))
    return bool(asked and others) and not _ANY.search(said) and not asked & held


def _held(pattern: re.Pattern[str], names: Sequence[str], text: str) -> set[int]:
    """Those of a kind that `text` names, with all of "Monday to Friday"; none where one is a bound ("since 2018")."""
    text = _SHORT.sub(r"\1\2\3\1\4", text)
    found = [match for match in pattern.finditer(text) if names or not is_amount(text, *match.span())]
    places = [names.index(match[1]) if names else int(match[1]) for match in found]
    held, bounded = set(places), set[int]()
    for i in range(len(found) - 1):
        if _TO.fullmatch(text, found[i].end(), found[i + 1].start()):
            end = places[i + 1] + (len(names) if places[i + 1] < places[i] else 0)
            held |= {place % len(names) if names else place for place in range(places[i], end + 1)}
            bounded |= {i, i + 1}
    open_ended = any(i not in bounded and _OPEN.search(text[: match.start()]) for i, match in enumerate(found))
    return set() if open_ended else held


# ---- owners --------------------------------------------------------------------------------------


def _of_another(question: str, said: str, around: str) -> bool:
    """Whether the question asks for what is somebody's who is not named, and the sentence tells another's."""
    told = {stem(noun) for _, noun in _OWNER.findall(said)}
    return any(
        stem(noun) in told and not re.search(rf"\b{re.escape(name)}\b", around, re.IGNORECASE)
        for name, noun in _OWNER.findall(question)
    )
