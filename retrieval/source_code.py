"""Where source code may be cut: between its top-level parts. Python by its syntax tree, the rest by its layout."""

import ast
import re
import warnings
from collections.abc import Iterator
from itertools import pairwise

_CLOSER = re.compile(r"[}\])]|end\b")


def code_parts(text: str, start: int, end: int, media_type: str) -> list[tuple[int, int]]:
    """Ranges that cover `text[start:end]`, in order: functions, classes' methods, or blocks between blank lines."""
    body = text[start:end]
    lines = body.splitlines(keepends=True)
    offsets = [start]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    python = media_type in ("text/x-py", "text/x-python", "text/x-pyi")
    starts = _python_starts(body) if python else None
    cuts = sorted({0, len(lines), *(_block_starts(lines) if starts is None else starts)})
    return [(offsets[left], offsets[right]) for left, right in pairwise(cuts)]


def _python_starts(body: str) -> set[int] | None:
    """First lines (from 0) of statements and methods, decorators included; None if it does not parse."""
    # splitlines and the parser must agree on what a line is.
    if len(body.splitlines()) != body.count("\n") + (not body.endswith("\n")):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return set(_statement_starts(tree.body))


def _statement_starts(statements: list[ast.stmt]) -> Iterator[int]:
    for statement in statements:
        decorators = getattr(statement, "decorator_list", [])
        yield min([statement.lineno, *(item.lineno for item in decorators)]) - 1
        if isinstance(statement, ast.ClassDef):
            yield from list(_statement_starts(statement.body))[1:]


def _block_starts(lines: list[str]) -> Iterator[int]:
    """Lines at the left margin that follow a blank line or a closing brace at the margin."""
    for number in range(1, len(lines)):
        line, before = lines[number], lines[number - 1]
        at_margin = bool(line.strip()) and not line[0].isspace() and not _CLOSER.match(line)
        if at_margin and (not before.strip() or _CLOSER.match(before)):
            yield number
