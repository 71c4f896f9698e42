"""Citation marks in an answer, in the many forms that models write them. Knows nothing about what they point to."""

import re
from dataclasses import dataclass

from app.sentences import Range

_WORD = (
    r"(?:sources?|passages?|documents?|docs?|refs?|references?|citations?|memory|memories|quellen?|fuentes?|来源"
    r"|文献|段落)\.?\s*:?\s*#?"
)
_ONE = rf"(?:{_WORD})?\^?[mM]?\d{{1,3}}"
_LIST = rf"{_ONE}(?:\s*(?:,|;|&|\+|、|，|and|und|y|et|to|-|–|—|‑)\s*{_ONE})*"
_BRACKETS = re.compile(
    rf"[\[［【〔]\s*({_LIST})\s*(?:[†‡][^\]］】〕]*)?[\]］】〕](?:\((?:https?:|#)[^)\s]*\))?(?!:\s)", re.IGNORECASE
)
_NAMED_ROUND = re.compile(
    rf"\(\s*({_WORD}\d{{1,3}}(?:\s*(?:,|;|&|and|-|–)\s*{_ONE})*|[mM]\d{{1,3}})\s*\)", re.IGNORECASE
)
_ROUND = re.compile(r"(?<=[^\s(])\s?\((\d{1,2}(?:\s?[,;–-]\s?\d{1,2})*)\)(?=[\s.,;:!?。，]|$)")
_SUP_TAG = re.compile(rf"<sup>\s*\[?({_LIST})\]?\s*</sup>", re.IGNORECASE)
_SUPERSCRIPT = re.compile(r"(?:(?<=[^\W\d_]{3})|(?<=[.,;:!?”\"’)\]。，]))([⁰¹²³⁴-⁹]+(?:[⁻˒,][⁰¹²³⁴-⁹]+)*)")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻˒", "0123456789-,")
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`", re.DOTALL)
_DEFINITION = re.compile(r"^[ \t]*\[\^?\d{1,3}\]:.*$", re.MULTILINE)
_UNITS = re.compile(r"(?:^|[\d\s/])(?:[kcdmµ]?m|in|ft|yd|mi|inch|sec)$")
_MOST = 20
"""A range longer than this is no list of sources."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark: its range in the answer, the passages and the memories that it names, in order."""

    start: int
    end: int
    numbers: tuple[int, ...]
    memories: tuple[int, ...] = ()


def code_ranges(answer: str) -> list[Range]:
    """Code blocks and inline code: nothing in them is a claim, a quote or a mark."""
    return [match.span() for match in _CODE.finditer(answer)]


def definition_ranges(answer: str) -> list[Range]:
    """Footnote definitions (`[^1]: harbour.pdf`): they name sources and claim nothing."""
    return [match.span() for match in _DEFINITION.finditer(answer)]


def marks(answer: str) -> list[Mark]:
    """The marks of `answer` in order. Bare `(1)` and superscripts count only where no bracketed mark is used."""
    closed = code_ranges(answer) + definition_ranges(answer)
    found = [*_BRACKETS.finditer(answer), *_NAMED_ROUND.finditer(answer), *_SUP_TAG.finditer(answer)]
    marked = _resolve(found, closed)
    if not any(mark.numbers for mark in marked):
        marked += _resolve(
            [*_ROUND.finditer(answer), *(m for m in _SUPERSCRIPT.finditer(answer) if not _is_unit(answer, m))], closed
        )
    return sorted(marked, key=lambda mark: mark.start)


def _is_unit(answer: str, match: re.Match[str]) -> bool:
    return bool(_UNITS.search(answer[max(match.start() - 6, 0) : match.start()]))


def _resolve(matches: list[re.Match[str]], closed: list[Range]) -> list[Mark]:
    resolved = []
    for match in matches:
        if any(a <= match.start() < b for a, b in closed):
            continue
        numbers, memories = _expand(match.group(1).translate(_DIGITS))
        if numbers or memories:
            start = match.start() + (match.group()[0].isspace())
            resolved.append(Mark(start, match.end(), numbers, memories))
    return resolved


def _expand(body: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers and memory ids of `1, 3-5, m2`."""
    numbers: list[int] = []
    memories: list[int] = []
    plural_memory = bool(re.match(r"\s*memor", body, re.IGNORECASE))
    for match in re.finditer(r"([mM]?)(\d{1,3})(?:\s*(?:-|–|—|‑|to)\s*[mM]?(\d{1,3}))?", body):
        first, last = int(match.group(2)), int(match.group(3) or match.group(2))
        if not 0 <= last - first < _MOST:
            last = first
        (memories if match.group(1) or plural_memory else numbers).extend(range(first, last + 1))
    return tuple(dict.fromkeys(numbers)), tuple(dict.fromkeys(memories))
