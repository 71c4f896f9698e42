"""The blocks of a text: which of its lines are one paragraph and which stand alone.

Told by how lines are set: bullets, labels, capitals, and whether a line was broken because it was full. Knows nothing
about sentences, questions or answers.
"""

import csv
import re

Range = tuple[int, int]

_OWN_LINE = re.compile(r"\s*(?:[-*+•–]\s|\d{1,3}[.)]\s|#{1,6}\s|\||>|```|={3,}|-{3,})")
_HEADING = re.compile(r"#{2,6}[ \t]|#[ \t][^\n]*(?:\Z|\n[ \t]*(?:\n|\Z))")
_FIELD = re.compile(r"[^\s:;|][^:;|\n]{0,40}:\s")
_LABEL = re.compile(r"[^\W\d_a-zà-ÿ]\w*(?: [\w/()-]+){0,3}: *\S")
"""The name in front of a value: `Working temperature: 5 degrees`."""
_FULL = 0.75
"""Part of the longest line of a paragraph up to which a line with room for the next word was ended on purpose."""
_RECORDS = 3
"""Lines with the same number of fields, names included, from which they are a table."""


def blocks(text: str, start: int, end: int) -> tuple[list[Range], frozenset[Range]]:
    """Runs of lines that are one paragraph, rows, items, fields and headings by themselves; and which are records."""
    found: list[Range] = []
    lines = _lines(text, start, end)
    prose, widths, records = _is_prose(text, lines), _widths(text, lines), frozenset(_records(text, lines))
    current: Range | None = None
    for (first, last), width in zip(lines, widths, strict=True):
        line = text[first:last]
        if not line.strip():
            current = None
            continue
        joins = current is not None and not (_OWN_LINE.match(line) or is_row(line) or (first, last) in records)
        if joins and current is not None:
            before = text[current[0] : current[1]].rstrip().rsplit("\n", 1)[-1]
            lower = line.lstrip()[:1].islower()
            joins = not is_row(before) and not before.startswith("#") and (prose or lower or len(before) >= 60)
            joins = joins and not _parted(before.strip(), line.strip(), width)
        if joins and current is not None:
            current = (current[0], last)
            found[-1] = current
        else:
            current = (first, last)
            found.append(current)
    return found, records


def is_heading(text: str, unit: Range) -> bool:
    """Whether a unit is a heading of Markdown; a single # opens comments, too, and must stand before an empty line."""
    return _HEADING.match(text, unit[0]) is not None


def value_start(text: str, unit: Range) -> int:
    """Where the value of a field (`Label: value`) begins, which its name does not tell; the start of any other unit."""
    label = _LABEL.match(text, *unit)
    return label.end() - 1 if label is not None and label.group()[-2] == " " else unit[0]  # not of "At 4:51"


def is_row(line: str) -> bool:
    """Whether a line is a table row: cells parted by bars or tabs, or several `Header: value` fields."""
    return (
        "\t" in line.strip()
        or line.count(" | ") >= 1
        or (len(_FIELD.findall(line)) >= 2 and ("; " in line or ", " in line))
    )


def records(text: str) -> list[Range]:
    """The lines that are rows of comma- or semicolon-separated values, the names of the columns first."""
    return _records(text, _lines(text, 0, len(text)))


def cells(record: str) -> list[str]:
    """The fields of a line of separated values, as they are set."""
    return next(csv.reader([record], delimiter=_delimiter(record)))


def _lines(text: str, start: int, end: int) -> list[Range]:
    lines: list[Range] = []
    for raw in text[start:end].splitlines(keepends=True):
        lines.append((start, start + len(raw)))
        start += len(raw)
    return lines


def _is_prose(text: str, lines: list[Range]) -> bool:
    """Whether line breaks are mere wrapping: the lines are long, or mostly end in the middle of a sentence."""
    bodies = [text[a:b].strip() for a, b in lines]
    bodies = [body for body in bodies if body]
    return bool(bodies) and sum(len(body) for body in bodies) / len(bodies) >= 45


def _widths(text: str, lines: list[Range]) -> list[int]:
    """For each line the length of the longest between the same two empty lines."""
    widths: list[int] = []
    run: list[int] = []
    for first, last in [*lines, (0, 0)]:
        if body := text[first:last].strip():
            run.append(len(body))
            continue
        widths += [max(run, default=0)] * len(run) + [0]
        run = []
    return widths[: len(lines)]


def _parted(before: str, line: str, width: int) -> bool:
    """Whether `line` begins something new below `before`: one of them is a field or in capitals, or `before` ended
    though the next word had room."""
    if not line[0].isupper() and not line[0].isdigit():
        return False
    if _LABEL.match(line) or before.isupper() != line.isupper():
        return True
    room = len(before) + 1 + len(line.split(maxsplit=1)[0]) <= _FULL * width
    return room and before[-1] not in ",;-–"


def _records(text: str, lines: list[Range]) -> list[Range]:
    found: list[Range] = []
    run: list[Range] = []
    for place in [*lines, (0, 0)]:
        body = text[slice(*place)].strip()
        if run and (not body or len(cells(body)) != len(cells(text[slice(*run[0])].strip()))):
            found += run if len(run) >= _RECORDS else []
            run = []
        if body and (run or _names_columns(body)):
            run.append(place)
    return found


def _delimiter(line: str) -> str:
    return ";" if line.count(";") > line.count(",") else ","


def _names_columns(line: str) -> bool:
    """Whether a line could be the names of columns: three or more, short, all different, with no full stop."""
    if ": " in line or line.count(",") + line.count(";") < 2:
        return False
    names = [cell.strip().casefold() for cell in cells(line)]
    return len(names) >= 3 and len(set(names)) == len(names) and all(0 < len(n) <= 30 and n[-1] != "." for n in names)
