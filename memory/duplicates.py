"""When two memories say the same. Pure functions over text; the caller brings the cosine.

A wrong merge loses what the user said, a missed one costs a row, so every rule here errs towards keeping both: a text
is a duplicate only if its words occur in the other's, in the same order, and everything that carries a value (a number,
a date, a negation, a name) is a word like any other.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

# Words that change nothing about what is claimed. Pronouns, tenses and negations stay.
_EMPTY = frozenset("a an the that also really very just please so well actually btw".split())  # noqa: SIM905  words read best as words
_VALUE = re.compile(r"\d|^(?:no|not|never|none|nobody|nothing|neither|nor|without|un\w+)$|n't$")
_WORD = re.compile(r"\w+(?:[.,:/'’\-@+]\w+)*|[+\-€$£%°]")
_CONTRACTIONS = {
    "i'm": ["i", "am"],
    "it's": ["it", "is"],
    "that's": ["that", "is"],
    "can't": ["can", "not"],
    "won't": ["will", "not"],
}


def normalised(text: str) -> str:
    """The text as compared: NFKC, case folded, white space collapsed, closing punctuation dropped."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(folded.split()).rstrip(" .!;,…")


def content_hash(text: str) -> str:
    """SHA-256 of the normalised text: equal for exact duplicates."""
    return hashlib.sha256(normalised(text).encode()).hexdigest()


def words(text: str) -> list[str]:
    """What the text claims, word by word, in order, without words that change nothing."""
    found: list[str] = []
    for token in _WORD.findall(normalised(text)):
        if token in _CONTRACTIONS:
            found += _CONTRACTIONS[token]
        elif token.endswith("n't"):
            found += [token[:-3], "not"]
        elif token not in _EMPTY:
            found.append(token)
    return found


def adds_nothing(new: str, old: str, cosine: float, threshold: float) -> bool:
    """Whether `new` says only what `old` already says.

    All of its words stand in `old` in the same order, most of `old` is covered, nothing that carries a value is left
    over in `old`, and the vectors agree. ("Anna manages Bob" and "Bob manages Anna" have cosine .98 and differ.)
    """
    fresh, known = words(new), words(old)
    if cosine < threshold or not fresh:
        return False
    left = _left_over(fresh, known)
    return left is not None and len(fresh) >= 0.7 * len(known) and not any(_VALUE.search(word) for word in left)


def _left_over(part: Sequence[str], whole: Sequence[str]) -> list[str] | None:
    """The words of `whole` outside its subsequence `part`; None if it is no subsequence."""
    left: list[str] = []
    position = 0
    for word in whole:
        if position < len(part) and word == part[position]:
            position += 1
        else:
            left.append(word)
    return left if position == len(part) else None
