"""What a user's own message asks to be remembered, found by rules; needs no model.

Takes only the words that the user typed. It must never see an answer, a passage or a recalled memory: a store that
learns from what it printed fills with copies of itself.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from memory.clock import utc
from memory.dates import find_date
from memory.types import Kind


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement worth keeping: `message[start:end] == text`, in code points.

    `action` is "forget" where the user asks to forget what `text` says; nothing is stored for it.
    """

    text: str
    kind: Kind
    start: int
    end: int
    how: Literal["told", "extracted"]
    action: Literal["remember", "forget"] = "remember"
    event_date: date | None = None


LONGEST_SENTENCE = 400
"""Characters. Longer "sentences" are pasted text, not something said about oneself."""
LONGEST_MESSAGE = 4000
"""Characters of a message that are read; beyond it stands pasted material."""

_FENCED = re.compile(r"```.*?(?:```|\Z)|^\s*>.*$|<<.*?>>", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r'"[^"\n]{25,}"|“[^”\n]{25,}”|«[^»\n]{25,}»|„[^“”\n]{25,}[“”]')
_ABBREVIATION = re.compile(r"\b(?:dr|mr|mrs|ms|prof|st|e\.g|i\.e|etc|vs|no|nr|ca|approx|jr|sr|[A-Z])\.$", re.IGNORECASE)
_END = re.compile(r"[.!?…]+[\"'”’)]*(?=\s|$)|[。！？]|\n+")

