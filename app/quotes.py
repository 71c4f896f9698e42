"""Quotations in an answer, and where they stand in a source. Offsets always count in the texts as given.

A quotation and a source are compared after normalising form: NFKC (but powers, indices and fractions keep their
meaning), typographic quotes and dashes, white space, words hyphenated at a line's end, invisible characters.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from app.sentences import Range, stem, word_ranges

LEAST = 12
"""A shorter quotation proves nothing: its words are checked as part of the sentence."""
LEAST_IDEOGRAPHS = 6

_FORMS = dict.fromkeys('‘’‚‛`´ʼ′“”„‟«»″「」『』＂"', "'") | dict.fromkeys("‐‑‒–—−﹣－", "-")
"""All marks of quotation are one, since nesting changes them."""
_QUOTES = re.compile(
    r"“(?P<a>[^“”]+)[”“]|„(?P<b>[^„“”]+)[“”]|«\s?(?P<c>[^«»]+?)\s?»|»(?P<d>[^«»]+)«"
    r"|\"(?P<e>[^\"\n]+(?:\n[^\"\n]+){0,3})\""
    r"|「(?P<f>[^「」]+(?:『[^』]*』[^「」]*)*)」|『(?P<g>[^『』]+)』|(?<![\w])‘(?P<h>[^‘\n]{12,}?)’(?![\w])|‹(?P<i>[^‹›]+)›"
    r"|''(?P<j>[^'\n]+)''",
)
_BLOCK = re.compile(r"(?:^[ \t]*>[^\n]*(?:\n|\Z))+", re.MULTILINE)
_LAST_MARKS = re.compile(r"(?:\s*[\[【(]\^?m?\d{1,3}(?:\s?[,–-]\s?\d{1,3})*[\]】)])+\s*$", re.IGNORECASE)
_ELLIPSIS = re.compile(r"\s*(?:\[\s*(?:\.\s?\.\s?\.|…)\s*\]|\(\s*(?:\.\.\.|…)\s*\)|\.\s?\.\s?\.\.?|…|⋯)\s*")
_ONE_LETTER = re.compile(r"\[([^\W\d_])\](?=[^\W\d_])")
_ALTERED = re.compile(r"\s*\[[^\]\n]{0,60}\]\s*")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|can't|won't|isn't|aren't|wasn't|weren't"
    r"|doesn't|don't|didn't|hasn't|haven't|hadn't"
    r"|shouldn't|wouldn't|couldn't|mustn't|except|unless|fails?|failed|nicht|kein\w*|nie|ohne|ni|jamás|nunca|sin"
    r"|jamais|sans)\b|n['’]t\b|[不没無无未非]",
    re.IGNORECASE,
)
_HARMLESS = frozenset(["a", "an", "the", "that", "which", "and", "of", "also", "just", "to"])
_GAP = 800
"""Characters that one ellipsis may stand for."""
_ALTERED_GAP = 80


@dataclass(frozen=True, slots=True)
class Quotation:
    """A quotation: its range in the answer with its marks of quotation, and the words inside."""

    start: int
    end: int
    text: str
    block: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Where a quotation stands in a source; `exact` if only its form differs."""

    start: int
    end: int
    exact: bool


def quotations(answer: str, closed: Sequence[Range] = ()) -> list[Quotation]:
    """Quotations long enough to prove something, in order; those inside a block quotation belong to it."""
    found: list[Quotation] = []
    for match in _BLOCK.finditer(answer):
        text = re.sub(r"^[ \t]*>[ \t]?", "", match.group(), flags=re.MULTILINE).strip()
        found.append(Quotation(match.start(), match.end(), _LAST_MARKS.sub("", text).strip('"“”«»„ \n'), block=True))
    blocks = [(q.start, q.end) for q in found] + list(closed)
    for match in _QUOTES.finditer(answer):
        if not any(a <= match.start() < b for a, b in blocks):
            found.append(Quotation(match.start(), match.end(), next(g for g in match.groups() if g is not None)))
    return sorted((q for q in found if proves(q.text)), key=lambda q: q.start)


def proves(text: str) -> bool:
    """Whether a quotation is long enough for its finding to mean something."""
    wide = sum(1 for c in text if unicodedata.east_asian_width(c) in "WF")
    return len(text.strip()) >= (LEAST_IDEOGRAPHS if wide > len(text) / 2 else LEAST)


