"""A store as JSON lines, out and in: every memory in the shape of `loci memory list --json`, and before and after them
the rows they refer to. Importing twice adds nothing: a memory is known by its text, scope and time.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import Connection

from memory import records
from memory.clock import moment, stamp
from memory.duplicates import content_hash
from memory.records import Draft, change, insert, memory
from memory.redact import is_hollow
from memory.schema import memories
from memory.sessions import without_secrets as plain_answer
from memory.transfer_rows import BEFORE, LARGEST, TABLES, Importer, Values, check_row, check_value, export_rows
from memory.types import BadRow, Kind, Memory, Source, State

_PLACES = {name: place for place, name in enumerate(TABLES)}
_SHOWN = {one.name for one in (*fields(Memory), *fields(Source))} | {"recorded_at", "how"}
_TYPED = {"question", "title", "text"}
_DERIVED = {"content_hash", "slot", "revision"}
_BESIDE = tuple(column for column in memories.c if column.name not in _SHOWN | _DERIVED)
"""Columns of a memory that `list` does not show; a line has them by their names."""


Number = Annotated[int, Field(ge=-LARGEST - 1, le=LARGEST)]
"""An integer that a store can hold."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]


class ExportedSource(BaseModel):
    """Where a memory came from; the numbers mean something only beside the lines of their sessions and turns."""

    model_config = ConfigDict(extra="ignore")

    how: Literal["told", "extracted", "command", "import", "summary"] = "import"
    session: Number | None = None
    turn: Number | None = None
    start: Number | None = None
    end: Number | None = None
    speaker: str | None = None


class ExportedMemory(BaseModel):
    """One line of an export. Only `text` must be there: a list of plain statements can be imported too."""

    model_config = ConfigDict(extra="allow")

    id: Number | None = None
    text: str = Field(min_length=1, max_length=20_000)
    kind: Kind = "fact"
    scope: str = Field(default="main", min_length=1)
    state: State = "active"
    pinned: bool = False
    retention: float | None = Field(default=None, allow_inf_nan=False)
    created: str | None = None
    last_used: str | None = None
    uses: Count = 0
    valid_from: str | None = None
    valid_to: str | None = None
    superseded_by: Number | None = None
    event_date: date | None = None
    source: ExportedSource = Field(default_factory=ExportedSource)

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty")
        return text

    @field_validator("created", "last_used", "valid_from", "valid_to")
    @classmethod
    def _utc(cls, text: str | None) -> str | None:
        return stamp(moment(text)) if text is not None else None

    def beside(self) -> Values:
        """Values of the columns that `list` does not show, as far as the line has them."""
        given = self.model_extra or {}
        return {one.name: check_value(one, given[one.name]) for one in _BESIDE if given.get(one.name) is not None}


