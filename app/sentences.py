"""Sentences and words of a text, with their offsets. Knows nothing about questions, answers or documents.

A unit is what a citation can show as a whole: a sentence of prose, a list item, a heading, or one row of a table.
"""

import re
import unicodedata
from functools import lru_cache

from app.paragraphs import Range as Range
from app.paragraphs import blocks, is_row

_BREAK = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？｡]+[”’」』）]*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|no|nos|vs|e\.g|i\.e|cf|fig|figs|eq|sec|ch|vol|pp|p|approx|ca|inc|ltd|co|corp|jr|sr"
    r"|gen|col|capt|lt|sgt|rev|hon|dept|est|jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec|z\.b|bzw|art|al|bd|nr)"
    r"|\b[A-Za-z]|\.[A-Za-z])\.$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*|[^\W_]+")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")

STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "above",
        "after",
        "again",
        "all",
        "also",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "down",
        "during",
        "each",
        "few",
        "for",
        "from",
        "further",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "hers",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "itself",
        "just",
        "let",
        "me",
        "more",
        "most",
        "my",
        "no",
        "nor",
        "not",
        "now",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "ours",
        "out",
        "over",
        "own",
        "please",
        "same",
        "she",
        "should",
        "so",
        "some",
        "such",
        "tell",
        "than",
        "that",
        "the",
        "their",
        "theirs",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "us",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "yours",
        "'s",
        "s",
        "t",
        "much",
        "many",
    ]
)


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Range]:
    """Ranges of the units of `text[start:end]`, in order, without the white space around them."""
    end = len(text) if end is None else end
    found: list[Range] = []
    whole, lone = blocks(text, start, end)
    for block in whole:
        found.extend([_trim(text, *block)] if block in lone else _split(text, *block))
    return found


def _split(text: str, start: int, end: int) -> list[Range]:
    if is_row(text[start:end]) and "\n" not in text[start:end].strip():
        return [_trim(text, start, end)]
    found: list[Range] = []
    first = start
    for match in _BREAK.finditer(text, start, end):
        after = text[match.end() : match.end() + 8].lstrip()
        western = match.group()[0] in ".!?…"
        if western:
            if after[:1].islower() or not after:
                continue
            if match.group() == "." and _ABBREVIATION.search(text[max(first, match.end() - 8) : match.end()]):
                continue
            if re.fullmatch(r"\s*(?:(?:[-*+•–]|#{1,6})\s*)?[QA]?\d{1,3}\.", text[first : match.end()]):
                continue  # the number of a list item
        found.append(_trim(text, first, match.end()))
        first = match.end()
    found.append(_trim(text, first, end))
    return [unit for unit in found if unit[0] < unit[1]]


def _trim(text: str, start: int, end: int) -> Range:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def word_ranges(text: str) -> list[Range]:
    """Ranges of the words; each character of a script without spaces is a word."""
    found: list[Range] = []
    for match in _WORD.finditer(text):
        if _IDEOGRAPH.search(match.group()):
            found.extend((i, i + 1) for i in range(match.start(), match.end()))
        else:
            found.append(match.span())
    return found


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A word without case, accents of form and the commonest English endings, for comparing words."""
    word = unicodedata.normalize("NFKC", word).casefold().replace("’", "'")
    word = word.removesuffix("'s").removesuffix("'")
    if not word.isascii() or any(c.isdigit() for c in word):
        return word
    for ending, least in (("ies", 5), ("ing", 6), ("edly", 7), ("ed", 5), ("es", 5), ("ly", 6), ("s", 4)):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def content_words(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    words = (text[a:b] for a, b in word_ranges(text))
    return [stem(word) for word in words if word.casefold().replace("’", "'") not in STOP_WORDS]
