"""The rows of a batch as files hold them: JSON lines or CSV, in and out. Knows nothing about running one."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from app.answer import Answer
from app.errors import BadInput
from model.errors import why

OWN = (
    *("id", "status", "error", "schema", "question", "standalone_question", "answer", "reasoning", "grounded"),
    *("abstained", "reason", "confidence", "citations", "unsupported", "query", "memories", "context", "scope"),
    *("library_epoch", "seed", "model", "usage", "session", "turn"),
)
"""Columns that a row of output has before those of the input; `timing_ms` comes last, after them."""
HIDING = frozenset({*OWN, "timing_ms"}) - {"id", "question"}
"""Names that an input column shares with one of ours."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the input: its fields as they stand, or why it cannot be asked."""

    index: int
    line: int
    """Of the file, from 1: where the row begins."""
    fields: Mapping[str, Any]
    problem: str | None = None

    @property
    def id(self) -> Any:
        """The row's own id, or its number from 1."""
        own = self.fields.get("id")
        return self.index + 1 if own is None or own == "" else own


def read_rows(source: Path) -> list[Row]:
    """Rows of a JSONL file, or of a CSV file with a header that has a `question` column.

    :raises BadInput: if the file as a whole cannot be read; a bad row is a `Row` with a problem.
    """
    try:
        text = source.read_bytes().decode("utf-8-sig")  # read_text would turn the \r\n inside a cell into \n
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{source} cannot be read: {why(error)}.", "Give a UTF-8 file of JSON lines or CSV.") from None
    return list(_csv_rows(text, source) if source.suffix.lower() == ".csv" else _json_rows(text))


def _csv_rows(text: str, source: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # the default refuses cells over 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if "question" not in header or len(set(header)) != len(header):
            raise BadInput(f"{source} needs one column named question, and no name twice.", "Add a header line.")
        index, ended = 0, reader.line_num
        for cells in reader:
            line, ended = ended + 1, reader.line_num  # a cell may hold line breaks
            if not cells:
                continue
            fields = dict(zip(header, cells, strict=False))
            problem = None if len(cells) == len(header) else f"{len(cells)} cells under {len(header)} columns"
            yield Row(index, line, fields, problem or _no_question(fields))
            index += 1
    except csv.Error as error:
        raise BadInput(f"{source}, line {reader.line_num}: {error}.", "Quote cells as RFC 4180 says.") from None


def _json_rows(text: str) -> Iterator[Row]:
    # Only \n ends a line: str.splitlines would cut at U+2028, which JSON strings may hold.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    for index, (number, line) in enumerate(lines):
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield Row(index, number, {}, f"not JSON: {error}")
            continue
        if isinstance(fields, dict):
            yield Row(index, number, fields, _no_question(fields))
        else:
            yield Row(index, number, {}, "not a JSON object")


def _no_question(fields: Mapping[str, Any]) -> str | None:
    question = fields.get("question")
    if not (isinstance(question, str) and question.strip()):
        return "no question"
    try:
        question.encode()
    except UnicodeEncodeError:  # JSON may hold "\\ud800", which is no character
        return "the question is not valid Unicode"
    return None


def result(row: Row, answer: Answer | None, error: str | None, *, timings: bool) -> dict[str, Any]:
    """The object written for a row. Fields of the input keep their names; those that ours hide go under `input`."""
    own: dict[str, Any] = {"id": row.id, "status": "error", "error": error}
    shape: dict[str, Any] = {"schema": 1, "question": row.fields.get("question")}
    timing = None
    if answer is not None:
        own |= {"status": "abstained" if answer.abstained else "ok"}
        shape = answer.to_json()
        timing = shape.pop("timing_ms")
        # A prompt read from the cache differs by 1e-9 from one read anew, as the first row of a resumed run is.
        if shape["confidence"] is not None:
            shape["confidence"] = round(shape["confidence"], 6)
        if not timings:  # what varies between two runs: times, what was still in the cache, files that change
            timing = dict.fromkeys(timing, 0.0)
            shape["usage"]["cached_tokens"] = 0
            for cited in shape["citations"]:
                cited.pop("on_disk", None)
    hidden = {name: value for name, value in row.fields.items() if name in HIDING}
    passed = {name: value for name, value in row.fields.items() if name not in OWN and name not in HIDING}
    own |= shape | passed
    if hidden:  # an input column named "input" goes with them
        own["input"] = hidden | ({"input": passed["input"]} if "input" in passed else {})
    return own if timing is None else own | {"timing_ms": timing}


class Form(Protocol):
    """Rows to bytes, without state between rows."""

    def header(self) -> bytes: ...

    def row(self, fields: Mapping[str, Any]) -> bytes: ...


class Writer:
    """Rows to bytes, as JSON lines or CSV, without state between rows."""

    def __init__(self, out: Path, rows: Sequence[Row]) -> None:
        self.csv = out.suffix.lower() == ".csv"
        passed = dict.fromkeys(name for row in rows for name in row.fields if name not in {*OWN, *HIDING, "input"})
        self.columns = [*OWN, *passed, "input", "timing_ms"]

    def header(self) -> bytes:
        return self._line(self.columns) if self.csv else b""

    def row(self, fields: Mapping[str, Any]) -> bytes:
        if not self.csv:
            return (json.dumps(fields, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        return self._line([_cell(fields.get(name)) for name in self.columns])

    @staticmethod
    def _line(cells: Sequence[str]) -> bytes:
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerow(cells)
        return buffer.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    """Text as it stands, nothing as an empty cell, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