@dataclass(frozen=True, slots=True)
class Parsed:
    """The lines of an export that can be used, and those that cannot."""

    memories: list[ExportedMemory] = field(default_factory=list)
    rows: list[tuple[str, Values]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


def export_store(connection: Connection) -> Iterator[dict[str, Any]]:
    """Sessions and turns, every memory of every state, oldest first, and all other rows."""
    for name in BEFORE:
        yield from export_rows(connection, TABLES[name])
    for row in connection.execute(sa.select(memories).order_by(memories.c.id)):
        beside = {one.name: getattr(row, one.name) for one in _BESIDE}
        yield {"schema": 1, **asdict(memory(row)), **beside}
    for name, table in TABLES.items():
        if name not in BEFORE:
            yield from export_rows(connection, table)


def parse(lines: Iterable[Mapping[str, Any] | str]) -> Parsed:
    """Check lines (objects, or JSON; blank ones are skipped) and say what is wrong with which."""
    parsed = Parsed()
    for number, line in enumerate(lines, 1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            row = json.loads(line) if isinstance(line, str) else line
            if isinstance(row, Mapping) and "table" in row:
                parsed.rows.append(check_row(row))
            else:
                found = ExportedMemory.model_validate(row)
                found.beside()
                parsed.memories.append(found)
        except json.JSONDecodeError as error:
            parsed.bad.append(BadRow(number, f"not JSON: {error.msg}"))
        except RecursionError:  # brackets within brackets, of which no export has more than a few
            parsed.bad.append(BadRow(number, "not JSON of an export: nested too deeply"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the row"
            parsed.bad.append(BadRow(number, f"{where}: {first['msg']}"))
        except (ValueError, OverflowError) as error:
            parsed.bad.append(BadRow(number, str(error)))
    # In the order of their numbers, which an empty store can then keep.
    parsed.memories.sort(key=lambda row: row.id or sys.maxsize)
    parsed.rows.sort(key=lambda row: (_PLACES[row[0]], row[1].get("id") or 0))
    return parsed


def import_store(
    connection: Connection, parsed: Parsed, vectors: Sequence[records.Vector], embedder: str, at: str
) -> tuple[int, int, int]:
    """Insert what is not there yet and tie up what refers to what; returns memories added and unchanged, other rows."""
    importer = Importer(connection)
    for name, values in parsed.rows:
        if name in BEFORE:
            importer.take(name, values)
    added, unchanged = _import_memories(connection, importer, parsed.memories, vectors, embedder, at)
    for name, values in parsed.rows:
        if name not in BEFORE:
            importer.take(name, values)
    return added, unchanged, importer.added


def _import_memories(
    connection: Connection,
    importer: Importer,
    rows: Sequence[ExportedMemory],
    vectors: Sequence[records.Vector],
    embedder: str,
    at: str,
) -> tuple[int, int]:
    now, fresh = importer.now[memories.name], []
    for row, vector in zip(rows, vectors, strict=True):
        known = _known(connection, row)
        if known is None:
            known = _insert(connection, importer, row, vector, embedder, at)
            fresh.append((row, known))
        if row.id is not None:
            now[row.id] = known
    for row, own in fresh:  # references among memories, now that all have their numbers
        later = {"superseded_by": row.superseded_by} if row.superseded_by is not None else {}
        told = importer.followed(memories, later | row.beside()) or {}
        if told and told.get("superseded_by") != own:
            change(connection, own, **told)
    return len(fresh), len(rows) - len(fresh)


def _insert(
    connection: Connection, importer: Importer, row: ExportedMemory, vector: records.Vector, embedder: str, at: str
) -> int:
    session = importer.now["sessions"].get(row.source.session or 0)
    turn = importer.now["turns"].get(row.source.turn or 0)
    start, end = (row.source.start, row.source.end) if turn else (None, None)
    source = Source(row.source.how, session, turn, start, end, row.source.speaker)
    created = row.created or at
    columns: Values = {"state": row.state, "retention": row.retention, "uses": row.uses, "last_used": row.last_used}
    if free := importer.free(memories, row.id):
        columns["id"] = free
    return insert(
        connection,
        Draft(row.text, row.kind, row.scope, source, vector, embedder, row.event_date, row.pinned),
        recorded_at=created,
        valid_from=row.valid_from or created,
        valid_to=row.valid_to,
        **columns,
    )


def _known(connection: Connection, row: ExportedMemory) -> int | None:
    same = sa.select(memories.c.id).where(
        memories.c.scope == row.scope,
        memories.c.kind == row.kind,
        memories.c.content_hash == content_hash(row.text),
    )
    if row.created is not None:
        found = connection.execute(same.where(memories.c.recorded_at == row.created)).scalar()
        if found is not None:
            return int(found)
    if row.state != "active" or row.valid_to is not None:
        return None
    current = same.where(memories.c.state == "active", memories.c.valid_to.is_(None))
    found = connection.execute(current).scalar()
    return int(found) if found is not None else None


def without_secrets(parsed: Parsed, plain: Callable[[str], str]) -> tuple[Parsed, int, int]:
    """The lines without secrets, by `plain`; how many lost one, and how many are left out since they tell nothing else.

    What had lost its secret when it was exported stays as it was.
    """
    told = [row.model_copy(update={"text": plain(row.text)}) for row in parsed.memories]
    rows = [(name, _plain_row(values, plain)) for name, values in parsed.rows]
    lost = [one for one, row in zip(told, parsed.memories, strict=True) if one.text != row.text]
    hollow = {id(one) for one in lost if is_hollow(one.text)}
    kept = Parsed([one for one in told if id(one) not in hollow], rows, parsed.bad)
    return kept, len(lost) - len(hollow) + sum(a != b for a, b in zip(rows, parsed.rows, strict=True)), len(hollow)


def _plain_row(values: Values, plain: Callable[[str], str]) -> Values:
    """What a person typed loses its secrets by their form, a stored result those of its question."""
    typed = {name: plain(values[name]) for name in _TYPED & values.keys() if values[name] is not None}
    if "answer_json" in values:
        answer, result = plain_answer(values["answer"], values["answer_json"])
        typed |= {"answer": answer, "answer_json": result}
    return values | typed
