"""Questions that a text asks and answers itself: "Q: ... A: ..." lines, headings that ask, numbered ones.

Told by how they are set: a line that ends in a question mark or has the label of a question, and the paragraph after
it. Such a question answers nothing; what follows is read with it. Knows nothing about the question of a user.
"""

import re

from app.paragraphs import Range, is_heading
from app.sentences import sentences

_LEAD = r"(?:#{1,6}\s+|[-*+•–>]\s+|\(?\d{1,3}[.)]\s+)?[*_]{0,2}"
_ASKS = re.compile(rf"{_LEAD}(?:question|q|frage|pregunta)(?:\s?\d{{1,3}})?(?:[:.)][*_]{{0,2}}|[*_]{{1,2}}:)\s", re.I)
_REPLIES = re.compile(
    rf"{_LEAD}(?:answer|a|antwort|respuesta|réponse)(?:\s?\d{{1,3}})?(?:[:.)][*_]{{0,2}}|[*_]{{1,2}}:)\s+", re.I
)
_PARAGRAPH = re.compile(r"\n\s*\n")


def answering(text: str) -> list[tuple[Range, Range | None]]:
    """The units of `text`, each without the label of an answer and with the question that it replies to, if any; the
    questions that are replied to are left out."""
    found: list[tuple[Range, Range | None]] = []
    question: Range | None = None
    end = 0
    replied = False
    for unit in sentences(text):
        if question is not None and (is_heading(text, unit) or (replied and _PARAGRAPH.search(text, end, unit[0]))):
            question = None
        if _is_question(text, unit):
            found.append((unit, None))
            question, replied = unit, False
        elif question is not None:
            if not replied:
                found.pop()  # it is answered
            label = _REPLIES.match(text, *unit)
            found.append(((label.end() if label else unit[0], unit[1]), question))
            replied = True
        else:
            found.append((unit, None))
        end = unit[1]
    return [(unit, asked) for unit, asked in found if unit[0] < unit[1]]


def _is_question(text: str, unit: Range) -> bool:
    """Whether the unit opens a line and asks."""
    line = text[text.rfind("\n", 0, unit[0]) + 1 : unit[0]]
    asks = text[slice(*unit)].rstrip("*_ \t").endswith(("?", "？")) or _ASKS.match(text, *unit) is not None
    return asks and not line.strip()


def bare(text: str, question: Range) -> str:
    """The question without its label, bullet or number."""
    body = text[slice(*question)]
    label = _ASKS.match(body) or re.match(_LEAD, body)
    return body[label.end() if label else 0 :].strip("*_ \t")
