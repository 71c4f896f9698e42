"""Lines of a text that only name what stands below them: titles, headings, and the row of a table's column names.

Told by where a line stands and how it is set, never by what it says, so that "14 Maple Street" over a lease is no
answer to a question that names the street. Knows nothing about questions or answers.
"""

import re
from collections.abc import Iterator

from app.paragraphs import Range, is_heading, is_row
from app.rows import is_column_names
from app.sentences import sentences

_BULLET = re.compile(r"[-*+•–>]\s|```|={3,}|-{3,}")
_FIELD = re.compile(r"[^\s:][^:]{0,40}:\s")
_SENTENCE = re.compile(r"[^\n]*(?:\n(?!\s*\n)[^\n]*){0,3}?[.!?][\"'”’»)\]]*(?=\s|\Z)")
_WORDS = 9
"""Most words of a heading that is set like ordinary text."""
_NEAR = 600
"""Characters before and after a line that tell what it is."""


_NUMBERED = re.compile(r"#{1,6}\s+|\(?\d{1,3}(?:\.\d{1,3})*[.)]\s+(?=[A-Z])")


def name_of(text: str, unit: Range) -> str:
    """A heading or an item without its marks and its number."""
    return _NUMBERED.sub("", text[slice(*unit)], count=2).strip()


def only_names(text: str, unit: Range, opens: bool = False) -> bool:
    """Whether the line `text[unit[0]:unit[1]]` is a heading or the column names of a table; `opens` as in `is_name`."""
    return is_column_names(text, unit) or is_name(text, unit, opens)


def is_name(text: str, unit: Range, opens: bool = False) -> bool:
    """Whether the line is a heading or a title.

    :param opens: `text` is the beginning of its document, so that its first lines can be the title.
    """
    if is_heading(text, unit):
        return True
    if not _is_bare(text, unit):
        return False
    return _in_capitals(text, unit) or _over_text(text, unit) or (opens and _in_title(text, unit))


def sections(text: str, longest: int) -> Iterator[tuple[int, int, str]]:
    """Pieces of `text` of whole sentences, start, end and section: a heading begins one, a long section has several.

    The lines of the title are part of every section's name, so that a question that names the document is near it.

    :param longest: characters of a piece, if no sentence is longer.
    """
    title, section = "", ""
    piece: Range | None = None
    headings = False  # whether the piece so far is nothing else
    for unit in sentences(text):
        heading = is_name(text, unit, opens=True)
        if piece is not None and (unit[1] - piece[0] > longest or (heading and not headings)):
            yield *piece, " › ".join(filter(None, (title, section)))
            piece = None
        if heading:
            below = headings and piece is not None and "\n\n" not in text[piece[1] : unit[0]]
            if unit[0] == 0 or (below and not section):
                title = f"{title} {name_of(text, unit)}".strip()
            else:
                section = name_of(text, unit)
        headings = heading and (piece is None or headings)
        piece = unit if piece is None else (piece[0], unit[1])
    if piece is not None:
        yield *piece, " › ".join(filter(None, (title, section)))


def _is_bare(text: str, unit: Range) -> bool:
    """A short line by itself, that begins like a name and does not end like a sentence, an item or a field."""
    line = text[slice(*unit)]
    return (
        len(line) <= _NEAR
        and "\n" not in line
        and not text[text.rfind("\n", 0, unit[0]) + 1 : unit[0]].strip()
        and text[unit[1] : unit[1] + _NEAR].lstrip(" \t")[:1] in ("", "\n")
        and (line[0].isupper() or line[0].isdigit())
        and line[-1] not in ".!?:;,"
        and len(line.split()) <= _WORDS
        and not (_BULLET.match(line) or _FIELD.search(line) or is_row(line))
    )


def _in_capitals(text: str, unit: Range) -> bool:
    """Whether the line is in capitals, in a text that is not."""
    line = text[slice(*unit)]
    return line.isupper() and sum(c.isalpha() for c in line) > 2 and not text.isupper()


def _over_text(text: str, unit: Range) -> bool:
    """Whether the line opens a paragraph, and a sentence or two fields follow it."""
    above = text[max(unit[0] - _NEAR, 0) : unit[0]].rstrip(" \t")
    below = text[unit[1] : unit[1] + _NEAR].lstrip()
    if above and not above.endswith("\n\n"):
        return False
    fields = [_FIELD.match(line) for line in below.split("\n")[:2]]
    return (below[:1].isupper() and _SENTENCE.match(below) is not None) or (len(fields) == 2 and all(fields))


def _in_title(text: str, unit: Range) -> bool:
    """Whether the line is one of the first, all short, with an empty line below them and more text after it."""
    block, empty, rest = text[: 2 * _NEAR].partition("\n\n")
    return (
        bool(empty and rest.strip())
        and unit[1] <= len(block)
        and all(len(line.split()) <= _WORDS and not _FIELD.search(line) for line in block.splitlines())
    )
