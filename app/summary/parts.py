"""What a summary reads: the sections of its documents, cut into sentences or into passages."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.paragraphs import is_heading, is_row
from app.sentences import Range, sentences, word_ranges
from app.shelf import Shelf, pieces
from retrieval.types import Locator, Passage

_SHORTEST, _LONGEST = 5, 70
"""Words of a sentence that can stand in a summary."""

_ENDS = re.compile(r"[.!?…。！？][\"'”’»)\]*_]*$")
_LEAD = re.compile(r"^(?:[-*+•–>]\s+|\(?\d{1,3}(?:\.\d{1,3})*[.)]?\s+(?=[A-Z]))+")


@dataclass(frozen=True, slots=True)
class Part:
    """A section of a document: its number in it, its range, and the heading above."""

    document: str
    path: str
    title: str
    number: int
    start: int
    end: int
    heading: str


def parts(shelf: Shelf, documents: Sequence[str]) -> Iterator[Part]:
    """The sections of `documents` (ids, attachments' among them), in order."""
    for id in documents:
        path, title = shelf.named(id)
        for number, (start, end, heading) in enumerate(shelf.sections(id)):
            yield Part(id, path, title, number, start, end, heading)


def tellable(text: str, part: Part) -> list[Range]:
    """The sentences of a part that can stand alone: no headings, scraps or rows."""
    found = []
    for start, end in sentences(text, part.start, part.end):
        body = text[start:end]
        words = len(word_ranges(body))
        if _SHORTEST <= words <= _LONGEST and not is_heading(text, (start, end)) and not is_row(body):
            found.append((start, end))
    return found


def ends(sentence: str) -> bool:
    """Whether it ends as a sentence does, and is no title or line of an address."""
    return _ENDS.search(sentence) is not None


def standing_alone(sentence: str) -> str:
    """A sentence on one line, without the bullet or number of its item."""
    return _LEAD.sub("", " ".join(sentence.split()))


def passages(shelf: Shelf, part: Part) -> list[Passage]:
    """A part as passages of about the size that the library cuts."""
    text = shelf.text(part.document)
    return [passage(shelf, part, place) for place in pieces(text, part.start, part.end)]


def passage(shelf: Shelf, part: Part, place: Range) -> Passage:
    """The passage at `place` of the part's document."""
    text = shelf.text(part.document)
    locator = Locator(section=part.heading or None)
    return Passage(
        -1,
        part.document,
        part.path,
        part.title,
        None,
        0,
        *place,
        locator,
        text[slice(*place)],
        shelf.sha256(part.document),
        "",
        0.0,
    )
