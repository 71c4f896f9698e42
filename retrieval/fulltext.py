"""Text as FTS5 sees it: bigrams for scripts without spaces, and queries that cannot be syntax errors.

Knows nothing about tables. Use with `tokenize` as in `TOKENIZE`.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

TOKENIZE = "porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
"""Marks (Mn, Mc) belong to words: without them Devanagari and Thai words fall apart at each vowel sign."""

# Han, Hiragana, Katakana (with its length mark), Bopomofo, Thai, Lao, Myanmar, Khmer.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+"
)

_ENGLISH = """
    a about after all also an and any are as at be because been before being between both but by can could did do
    does doing during each few for from further had has have having he her here hers him his how i if in into is it
    its itself just me more most my no nor not of off on once only or other our out over own same she should so some
    such than that the their them then there these they this those through to too under until up very was we were
    what when where which while who whom whose why will with would you your
"""
STOP_WORDS = frozenset(_ENGLISH.split())
"""English words that carry no topic. Frequent words of other languages are pruned by their document frequency."""

_NUMBER = re.compile(r"\d(?<![\w.,]\d)(?:\d{0,2}([.,'’ ])\d{3}(?:\1\d{3})*|\d{3,14})(?!\w)", re.ASCII)
"""One above 999, its thousands apart or not. A pattern that begins with a look behind takes three times as long."""
_SEPARATOR = re.compile(r"\D")

_END = 2_000

_PART = 4
"""Letters of the shortest word that a compound is taken apart into."""


def fts_text(text: str) -> str:
    """Return `text` as it is put into an FTS5 table: NFKC, and runs of scripts without spaces as bigrams.

    A run's last character also stands alone, so that a one-character query, a prefix, meets every character.
    """
    return _UNSPACED.sub(lambda run: " " + " ".join(_bigrams(run.group(), tail=True)) + " ", _normal(text))


def both_ends(query: str) -> str:
    """Return what of `query` is worth seeking by words, each of which takes about .2 ms at worst: what is pasted with a
    question stands before or after it."""
    return query if len(query) <= 2 * _END else f"{query[:_END]} {query[-_END:]}"


def fts_terms(text: str) -> list[str]:
    """Return the distinct terms of a query as FTS5 strings, without stop words unless there is nothing else."""
    terms: dict[str, None] = {}
    for word in _words(_normal(text)):
        position = 0
        for run in _UNSPACED.finditer(word):
            terms[_quoted(word[position : run.start()])] = None
            parts = _bigrams(run.group(), tail=False)
            terms.update(dict.fromkeys(_quoted(part) + ("*" if len(part) == 1 else "") for part in parts))
            position = run.end()
        terms[_quoted(word[position:])] = None
    terms.pop('""', None)
    telling = [term for term in terms if term[1:-1] not in STOP_WORDS]
    return telling or list(terms)


def fts_query(text: str) -> str:
    """Return a MATCH expression that finds any of the words of `text`; empty if it has none."""
    return " OR ".join(fts_terms(text))


def fts_beginnings(terms: list[str]) -> list[str]:
    """Return `terms` with, for each word of five letters or more, its beginning: a rough stem in any language."""
    words = [term[1:-1] for term in terms if term.endswith('"')]
    short = (f"{_quoted(word[: max(4, len(word) - 2)])}*" for word in words if len(word) > 4)
    return list(dict.fromkeys([*terms, *short]))


def thousands(text: str) -> Iterator[list[str]]:
    """Each number of `text` above 999 by its thousands (`12`, `500`), whether they stand apart there or not."""
    for number in _NUMBER.finditer(_normal(text)):
        digits = _SEPARATOR.sub("", number[0])
        first = len(digits) % 3 or 3
        yield [digits[:first], *(digits[at : at + 3] for at in range(first, len(digits), 3))]


def fts_ends(term: str) -> tuple[list[str], list[str]]:
    """Return what the compound word `term` may begin with and what it may end in, as terms, longest first.

    A linking letter ("Versicherung-s-fall") stays out by itself, for which of them are words the library tells.
    """
    word = term[1:-1] if term.endswith('"') else ""
    cuts = range(_PART, len(word) - _PART + 1)
    return [_quoted(word[:cut]) for cut in reversed(cuts)], [_quoted(word[cut:]) for cut in cuts]


def unspaced_and_words(text: str) -> tuple[str, list[str]]:
    """Return all characters of scripts without spaces, and the words of the others, lower case."""
    normal = _normal(text)
    return "".join(_UNSPACED.findall(normal)), _words(_UNSPACED.sub(" ", normal))


def unspaced_runs(text: str) -> list[tuple[int, int]]:
    """Return start and end of each run of a script without spaces."""
    return [run.span() for run in _UNSPACED.finditer(text)]


def fts_phrase(text: str) -> str:
    """Return a MATCH expression that finds the words of `text` in a row; empty if it has none."""
    spaced = _UNSPACED.sub(lambda run: f" {' '.join(_bigrams(run.group(), tail=False))} ", _normal(text))
    words = _words(spaced)
    # One ideograph alone is the first half of some bigram.
    last = "*" if len(words) == 1 and len(words[0]) == 1 and _UNSPACED.fullmatch(words[0]) else ""
    return f"{_quoted(' '.join(words))}{last}" if words else ""


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _bigrams(run: str, tail: bool) -> list[str]:
    pairs = [a + b for a, b in pairwise(run)]
    return [*pairs, run[-1]] if tail or not pairs else pairs


def _words(text: str) -> list[str]:
    """Split as unicode61 does with the categories of `TOKENIZE`."""
    kept = (
        c if unicodedata.category(c)[0] in "LN" or unicodedata.category(c) in ("Co", "Mn", "Mc") else " " for c in text
    )
    return "".join(kept).lower().split()


def _quoted(word: str) -> str:
    return f'"{word}"'
