"""What a question asks for (a date, a name, a price ...) and which spans of a sentence could be such a thing.

Rules over surface forms only: no model, no data set. English first; the question words of Spanish, French, German and
Chinese are known too, and the spans are found in any script that marks them by digits, capitals or quotation marks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.qualifiers import denies
from app.sentences import STOP_WORDS, Range, stem, word_ranges

Kind = Literal[
    "person", "place", "date", "time", "number", "money", "percent", "duration", "frequency", "contact",
    "reason", "manner", "definition", "yesno", "thing",
]  # fmt: skip

FITTING: Mapping[str, frozenset[str]] = {
    "person": frozenset({"name", "proper"}),
    "place": frozenset({"name", "proper"}),
    "date": frozenset({"date"}),
    "time": frozenset({"time"}),
    "number": frozenset({"number", "quantity", "length"}),
    "money": frozenset({"money"}),
    "percent": frozenset({"percent"}),
    "duration": frozenset({"duration", "length"}),  # "how long" asks for either
    "frequency": frozenset({"frequency", "duration"}),
    "contact": frozenset({"contact"}),
}
"""Kinds of span that answer what is asked for."""
TOLD: frozenset[Kind] = frozenset({"reason", "manner", "definition", "yesno"})
"""What takes a sentence to answer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a question asks for: the kind, and the noun that the question word asks about (`how many berths`)."""

    kind: Kind
    focus: str | None = None
    """Stem of that noun."""
    lead: str = ""
    """The question word."""
    denied: bool = False
    """Whether the question itself denies ("What may not be kept?")."""


_LEADS: tuple[tuple[str, Kind], ...] = (
    (r"how much .*\b(?:weighs?|holds?|contains?|carry|carries|stores?|uses?|consumes?|measures?|water|power|energy|fuel"
     r"|space|room|memory)\b", "number"),
    (r"how (?:much (?:do(?:es)?|did|is|are|was|were|will|would|should|must|has|have)|expensive|costly)", "money"),
    (r"(?:what|which|how (?:much|high|big|large)) .{0,60}\b(?:price|cost|fees?|fares?|rent|salary|budget|deposit"
     r"|fines?|charges?)\b", "money"),
    (r"how (?:often|frequently)|(?:what|which) frequency", "frequency"),
    (r"how (?:long|old)|(?:what|which) (?:duration|length of time|age)|for how long", "duration"),
    (r"(?:what|which) (?:percent|percentage|proportion|fraction|share)|how many percent", "percent"),
    (r"(?:at |by |until |from )?(?:what|which) (?:time|hour)\b|(?:what|which) .{0,30}\bhours\b|when (?:do"
     r"|does) .{0,40}\b(?:open|close|start|begin|end|leave|depart|arrive)", "time"),
    (r"when\b|(?:in |on |by |since |until |during )?(?:what|which) (?:\w+ )?(?:year|date|day|month|century|decade"
     r"|season|weekday)\b", "date"),
    (r"(?:how (?:many|far|tall|high|deep|wide|big|large|fast|heavy|much|hot|cold))|(?:what"
     r"|which) (?:\w+ ){0,3}(?:number|amount|population"
     r"|size|height|depth|width|weight|length|distance|speed|area|temperature|capacity|score|quantity)\b", "number"),
    (r"(?:what|which) .{0,40}\b(?:e-?mail|phone|telephone|number to call|website|web site"
     r"|url|web address)\b", "contact"),
    (r"who\b|whom\b|whose\b|(?:what|which) (?:person|man|woman|author|king|queen|president|player|actor|scientist"
     r"|artist|leader)\b", "person"),
    (r"(?:in |to |from |at |near )?(?:what|which) (?:\w+ )?(?:city|country|place|state|town|village|region|river"
     r"|street|room|building|continent"
     r"|location|county|province|island|area)\b|where\b", "place"),
    (r"why\b|for what reason|what (?:is|was) the reason", "reason"),
    (r"how\b", "manner"),
    (r"what (?:is|are|was|were) (?:an? )?\w+\??$|what does .* mean|define\b", "definition"),
    (r"(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|must) \w", "yesno"),
    (r"(?:a |con |de |para |desde |¿)*(?:quién|quien|quiénes)\b|qui\b|wer\b|wen\b|wem\b|.*谁", "person"),
    (r"¿?(?:en qué (?:año|fecha|día|mes)|cuándo|cuando)\b|quand\b|wann\b|.*(?:什么时候|何时|哪一年|几月)", "date"),
    (r"¿?(?:de |a |en )?(?:dónde|adónde)\b|où\b|wo\b|woher\b|wohin\b|.*(?:哪里|哪儿|何处|什么地方)", "place"),
    (r"¿?cuánto cuesta|combien coûte|(?:was|wie ?viel) kostet|.*多少钱", "money"),
    (r"¿?cuánt[oa]s?\b|combien\b|wie ?viele?\b|.*(?:多少|几)", "number"),
    (r"¿?por qué|pourquoi\b|warum\b|.*为什么", "reason"),
)  # fmt: skip
_COMPILED = tuple(
    (re.compile(rf"(?:^|.*?[,;:] |.*? )??(?:{p})" if not p.startswith(".*") else p, re.I), k) for p, k in _LEADS[:13]
) + tuple((re.compile(p, re.I), k) for p, k in _LEADS[13:])
_QUESTION_WORD = re.compile(r"\b(how many|how much|how|what|which|who|whom|whose|when|where|why)\b", re.I)
_FOCUS = re.compile(r"\b(?:how many|how much|what|which|whose)\s+((?:[\w'’-]+\s*){1,4})", re.I)


def wanted(question: str) -> Wanted:
    """The kind of thing that `question` asks for; `thing` when no rule tells."""
    question = question.strip()
    kind: Kind = next((kind for pattern, kind in _COMPILED if pattern.match(question)), "thing")
    lead = _QUESTION_WORD.search(question)
    focus = None
    if found := _FOCUS.search(question):
        for word in found.group(1).split():
            if word.casefold() in STOP_WORDS:
                break
            focus = stem(word)
            break
    return Wanted(kind, focus, lead.group(1).lower() if lead else "", denies(question))


# ---- spans --------------------------------------------------------------------------------------

_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr"
    r"|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?"
)
_DAY = r"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)s?"
_NUMBER_WORD = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty"
    r"|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|dozen|half|first|second|third)"
)
# Thousands parted by spaces; of what is parted by points or commas nothing is cut off anyway.
_GROUPED = r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,]\d+)?"
_NUMBER = rf"(?:{_GROUPED}|\d+(?:[.,]\d+)*|\b{_NUMBER_WORD}(?:[ -](?:and )?{_NUMBER_WORD})*\b)"
_SCALE = r"(?:\s(?:hundred|thousand|million|billion|trillion|bn|m|k)\b)?"
_UNIT_OF_LENGTH = (
    r"(?:kilo|centi|milli)?met(?:re|er)s?|[kcm]?m|feet|foot|ft|inch(?:es)?|yards?|fathoms?|(?:nautical )?miles?|pages?"
    r"|words|characters"
)
_UNIT_OF_TIME = r"(?:seconds?|minutes?|mins?|hours?|days?|nights?|weeks?|months?|years?|decades?|centur(?:y|ies))"

PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("value", re.compile(r"(?<=: )[^;|\n]{1,80}?(?=;|\s\||\n|$)")),
    ("contact", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://[^\s<>\"')]+|www\.[^\s<>\"')]+"
                           r"|\+?\d[\d()\s-]{6,}\d")),
    ("money", re.compile(rf"(?:[$€£¥]|US\$|EUR|USD|GBP|CHF)\s?(?:{_GROUPED}|\d[\d.,]*){_SCALE}"
                         rf"|(?:{_GROUPED}|\d[\d.,]*){_SCALE}\s?(?:euros?|dollars?|pounds?|francs?|cents?"
                         rf"|kroner|yen|EUR\b|USD\b|GBP\b|CHF\b|€|£)", re.I)),
    ("percent", re.compile(rf"{_NUMBER}\s?(?:%|percent\b|per cent\b)", re.I)),
    ("time", re.compile(r"\b\d{1,2}[:h]\d{2}\b(?:\s?[ap]\.?m\b\.?)?(?:\s?(?:to|and|-|–)\s?\d{1,2}[:h]\d{2}\b)?"
                        r"|\b\d{1,2}\s?[ap]\.?m\b\.?|\bnoon\b|\bmidnight\b|\bdawn\b|\bsunset\b|\bsunrise\b", re.I)),
    ("date", re.compile(
        rf"(?:{_DAY},? )?(?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}(?:,? \d{{4}})?"
        rf"|(?:{_DAY},? )?{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?"
        rf"|{_MONTH}(?: of)? \d{{4}}|\b\d{{4}}-\d{{2}}-\d{{2}}\b|\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}\b|{_DAY}\b"
        rf"|\b(?:early |late |mid-)?1?\d\d0s\b|\b20\d0s\b"
        rf"|\b(?:1\d|20)\d\d(?:[–-](?:\d{{4}}|\d\d))?\b|\b\d{{1,2}}(?:st|nd|rd|th)[ -]century\b|\b\d{{1,4}} (?:BCE?"
        rf"|AD|CE)\b|\b(?:spring|summer|autumn|winter)\b|{_MONTH}")),
    ("duration", re.compile(rf"{_NUMBER}(?:\s?(?:to|or|-"
                            rf"|–)\s?{_NUMBER})?[ -](?:and a half )?{_UNIT_OF_TIME}(?: and {_NUMBER}"
                            rf" {_UNIT_OF_TIME})?\b", re.I)),
    ("frequency", re.compile(rf"\b(?:every|each) (?:{_NUMBER} )?{_UNIT_OF_TIME}\b|\b(?:once|twice|{_NUMBER} times)"
                             rf" (?:an?|per|each|every|in) (?:{_NUMBER} )?{_UNIT_OF_TIME}\b|\b(?:hourly|daily|weekly"
                             rf"|fortnightly|monthly|quarterly|yearly|annually)\b", re.I)),
    ("length", re.compile(rf"{_NUMBER}{_SCALE}[ -]?(?:{_UNIT_OF_LENGTH})(?![a-z])", re.I)),
    ("quantity", re.compile(rf"{_NUMBER}{_SCALE}[ -]?(?:[a-zµ°²³]+(?:[/-][a-z]+)*)(?: [a-z]+)?", re.I)),
    ("number", re.compile(rf"(?:(?:about|around|over|under|more than|less than|at least|at most|up to|nearly"
                          rf"|almost) )?{_NUMBER}{_SCALE}", re.I)),
    ("name", re.compile(r"(?:\b[A-ZÀ-ÖØ-Þ][\w'’.&-]*|\b[A-Z]\.)(?:(?:,? (?:&|of|the|de|la|van|von|der|and|for|in|du"
                        r"|di|del|al|on)(?: the)?)? ?[ ](?:[A-ZÀ-ÖØ-Þ][\w'’.&-]*|[IVX]+\b))*")),
    ("proper", re.compile(r"\b[A-ZÀ-ÖØ-Þ][\w'’-]*(?: [A-ZÀ-ÖØ-Þ][\w'’.-]*)*")),
    ("quoted", re.compile(r"(?<=[\"“«„])[^\"”»“\n]{2,60}(?=[\"”»“])")),
)  # fmt: skip

_CLAUSE = re.compile(
    r"\b(?P<cue>because of|because|due to|owing to|so that|in order to|by|to|is|are|was|were|as|called|named"
    r"|known as|for|from|into|in|at|with|of|that|than|on|near|"
    r"include[sd]?|including|became|had|has|have|about|through|between|against)\s+(?P<rest>[^.;:()]+)",
    re.I,
)
_STOPPER = re.compile(
    r",|;|\.|\b(?:which|who|that|and|but|when|while|where|because|with|by|from|for|in|at|on|to|as|of|is|are|was"
    r"|were|after|before|until|during|than|or)\b"
)
_JOINERS = frozenset(
    {"of", "the", "and", "in", "for", "a", "an", "to", "on", "'s", "or", "at", "with", "its", "their", "his", "her"}
)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a sentence that could answer; offsets in the text it was found in."""

    start: int
    end: int
    kind: str


