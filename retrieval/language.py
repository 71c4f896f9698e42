"""How well an embedder reads a text, told from how far its tokenizer takes the words apart. Pure functions.

A tokenizer made for other languages knows few of a text's words and spells them in pieces. Word pieces per word,
MiniLM: English questions 1.0 (median) and 1.4 (95 in 100), Spanish 1.8 and 2.3, German and French 1.4 to 2.3.
"""

from collections.abc import Callable

from retrieval.fulltext import unspaced_and_words

FAMILIAR = 1.35
"""Up to so many pieces per word, meaning counts in full."""
STRANGE = 1.75
"""From so many on, it counts `LEAST` of that."""
LEAST = 0.55
INFLECTED = 1.5
"""From so many on, the English stemmer of the full-text index is no help either, and words are sought by their
beginnings, too."""
RUNS, RUNS_STRANGE = 0.5, 0.65
"""Weight of shared runs of characters (`retrieval.runs`) in a known language, and from `INFLECTED` pieces on."""
_WORDS_PER_CHARACTER = 0.55
"""Of scripts without spaces, about."""


def pieces_per_word(text: str, count: Callable[[str], int]) -> float:
    """Tokens, as `count` counts them with the special ones, for each word of `text`; 0 if it has none."""
    unspaced, words = unspaced_and_words(text)
    total = len(words) + _WORDS_PER_CHARACTER * len(unspaced)
    return (count(" ".join([*words, unspaced])) - count("")) / total if total else 0.0


def trust(pieces: float) -> float:
    """The share of its usual weight that meaning has in a search for a text of `pieces` per word."""
    known = (STRANGE - pieces) / (STRANGE - FAMILIAR)
    return LEAST + (1 - LEAST) * min(max(known, 0.0), 1.0)


def weight_of_runs(pieces: float) -> float:
    """The weight of shared runs of characters beside meaning and words in a search for a text of `pieces` per word."""
    return RUNS_STRANGE if pieces >= INFLECTED else RUNS
