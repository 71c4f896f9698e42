"""Memories as JSON lines, out and in. Importing twice adds nothing: a row is known by its text, scope and time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from sqlalchemy import Connection

from memory.clock import moment, stamp
from memory.duplicates import content_hash
from memory.records import Draft, change, insert, memory
from memory.schema import memories
from memory.types import BadRow, Kind, Source, State


class ExportedSource(BaseModel):
    """Where a memory came from; sessions and turns of another store mean nothing here."""

    how: str = "import"


class ExportedMemory(BaseModel):
    """One line of an export. Only `text` must be there: a list of plain statements can be imported too."""

    model_config = ConfigDict(extra="ignore")

    id: int | None = None
    text: str = Field(min_length=1, max_length=20_000)
    kind: Kind = "fact"
    scope: str = Field(default="main", min_length=1)
    state: State = "active"
    pinned: bool = False
    retention: float | None = None
    created: str | None = None
    last_used: str | None = None
    uses: int = Field(default=0, ge=0)
    valid_from: str | None = None
    valid_to: str | None = None
    superseded_by: int | None = None
    event_date: date | None = None

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


def export_rows(connection: Connection) -> Iterator[dict[str, Any]]:
    """Every memory, of every state, oldest first, in the shape of `loci memory list --json`."""
    for row in connection.execute(sa.select(memories).order_by(memories.c.id)):
        yield {"schema": 1, **asdict(memory(row))}


def parse(rows: Iterable[Mapping[str, Any] | str]) -> tuple[list[ExportedMemory], list[BadRow]]:
    """Check rows (objects, or lines of JSON; blank lines are skipped) and say what is wrong with which line."""
    good: list[ExportedMemory] = []
    bad: list[BadRow] = []
    for line, row in enumerate(rows, 1):
        if isinstance(row, str) and not row.strip():
            continue
        try:
            good.append(ExportedMemory.model_validate(json.loads(row) if isinstance(row, str) else row))
        except json.JSONDecodeError as error:
            bad.append(BadRow(line, f"not JSON: {error.msg}"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the row"
            bad.append(BadRow(line, f"{where}: {first['msg']}"))
    return good, bad


def import_rows(connection: Connection, rows: Iterable[tuple[ExportedMemory, Draft]], at: str) -> tuple[int, int]:
    """Insert rows that are not there yet and tie up what superseded what; returns (added, unchanged)."""
    id_of: dict[int, int] = {}
    added: list[tuple[ExportedMemory, int]] = []
    unchanged = 0
    for row, draft in rows:
        known = _known(connection, row)
        if known is not None:
            unchanged += 1
        else:
            created = row.created or at
            known = insert(
                connection,
                draft,
                recorded_at=created,
                valid_from=row.valid_from or created,
                valid_to=row.valid_to,
                state=row.state,
                retention=row.retention,
                uses=row.uses,
                last_used=row.last_used,
            )
            added.append((row, known))
        if row.id is not None:
            id_of[row.id] = known
    for row, fresh in added:
        if row.superseded_by in id_of and id_of[row.superseded_by] != fresh:
            change(connection, fresh, superseded_by=id_of[row.superseded_by])
    return len(added), unchanged


def draft_of(row: ExportedMemory, vector: Any, embedder: str) -> Draft:
    return Draft(row.text, row.kind, row.scope, Source("import"), vector, embedder, row.event_date, row.pinned)


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