def spans(text: str, unit: Range, limit: int = 60) -> list[Span]:
    """Candidate answer spans of the unit `text[unit[0]:unit[1]]`, typed; the first kind to claim a range keeps it."""
    found: dict[Range, Span] = {}
    for span in _all_spans(text, unit):
        start, end = _tidy(text, span.start, span.end)
        if start < end and end - start <= 160:
            found.setdefault((start, end), Span(start, end, span.kind))
        if len(found) >= limit:
            break
    dates = [
        match.span()
        for kind, pattern in PATTERNS
        if kind in ("date", "time")
        for match in pattern.finditer(text, *unit)
    ]
    return [span for span in found.values() if not _of_a_date(text, span, dates)]


def _of_a_date(text: str, span: Span, dates: Sequence[Range]) -> bool:
    """Whether the span is the number of a day, a month or an hour, which counts nothing; a year stands for itself."""
    return (
        span.kind in ("number", "quantity")
        and re.fullmatch(r"\d{4}", text[span.start : span.end]) is None
        and any(start <= span.start and span.end <= end for start, end in dates)
    )


def _all_spans(text: str, unit: Range) -> Iterator[Span]:
    start, end = unit
    for kind, pattern in PATTERNS:
        for match in pattern.finditer(text, start, end):
            if kind in ("name", "proper") and match.group().casefold() in STOP_WORDS:
                continue
            yield Span(match.start(), match.end(), kind)
    words = [(a + start, b + start) for a, b in word_ranges(text[start:end])]
    yield from _chunks(text, words)
    for match in _CLAUSE.finditer(text, start, end):
        first, last = match.span("rest")
        stop = _STOPPER.search(text, first + 1, last)
        yield Span(first, stop.start() if stop else last, "phrase")
        comma = text.find(",", first, last)
        yield Span(first, comma if comma > first else last, "clause")