# ---- normal form with offsets -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Normal:
    """A text in normal form; character i of `text` comes from `[starts[i], ends[i])` of the original."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def original(self, start: int, end: int) -> Range:
        return self.starts[start], self.ends[end - 1]


@lru_cache(maxsize=64)
def normalise(text: str, joined: bool = True) -> Normal:
    """Normal form of `text`; `joined` drops a hyphen at a line's end, else it is kept and only the break goes."""
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    while position < len(text):
        end = position + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        form = _form(text[position:end])
        if form == " ":
            while end < len(text) and (text[end].isspace() or unicodedata.category(text[end]) == "Cf"):
                end += 1
            following = text[end] if end < len(text) else ""
            before = characters[-1] if characters else ""
            if (
                "\n" in text[position:end]
                and before == "-"
                and following.islower()
                and len(characters) > 1
                and characters[-2].isalpha()
            ):
                if joined:
                    characters.pop(), starts.pop(), ends.pop()
                form = ""
            elif not characters or (_wide(before) and _wide(following)):
                form = ""
        for character in form:
            characters.append(character)
            starts.append(position)
            ends.append(end)
        position = end
    return Normal("".join(characters), tuple(starts), tuple(ends))


def _form(cluster: str) -> str:
    if len(cluster) == 1:
        if cluster.isspace():
            return " "
        if cluster in _FORMS:
            return _FORMS[cluster]
        if unicodedata.category(cluster) in ("Cf", "Cc"):
            return ""
        if unicodedata.decomposition(cluster).startswith(("<super>", "<sub>", "<fraction>")):
            return cluster
    form = unicodedata.normalize("NFKC", cluster)
    return "".join(_FORMS.get(c, c) for c in form)


def _wide(character: str) -> bool:
    return bool(character) and unicodedata.east_asian_width(character) in "WF"


def _fold(text: str) -> str:
    """Case folded without changing the length, so that offsets hold."""
    return "".join(low if len(low := c.casefold()) == 1 else c for c in text)


# ---- finding ------------------------------------------------------------------------------------


def find(quote: str, source: str, near: Range | None = None) -> Found | None:
    """Where `quote` stands in `source`, the place that overlaps `near` first; None if it does not stand there.

    Exact means: the same after normalising form. Otherwise the words are the source's but for letter case, an honest
    omission (ellipsis, brackets), inflection or an article. A changed number, name or negation is never found.
    """
    for joined in (True, False):
        wish, text = _clean(normalise(quote, joined).text), normalise(source, joined)
        if not wish:
            return None
        if place := _place(wish, text.text, text, near):
            return Found(*place, exact=True)
    text = normalise(source)
    wish = _clean(normalise(quote).text)
    if place := _place(_fold(wish), _fold(text.text), text, near):
        return Found(*place, exact=False)
    if (place := _in_pieces(wish, text, near)) or (place := _nearly(wish, text, near)):
        return Found(*place, exact=False)
    return None


def _clean(quote: str) -> str:
    """Without the punctuation that style puts inside quotation marks, and without ellipses at the ends."""
    quote = quote.strip().strip("\"'").strip()
    before = None
    while before != quote:
        before = quote
        quote = re.sub(r"^(?:\[?(?:\.\.\.|…)\]?)\s*|\s*(?:\[?(?:\.\.\.|…)\]?)$", "", quote).strip()
        quote = quote.rstrip(".,;:!?。，；：！？ ") or quote
    return quote


