"""What an answer may not be parted from: the words that deny its clause, limit it, or make its sentence conditional.

English only. Said without them, a span says the opposite of its sentence ("cash" of "never in cash"), or less ("10:00"
of "no later than 10:00"). Knows nothing about what a question asks for.
"""

import re

from app.sentences import Range

_DENIAL = re.compile(
    r"\b(?:not(?! only\b)|never|no(?!\.|t\b)|nor|neither|none|nobody|nothing|cannot|without)\b|n['’]t\b", re.I
)
_CONDITION = re.compile(r"\b(?:unless|except|provided that|only (?:if|when|after|with))\b", re.I)
_CLAUSE = re.compile(r"[,;:]\s|\b(?:and|but|because|although|though|while|whereas|so that|which)\b", re.I)
_LIMIT = re.compile(
    r"\b(?:(?:no|not) (?:later|earlier|sooner|more|less|fewer|longer|higher|lower|older|younger) than"
    r"|at (?:least|most)|up to|(?:more|less|fewer|later|longer|older|younger) than) $",
    re.I,
)
_LIMIT_AFTER = re.compile(r" (?:at the (?:latest|earliest)|or (?:more|less|fewer|later|earlier|older|younger))\b", re.I)


def denies(text: str) -> bool:
    """Whether `text` says that something is not so."""
    return _DENIAL.search(text) is not None


def limited(text: str, unit: Range, span: Range) -> Range:
    """The span with the limit around it: "no later than 10:00", "14 or older"."""
    start, end = span
    if before := _LIMIT.search(text[unit[0] : start]):
        start = unit[0] + before.start()
    if after := _LIMIT_AFTER.match(text, end, unit[1]):
        end = after.end()
    return start, end


def turned(text: str, unit: Range, span: Range) -> bool:
    """Whether words of the unit outside `span` turn what it says: a denial in its clause, a condition anywhere."""
    start, end = span
    if any(not start <= match.start() < end for match in _CONDITION.finditer(text, *unit)):
        return True
    edges = [match.end() for match in _CLAUSE.finditer(text, unit[0], start)]
    after = _CLAUSE.search(text, end, unit[1])
    clause = max(edges, default=unit[0]), after.start() if after else unit[1]
    return any(not start <= match.start() < end for match in _DENIAL.finditer(text, *clause))