def _chunks(text: str, words: list[Range]) -> Iterator[Span]:
    """Runs of content words, and runs that small words join (`the harbour of Nis`)."""
    run: list[Range] = []
    for index, word in enumerate([*words, (-1, -1)]):
        body = text[word[0] : word[1]].casefold() if word[0] >= 0 else ""
        adjacent = bool(run) and word[0] >= 0 and text[run[-1][1] : word[0]].strip() in ("", "-", "'")
        if word[0] >= 0 and body not in STOP_WORDS and (not run or adjacent):
            run.append(word)
            continue
        if run:
            for size in (len(run), 1, 2, 3):
                if size <= len(run) <= 8:
                    yield Span(run[-size][0], run[-1][1], "chunk")
            yield from _joined(text, words, index - len(run), run)
        run = [word] if word[0] >= 0 and body not in STOP_WORDS else []


def _joined(text: str, words: list[Range], first: int, run: list[Range]) -> Iterator[Span]:
    """`run` extended to the right over one joiner and the run after it."""
    at = first + len(run)
    joined = False
    while at < len(words) and at - first <= 9:
        body = text[words[at][0] : words[at][1]].casefold()
        if text[words[at - 1][1] : words[at][0]].strip() not in ("", "-", "'"):
            break
        if body in STOP_WORDS:
            if body not in _JOINERS or (joined and body not in ("the", "a", "an")):
                break
            joined = True
        else:
            following = text[words[at + 1][0] : words[at + 1][1]].casefold() if at + 1 < len(words) else "the"
            if joined and (following in STOP_WORDS or text[words[at][1] : words[at + 1][0]].strip()):
                yield Span(run[0][0], words[at][1], "joined")
                return
        at += 1


