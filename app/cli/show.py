"""Answers, places and model notes as people read them in a terminal."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.places import citation_line

if TYPE_CHECKING:
    from app.answer import Answer
    from memory.types import Memory
    from model.engine import EngineInfo
    from retrieval.tables.store import Listed


def answer_text(answer: "Answer") -> str:
    """The checked answer with its citations below."""
    lines = [answer.answer]
    if answer.citations:
        lines += ["", *map(citation_line, answer.citations)]
    if answer.query:
        lines += ["", f"Query: {answer.query}"]
    return "\n".join(lines)


def remarks(answer: "Answer") -> list[str]:
    """What a reader should know beside the answer, one line each."""
    said = []
    if answer.reason:
        said.append(answer.reason)
    if answer.unsupported:
        spans = ", ".join(f"“{answer.answer[start:end][:80]}”" for start, end in answer.unsupported)
        said.append(f"No citation supports: {spans}")
    used = [memory for memory in answer.memories if memory.cited]
    said += [f"From memory {memory.id}: {memory.text}" for memory in used]
    said += [f"Left out: {left.what} ({left.why})" for left in answer.context.left_out]
    return said


def model_note(info: "EngineInfo") -> str:
    """Which model answers, and what to expect of the embedded one."""
    size = ""
    if info.total_parameters:
        active = info.active_parameters or info.total_parameters
        size = f", {info.total_parameters / 1e6:,.1f}M parameters, {active / 1e6:,.1f}M active per token"
    if "span" not in info.capabilities:
        return f"Model: {info.name} ({info.engine}{size})."
    return (
        f"Model: {info.name} ({info.engine}{size}). It is too small to write prose: it chooses its answers word for"
        " word from your documents. For free answers name a larger one with --model."
    )


def figures(values: Mapping[str, Any]) -> list[str]:
    """Counts and names one a line; a table of counts as `active 3, archived 1`."""
    return [f"{name.replace('_', ' ')}: {_figure(value)}" for name, value in values.items()]


def table_line(table: "Listed") -> str:
    """`table Costs!A1:C9, 8 rows: Day (date), Price (number, €)`"""
    where = f"{table.sheet}!{table.cells}" if table.sheet else table.cells
    columns = [f"{one.name} ({one.kind}{f', {one.unit}' if one.unit else ''})" for one in table.columns]
    return f"table {where}, {table.row_count} row{'s' * (table.row_count != 1)}: {', '.join(columns)}"


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_figure(count)}" for name, count in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else str(value)


def memory_json(memory: "Memory", score: float | None = None) -> dict[str, Any]:
    """A memory in the shape of `loci memory list --json`; `score` as `recall` adds it."""
    row = asdict(memory)
    return row if score is None else row | {"score": score}
