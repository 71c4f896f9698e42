"""JSON and JSON Lines as `key: value` text, a line for each record, large objects under headings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.readers.encoding import read_text
from retrieval.readers.extraction import Builder, Extraction, clean
from retrieval.readers.text import whole

_RECORD = 2000
"""A value whose one-line form is at most this long is written on one line."""


def read_json(path: Path) -> Extraction:
    """What does not parse as JSON (comments, a cut end) is kept as it stands.

    Raises UnreadableDocument for a binary file.
    """
    text = read_text(path).lstrip("\ufeff")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return whole(clean(text), "application/json", "code")
    builder = Builder()
    try:
        _add(builder, value, "", 0)
    except RecursionError:
        return whole(clean(text), "application/json", "code")
    return builder.build("application/json", title=path.stem)


def read_jsonl(path: Path) -> Extraction:
    """One record a line; a line that is not JSON is kept as it stands. Raises UnreadableDocument for a binary file."""
    builder = Builder()
    for line in read_text(path).lstrip("\ufeff").splitlines():
        try:
            text = _one_line(json.loads(line)) if line.strip() else ""
        except (ValueError, RecursionError):
            text = line.strip()
        builder.add(text, "table", separator="\n")
    return builder.build("application/jsonl")


def _add(builder: Builder, value: Any, name: str, level: int) -> None:
    """Append a value: on one line where that is short, else part by part under a heading of its name."""
    line = _one_line(value)
    if not _nests(value) or (len(line) <= _RECORD and level):
        builder.add(f"{name}: {line}" if name else line, "table", separator="\n")
        return
    if name:
        builder.heading(level, name)
    if isinstance(value, dict):
        for key, item in value.items():
            _add(builder, item, key, level + 1)
    else:
        for item in value:
            _add(builder, item, "", level + 1)
    builder.enter(level, "")


def _nests(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(item, dict | list) for item in items)


def _one_line(value: Any) -> str:
    """`key: value; key: value`, nested keys joined by dots, lists of plain values by commas."""
    return "; ".join(f"{path}: {text}" if path else text for path, text in _leaves(value, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        if not _nests(value):
            yield path, ", ".join(_scalar(item) for item in value)
            return
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, _scalar(value)


def _scalar(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())
