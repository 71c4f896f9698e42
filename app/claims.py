"""The parts of an answer: what the model thought aloud, and the sentences that claim something, as against headings,
questions, code and talk about the answer itself.

Surface forms only: knows nothing about what could support a claim.
"""

import re
from collections.abc import Sequence

from app.marks import Mark
from app.quotes import Quotation
from app.sentences import Range, content_words, sentences
from app.support import numbers

_REASONING = re.compile(
    r"<(think|thinking|reasoning|thought)>(.*?)(?:</\1>|\Z)\s*|\A(.*?)</(?:think|thinking|reasoning|thought)>\s*",
    re.DOTALL,
)
_LEAD = re.compile(
    r"^\W*(?:sure|certainly|of course|in summary|based on [^,.:;]{1,60}|here (?:is|are) [^,.:;]{1,60}"
    r"|according to (?:the|your) (?:documents?|passages?|library|text|provided \w+|context|sources?))\s*[,:!]\s*(?=\S)",
    re.IGNORECASE,
)
"""Words that only introduce: what follows them is held to the sources like any other claim."""
_META = re.compile(
    r"^\W*(?:i (?:hope|could not|couldn't|cannot|can't|don't|do not|am not|was unable|found (?:no|the following|this)\b"
    r"|would|will)|let me|here (?:is|are)|based on (?:the|your) \w+\W*$|according to the (?:documents|passages)[,:]?$"
    r"|in summary:?$|sources?:|references?:|note that i|please (?:let|note)|sure\W*$|yes\W*$|no\W*$|the (?:documents?"
    r"|passages?|library|text|provided \w+|context|sources?)"
    r" (?:do|does|did)(?: not|n't)|(?:this|that|it) is not (?:mentioned|stated|said|specified|given)"
    r"|there is no (?:information|mention)"
    r"|no (?:information|mention|passage|document)|not (?:stated|mentioned|specified))",
    re.IGNORECASE,
)
_NOT = r" (?:do(?:es)? not|don't|doesn't|did not|didn't|cannot|can't|could not|couldn't)"
_REFUSAL = re.compile(
    rf"\b(?:the (?:documents?|passages?|library|text|provided \w+|context|sources?)|i){_NOT}"
    r" (?:say|mention|state|contain|provide|include|specify|find|answer|tell|give|cover|address|know)"
    # Of "it" and "they" only what cannot be said of the things that the documents are about.
    rf"|\b(?:they|it){_NOT} (?:(?:say|mention|state|specify)\b"
    r"|(?:contain|provide|include|give) (?:\w+ ){0,2}(?:answer|information))"
    r"|not (?:stated|mentioned|specified|found|given|covered) (?:in|by) the|no (?:information|mention"
    r"|answer) (?:\w+ ){0,4}(?:in|found)|i don't know|i do not know",
    re.IGNORECASE,
)


def split_reasoning(text: str) -> tuple[str, str | None]:
    """The answer proper, and what the model thought aloud before it (None if it did not)."""
    thoughts = [(m.group(2) or m.group(3) or "").strip() for m in _REASONING.finditer(text)]
    return _REASONING.sub("", text).strip(), "\n\n".join(t for t in thoughts if t) or None


def refuses(answer: str) -> bool:
    """Whether the answer itself says that the sources do not tell."""
    return bool(_REFUSAL.search(answer))


def claims(answer: str, every: Sequence[Mark], quoted: Sequence[Quotation], closed: Sequence[Range]) -> list[Range]:
    """Sentences of the answer that assert something, each with the marks that follow its full stop."""
    text = _masked(answer, quoted)
    units: list[Range] = []
    for start, end in sentences(text):
        lead = next((m for m in every if m.start == start), None)
        while lead is not None and units and "\n" not in answer[units[-1][1] : start]:
            if answer[lead.end : lead.end + 2].lstrip()[:1].islower():
                break  # "[1] says that ..." opens a sentence
            units[-1] = (units[-1][0], lead.end)
            start = lead.end + len(answer[lead.end : end]) - len(answer[lead.end : end].lstrip())
            lead = next((m for m in every if m.start == start), None)
        if start < end:
            units.append((start, end))
    return [unit for unit in units if _asserts(answer, unit, every, quoted, closed)]


def _masked(answer: str, quoted: Sequence[Quotation]) -> str:
    """The answer with the full stops and breaks inside quotations hidden, so that no quotation is cut; same length."""
    characters = list(answer)
    for quote in quoted:
        for i in range(quote.start, quote.end - 1):
            if characters[i] in ".!?…。！？\n>":
                characters[i] = "_"
    return "".join(characters)


def _asserts(
    answer: str, unit: Range, every: Sequence[Mark], quoted: Sequence[Quotation], closed: Sequence[Range]
) -> bool:
    start, end = unit
    if any(a <= start < b for a, b in closed):
        return False
    if any(start <= mark.start < end for mark in every) or any(start <= quote.start < end for quote in quoted):
        return bool(content_words(without(answer, unit, every, [])))
    text = _LEAD.sub("", answer[start:end].strip())
    if (
        text.startswith("#")
        or text.endswith(("?", ":", "：", "？"))
        or text.rstrip("*_").endswith(":")
        or _META.search(text)
        or _REFUSAL.search(text)
    ):
        return False
    if text.startswith("|"):
        following = answer[end:].lstrip("\n").split("\n", 1)[0]
        if re.fullmatch(r"[|:\-\s]+", text) or re.fullmatch(r"\|[|:\-\s]+", following):
            return False
    return len(content_words(text)) >= 2 or bool(numbers(text))


def without(answer: str, part: Range, every: Sequence[Mark], quoted: Sequence[Quotation]) -> str:
    """The words of `part` that are neither marks nor long quotations; bullets, emphasis and lead-ins are left out."""
    keep = list(answer[part[0] : part[1]])
    items: list[Mark | Quotation] = [*every, *quoted]
    for item in items:
        for i in range(max(item.start, part[0]), min(item.end, part[1])):
            keep[i - part[0]] = " "
    text = "".join(keep).replace("**", "").replace("__", "")
    return _LEAD.sub("", re.sub(r"^\s*(?:[-*+•–]\s+|\d{1,3}[.)]\s+|#{1,6}\s+|>\s*)", "", text).strip())