_POLITE = r"(?:(?:please|ok|okay|hey|hi|and|also|oh|by\s+the\s+way|btw|can\s+you|could\s+you|will\s+you|loci)[,:]?\s+)*"
_TELL = re.compile(
    rf"""^{_POLITE}(?:
      (?:remember|memori[sz]e|note|keep\s+in\s+mind|take\s+note|don['’]?t\s+forget|do\s+not\s+forget|make\s+a\s+note|bear\s+in\s+mind)
        (?:\s+(?:please|for\s+me|for\s+later))?(?:\s*[:,]\s*|\s+that(?:\s*[:,]\s*|\s+)|\s+(?=(?:i|my|we|our|i['’]m)\b))
    | (?:recuerda|recuerde|acuérdate(?:\s+de)?|anota|ten\s+en\s+cuenta|no\s+olvides)
        (?:\s+por\s+favor)?(?:\s*:\s*|,?\s+que\s+)
    | (?:merke?\s+dir|merken\s+sie\s+sich|denk\s+daran|notiere?|vergiss\s+nicht)
        (?:\s+bitte)?(?:\s*:\s*|\s*,\s*(?:dass\s+)?|\s+dass\s+)
    | (?:souviens[- ]toi|rappelle[- ]toi|souvenez[- ]vous|rappelez[- ]vous|retiens|retenez|note|notez
        |n['’]oublie\s+pas)(?:\s+bien)?(?:\s*:\s*|\s+que\s+|\s+(?=qu['’]))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_POLITE_FOREIGN = re.compile(r"^(?:por favor|bitte|s['’]il te pla[iî]t|s['’]il vous pla[iî]t)[,:]?\s+", re.IGNORECASE)
_FORGET = re.compile(
    rf"""^{_POLITE}(?:
      forget(?:\s+(?:that|about|what\s+i\s+said\s+about)\b|\s*:)\s*
    | (?:stop\s+remembering|don['’]?t\s+remember|remove\s+from\s+(?:your\s+)?memory)(?:\s+that|\s*:)?\s+
    | olvida(?:\s+que|\s*:)\s+ | vergiss(?:\s*,?\s*dass|\s*:)\s+ | oublie(?:\s+que|\s*:)\s+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_INSTRUCTION = re.compile(
    r"""^(?:please\s+)?(?:from\s+now\s+on|in\s+(?:the\s+)?future|going\s+forward|whenever\s+(?:i|you)\b|every\s+time\s+i\b
    |(?:always|never)\s+(?:answer|reply|respond|use|write|call|address|cite|give|speak|tell|include|show|start|end|translate|format|keep|mention|ask|add|say)\b
    |(?:call|address)\s+me\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_PREFERENCE = re.compile(
    r"""^(?:(?:actually|well|and|but|also|personally|honestly),?\s+)?(?:i|we)\s+(?:(?:really|absolutely|also|usually|generally|do|just|now|no\s+longer)\s+)*
    (?:(?:would|['’]d)\s+(?:rather|prefer)|prefer|like|love|enjoy|adore|hate|dislike|detest|avoid|always|never|can['’]?t\s+stand|cannot\s+stand
      |don['’]?t\s+(?:like|enjoy|want|eat|drink)|do\s+not\s+(?:like|enjoy|want|eat|drink)|(?:am|['’]m)\s+allergic|favou?r)\b
    |^(?:my|our)\s+favou?rite\b""",
    re.IGNORECASE | re.VERBOSE,
)
_WISH = re.compile(
    r"^(?:i|we)\s+(?:would|['’]d)\s+like\s+(?:to|you|a|an|some|the)\b|^i\s+like\s+(?:it|that|this)\b[^\w]*$",
    re.IGNORECASE,
)
_FACT = re.compile(
    r"""^(?:(?:actually|well|and|but|also|so|now|hi|hello|hey|btw|by\s+the\s+way|currently|today),?\s+)*(?:
      (?:my|our)\s+(?!question\b|point\b|guess\b|bad\b|apolog|fault\b
        |mistake\b|problem\s+is\s+that\b|concern\b|issue\b|goal\s+here\b)
        [\w'’\- ]{1,60}?\s+(?:is|are|was|were|has|have|will\s+be|moved|lives?|works?|likes?|speaks?
        |starts?|ends?|died|got|became)\b
    | (?:i|we)\s+(?:(?:now|also|currently|just|recently|still|no\s+longer|don['’]?t|do\s+not|used\s+to)\s+)*
        (?:live|lived|work|worked|moved|have\s+(?:a|an|two|three|four|five|\d+|no|been|lived|worked)|had\s+an?|own|study|studied|speak|drive
        |teach|run\s+a|manage|lead|play|was\s+born|grew\s+up
        |got|started|bought|sold|married|graduated|quit|joined|retired)\b
    | i\s*(?:am|['’]m)\s+(?:now\s+)?(?:(?:a|an|the|from|based|living|working|married|single|divorced|engaged
        |retired|vegetarian|vegan|diabetic|pregnant|colou?r[- ]?blind|left-handed|dyslexic
        |called|named|allergic|\d{1,3}\b
        |responsible|on\s+a|moving|getting\s+married)\b)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_NOT_A_FACT = re.compile(
    r"""^i\s*(?:am|['’]m)\s+(?:an?\s+(?:bit|little|lot)\b|the\s+one\b)|^(?:i|we)\s+(?:have|had|got)\s+an?\s+(?:
        (?:quick|simple|few|follow-up|another|silly|stupid)\s+)*(?:question|problem|issue|doubt|request|idea)\b
    |^(?:i|we)\s+got\s+(?:it|that|this|an?\s+error)\b|^i\s*(?:am|['’]m)\s+working\s+(?:on\s+(?:it|this|that)|through)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ABOUT_US = re.compile(r"\b(?:i|i['’]m|i['’]ve|i['’]ll|my|we|we['’]re|our|me|mine)\b", re.IGNORECASE)
_REQUEST = re.compile(
    r"""^(?:(?:please|ok|okay|hey|hi|and|also|so|then|now|thanks|thank\s+you)[,.!]?\s+)*(?:
      can|could|would|will|should|do|does|did|is|are|was|were|what|who|whom|whose|when|where|why|which|how|tell|give|show|list|find|write|make|create
     |explain|summari[sz]e|translate|compare|describe|help|search|look|check|read|draft|suggest|let['’]?s|let\s+me|i\s+(?:want|need|would\s+like|['’]d\s+like)\s+(?:you|to\s+know|to\s+see|to\s+find)
     |i\s+(?:wonder|was\s+wondering)|i['’]m\s+(?:wondering|asking|looking\s+for)|remind|¿|was|wer|wie|wo|wann|warum|welche\w*|qué|quién|cómo|dónde|cuándo|quel\w*|qui|comment|où|quand|pourquoi
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_SEEKS = re.compile(
    r"^(?:(?:and|but|so|now)\s+)?(?:i|we)\s*(?:(?:really|just|also|still)\s+)*(?:need|want|wonder|look\s+for|forgot|(?:would|['’]d)\s+like"
    r"|(?:am|['’]m|are|['’]re)\s+(?:looking|trying|wondering|asking|not\s+sure|unsure|curious|interested)"
    r"|(?:can|could|do|did)(?:n['’]t|\s*not)\s+(?:find|know|remember|see|understand))\b",
    re.IGNORECASE,
)
"""Sentences about oneself that ask without a question mark."""
_GOES_ON = re.compile(
    r"^(?:(?:and|but|so|also|then)\s+)?(?:i|we|you|he|she|it|they|this|that|these|those|his|her|its|their|both|there(?:['’]s|\s+(?:is|are)))\b"
    r"|^(?:hi|hello|hey|thanks|thank\s+you|good\s+(?:morning|evening))\b[\s\w,]{0,20}[.!]*$",
    re.IGNORECASE,
)
_HAPPENING = re.compile(
    r"\b(?:appointment|meeting|flight|exam|interview|birthday|wedding|deadline|trip|visit\w*|party|concert|conference|surgery|went|going|go|saw|met|moved|moving|"
    r"start\w*|leav\w+|travel\w*|arriv\w+|fl(?:y|ew|ying)|arrive|due|holiday|vacation|event|signed|bought|got|graduat\w+|married|died|born)\b",
    re.IGNORECASE,
)


def extract(text: str, now: datetime | None = None) -> list[Candidate]:
    """Find what `text`, a user's message, states to be remembered or forgotten, in order.

    Questions, requests, quotations, code and pasted text are left alone. `now` resolves "tomorrow".
    """
    today = utc(now).date()
    found: list[Candidate] = []
    for start, end in sentences(text):
        candidate = _classify(text, start, end, today)
        if candidate is not None:
            found.append(candidate)
    return found


def only_tells(text: str, now: datetime | None = None) -> bool:
    """Whether a message has something to be remembered and asks nothing: what else it says goes on about the same, or
    is little. `now` as in `extract`.
    """
    candidates = extract(text, now)
    if any(one.how == "told" for one in candidates):
        return True
    ranges = list(sentences(text))
    rest = [text[a:b] for a, b in ranges if not any(one.start < b and a < one.end for one in candidates)]
    if not candidates or any(_asks(sentence) or _SEEKS.match(sentence) for sentence in rest):
        return False
    if sum(one.end - one.start for one in candidates) >= 0.6 * len(text):
        return True
    own = sum(end - start for start, end in ranges) >= 0.9 * len(text)  # else something is pasted or quoted
    return own and all(_GOES_ON.match(sentence) or _ABOUT_US.search(sentence) for sentence in rest)


def episode(text: str, candidates: list[Candidate]) -> tuple[int, int] | None:
    """The range of `text` that tells of the user beyond the `candidates`; None where there is nothing of the kind."""
    told = [
        (start, end)
        for start, end in sentences(text)
        if not any(c.start < end and start < c.end for c in candidates)
        and _ABOUT_US.search(text, start, end)
        and not _asks(text[start:end])
        and not _WISH.match(text[start:end])
        and end - start >= 25
    ]
    return (told[0][0], told[-1][1]) if told else None


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Ranges of the sentences in the user's own words: trimmed, without quotations, code and pasted text."""
    for begin, finish in _own_words(text):
        position = begin
        for match in _END.finditer(text, begin, finish):
            if text[match.start()] == "." and _ABBREVIATION.search(text, position, match.start() + 1):
                continue
            yield from _trimmed(text, position, match.end())
            position = match.end()
        yield from _trimmed(text, position, finish)


def _own_words(text: str) -> Iterator[tuple[int, int]]:
    position = 0
    for match in sorted((*_FENCED.finditer(text), *_QUOTED.finditer(text)), key=lambda found: found.start()):
        if match.start() > position:
            yield position, min(match.start(), LONGEST_MESSAGE)
        position = max(position, match.end())
        if position >= LONGEST_MESSAGE:
            return
    yield position, max(position, min(len(text), LONGEST_MESSAGE))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and (text[start].isspace() or text[start] in "-*•"):
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if 0 < end - start <= LONGEST_SENTENCE:
        yield start, end


def _asks(sentence: str) -> bool:
    return sentence.rstrip("\"'”’) ").endswith(("?", "？")) or bool(_REQUEST.match(sentence))


def _classify(text: str, start: int, end: int, today: date) -> Candidate | None:
    """The candidate in one sentence, if it is one."""
    sentence = text[start:end]
    question = sentence.rstrip("\"'”’) ").endswith(("?", "？"))
    polite = _POLITE_FOREIGN.match(sentence)
    opening = polite.end() if polite else 0
    if match := _FORGET.match(sentence[opening:]):
        return _candidate(text, start + opening + match.end(), end, "told", "forget", today)
    match = _TELL.match(sentence[opening:])
    # "Can you remember that I am vegan?" tells; "Remember that time we met?" asks, as does "Do you remember that ...?"
    if match and (not question or re.search(r"\byou\b", match[0], re.IGNORECASE)):
        return _candidate(text, start + opening + match.end(), end, "told", "remember", today)
    if question:
        return None
    if (
        _INSTRUCTION.match(sentence)
        or (_PREFERENCE.match(sentence) and not _WISH.match(sentence))
        or (_FACT.match(sentence) and not _NOT_A_FACT.match(sentence))
    ):
        return _candidate(text, start, end, "extracted", "remember", today)
    if (
        _ABOUT_US.search(sentence)
        and _HAPPENING.search(sentence)
        and not _asks(sentence)
        and find_date(sentence, today)
    ):
        return _candidate(text, start, end, "extracted", "remember", today)
    return None


def _candidate(
    text: str,
    start: int,
    end: int,
    how: Literal["told", "extracted"],
    action: Literal["remember", "forget"],
    today: date,
) -> Candidate | None:
    while end > start and (text[end - 1] in ".!?…。！？,;:" or text[end - 1].isspace()):
        end -= 1
    if end - start < 3:
        return None
    statement = text[start:end]
    dated = find_date(statement, today)
    return Candidate(
        statement, kind_of(statement, dated is not None), start, end, how, action, dated.day if dated else None
    )


def kind_of(statement: str, dated: bool = False) -> Kind:
    """The kind of a statement by its form; `dated`: it names a day."""
    if _INSTRUCTION.match(statement):
        return "instruction"
    if _PREFERENCE.match(statement):
        return "preference"
    return "event" if dated and _HAPPENING.search(statement) else "fact"