def _tidy(text: str, start: int, end: int) -> Range:
    """Without white space, articles in front and loose punctuation around."""
    while start < end and (text[start].isspace() or text[start] in ",;:.\"'“”«»()[]|*_"):
        start += 1
    while end > start and (
        text[end - 1].isspace() or text[end - 1] in ",;:\"'“”«»([|*_" or _loose_end(text, start, end)
    ):
        end -= 1
    article = re.match(r"(?:the|an?)\s+(?=\S)", text[start:end], re.I)
    return (start + article.end() if article else start), end


def _loose_end(text: str, start: int, end: int) -> bool:
    """Whether the last character closes nothing: a full stop not of an initial, a bracket opened elsewhere."""
    last = text[end - 1]
    if last == ".":
        return not re.search(r"\b[A-Z]\.$|[ap]\.m\.$", text[start:end], re.I)
    return last in ")]" and text[start:end].count("(") + text[start:end].count("[") < text[start:end].count(")") + text[
        start:end
    ].count("]")


_COUNTED: frozenset[Kind] = frozenset({"number", "money", "percent", "contact", "duration"})
_DATE = next(pattern for kind, pattern in PATTERNS if kind == "date")
_MEASURES = [pattern for kind, pattern in PATTERNS if kind in ("money", "percent", "length", "duration")]
_STATES = re.compile(r"\b(?:is|are|was|were|has|have|had|costs?|over|exactly|nearly) $")
_BEFORE_YEAR = STOP_WORDS | {
    "since",
    "till",
    "against",
    "year",
    "early",
    "late",
    "spring",
    "summer",
    "autumn",
    "winter",
}
_THINGS = re.compile(r" (?:people|men|women|children|[a-z]+s)\b")
_COUNT = re.compile(rf"[\d@]|www\.|\b{_NUMBER_WORD}\b|\b(?:an?|both|several|few|many|free|all|every|each)\b", re.I)


def has_kind(body: str, asked: Wanted) -> bool:
    """Whether `body` holds a span of the kind asked for; True where no kind can be told from the form."""
    fitting = FITTING.get(asked.kind)
    return fitting is None or any(span.kind in fitting for span in spans(body, (0, len(body)), limit=24))


def may_answer(body: str, asked: Wanted) -> bool:
    """Whether a sentence that is asked for an amount names one, or says that there is none."""
    if asked.kind not in _COUNTED or denies(body):
        return True
    return _COUNT.search(_DATE.sub(lambda date: date[0] if is_amount(body, *date.span()) else " ", body)) is not None


def is_amount(text: str, start: int, end: int) -> bool:
    """Whether four digits that a year could have are an amount: "1100 euros", "has 1850 members"."""
    if not re.fullmatch(r"\d{4}", text[start:end]):
        return False
    if any(m.start() <= start < end <= m.end() for measure in _MEASURES for m in measure.finditer(text)):
        return True
    before = text[:start]
    word = re.search(r"([a-z]+) $", before)
    things = word is not None and word[1] not in _BEFORE_YEAR and _THINGS.match(text, end) is not None
    return things or _STATES.search(before) is not None