def _place(wish: str, text: str, normal: Normal, near: Range | None) -> Range | None:
    """The occurrence of `wish` at word bounds that overlaps `near`, else the first."""
    first: Range | None = None
    at = text.find(wish)
    while at >= 0:
        if _whole(text, at, at + len(wish)):
            place = normal.original(at, at + len(wish))
            if near is None or (place[0] < near[1] and near[0] < place[1]):
                return place
            first = first or place
        at = text.find(wish, at + 1)
    return first


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no word or number is cut: `12 boats` does not stand in `112 boats`, nor `1.5` in `1.55`."""
    if start and _glued(text[start - 1], text[start], text[start - 2 : start - 1]):
        return False
    return end >= len(text) or not _glued(text[end], text[end - 1], text[end + 1 : end + 2])


def _glued(outside: str, inside: str, beyond: str) -> bool:
    if _wide(outside) or _wide(inside):
        return outside.isdigit() and inside.isdigit()
    if outside.isalnum() and inside.isalnum():
        return True
    return (inside.isdigit() and outside in ".,-" and beyond.isdigit()) or (inside.isdigit() and outside in "-%²³")


def _in_pieces(wish: str, normal: Normal, near: Range | None) -> Range | None:
    """A quotation with omissions: its pieces in order, close to each other, with no negation left out."""
    wish = _ONE_LETTER.sub(r"\1", wish)
    parts: list[tuple[str, int]] = []
    rest, gap = wish, 0
    while rest:
        matches = [m for m in (_ELLIPSIS.search(rest), _ALTERED.search(rest)) if m]
        cut = min(matches, key=lambda m: m.start(), default=None)
        piece = rest[: cut.start()] if cut else rest
        if piece.strip(" ,;:."):
            parts.append((_fold(piece.strip(" ,;:.")), gap))
            gap = 0
        if cut is None:
            break
        gap = max(gap, _GAP if _ELLIPSIS.fullmatch(cut.group()) else _ALTERED_GAP)
        rest = rest[cut.end() :]
    if not parts or sum(len(piece) for piece, _ in parts) < LEAST_IDEOGRAPHS:
        return None
    text = _fold(normal.text)
    best: Range | None = None
    at = text.find(parts[0][0])
    while at >= 0:
        if end := _follow(text, at, parts):
            place = normal.original(at, end)
            if near is None or (place[0] < near[1] and near[0] < place[1]):
                return place
            best = best or place
        at = text.find(parts[0][0], at + 1)
    return best


def _follow(text: str, at: int, parts: Sequence[tuple[str, int]]) -> int | None:
    """The end of the last piece if all follow from `at`."""
    end = at
    for index, (piece, gap) in enumerate(parts):
        start = at if index == 0 else text.find(piece, end, end + gap + len(piece))
        if start < 0 or not _whole(text, start, start + len(piece)):
            return None
        skipped = text[end:start]
        if index and _NEGATION.search(skipped) and not re.search(r"[.!?。]\s", skipped):
            return None
        if index and gap == _ALTERED_GAP and re.search(r"\d", skipped):
            return None  # a bracket that stands for a number may have changed it
        end = start + len(piece)
    return end


def _nearly(wish: str, normal: Normal, near: Range | None) -> Range | None:
    """The same words but for inflection and harmless small words; what differs must carry no meaning of its own."""
    words = [wish[a:b] for a, b in word_ranges(wish)]
    if len(words) < 4:
        return None
    asked = [stem(word) for word in words]
    ranges, stems = _stems(normal)
    rare = min(range(len(asked)), key=lambda i: (stems.count(asked[i]) or 10**6, -len(asked[i])))
    found: list[Range] = []
    for centre in (i for i, s in enumerate(stems) if s == asked[rare]):
        first = max(centre - rare - 3, 0)
        window = stems[first : centre - rare + len(asked) + 4]
        blocks = [b for b in SequenceMatcher(None, asked, window, autojunk=False).get_matching_blocks() if b.size]
        if sum(b.size for b in blocks) < 0.8 * len(asked):
            continue
        used = {i for b in blocks for i in range(b.a, b.a + b.size)}
        seen = {i for b in blocks for i in range(b.b, b.b + b.size)}
        missing = [words[i] for i in range(len(words)) if i not in used]
        low, high = min(seen), max(seen)
        extra = [window[i] for i in range(low, high + 1) if i not in seen]
        if all(word.casefold() in _HARMLESS for word in missing) and all(word in _HARMLESS for word in extra):
            found.append(normal.original(ranges[first + low][0], ranges[first + high][1]))
    if near is not None:
        found.sort(key=lambda place: not (place[0] < near[1] and near[0] < place[1]))
    return found[0] if found else None


@lru_cache(maxsize=16)
def _stems(normal: Normal) -> tuple[list[Range], list[str]]:
    ranges = word_ranges(normal.text)
    return ranges, [stem(normal.text[a:b]) for a, b in ranges]


def negations(text: str) -> int:
    return len(_NEGATION.findall(text))
