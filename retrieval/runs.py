"""Runs of characters that a query and a text share: inflected words, and words in a row; and numbers. Pure functions.

A run goes across the spaces between words, so that it holds the end of one and the beginning of the next: what stands
side by side in both tells more than what is only somewhere in both. Of scripts without spaces it is a word or so.

N texts, R runs.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.fulltext import thousands, unspaced_runs

_LENGTH = 5
"""Characters of a run. 4 and 6 do about as well in English and Spanish; several lengths at once gain nothing."""
_UNSPACED_LENGTHS = (2, 3)
_K1, _B = 1.2, 0.75
"""Those of BM25 (Robertson and Zaragoza, 2009)."""
_MARKS = re.compile("[\u0300-\u036f]+")
_GAPS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"\d+")


def share_of_runs(query: str, texts: Sequence[str], b: float = _B) -> NDArray[np.float64]:
    """How much of the runs of `query` each text has: [N], BM25 as a share of the most there could be.

    A run counts by how few of `texts` have it, so that they are told from each other and from nothing else.
    The more `b`, up to 1, the more of them a longer text must have for the same share.
    """
    runs = list(dict.fromkeys(_runs(_folded(query))))
    if not runs or not texts:
        return np.zeros(len(texts))
    folded = [_folded(text) for text in texts]
    counts = np.array([[text.count(run) for run in runs] for text in folded], dtype=np.float64)  # [N, R]
    having = (counts > 0).sum(axis=0)  # [R]
    weights = np.maximum(np.log((len(texts) - having + 0.5) / (having + 0.5)), 1e-6)  # [R]
    lengths = np.array([len(text) for text in folded], dtype=np.float64)[:, None]
    longer = _K1 * (1 - b + b * lengths / lengths.mean())  # [N, 1]
    shares: NDArray[np.float64] = (counts / (counts + longer)) @ weights / weights.sum()
    return shares


def share_of_numbers(query: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """How many of the numbers of `query` each text has: [N], from 0 to 1. Most are too short for a run of their own."""
    asked = _numbers(query)
    if not asked:
        return np.zeros(len(texts))
    return np.array([len(asked & _numbers(text)) / len(asked) for text in texts])


def _numbers(text: str) -> set[str]:
    """The numbers of `text`; one whose thousands stand apart as its parts, and whole."""
    return {*_DIGITS.findall(text), *map("".join, thousands(text))}


def _folded(text: str) -> str:
    """Lower case without accents and punctuation, a space around each word."""
    plain = text.lower()
    if not plain.isascii():
        plain = _MARKS.sub("", unicodedata.normalize("NFKD", plain))
    return f" {_GAPS.sub(' ', plain).strip()} "


def _runs(folded: str) -> Iterator[str]:
    at = 0
    for start, end in [*unspaced_runs(folded), (len(folded), len(folded))]:
        spaced = folded[at:start]
        yield from (spaced[i : i + _LENGTH] for i in range(max(len(spaced) - _LENGTH + 1, 0)))
        for length in _UNSPACED_LENGTHS:
            yield from (folded[i : i + length] for i in range(start, end - length + 1))
        at = end
