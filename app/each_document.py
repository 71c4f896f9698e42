"""The same questions asked of every document: one row per document, one cell per question, each with its evidence.

A cell is an answer with a citation that was checked, or absent. Runs as a batch does (`app.batch`): pinned, in order,
resumable. Knows nothing about how a question is answered.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from app.answer import Answer, Citation
from app.batch import Advance, Outcome, Pins, attempted, run_rows
from app.batch_rows import Form, Row, read_rows
from app.errors import BadInput
from app.places import place
from app.sentences import content_words
from retrieval.types import DocumentInfo

_MARK = re.compile(r"\s*\[m?\d+\]")
_PROVEN = ("verified", "repaired")

Asking = Callable[[str, DocumentInfo, Pins], Answer]
"""Answers a question from one document alone."""


def read_questions(given: str) -> list[str]:
    """The question itself, or those of the file of that name: one a line, or as `loci batch` reads them (.jsonl, .csv).

    :raises BadInput: there is none, or one twice.
    """
    source = Path(given)
    try:
        is_file = source.is_file()
    except OSError:  # a question too long for a file's name
        is_file = False
    if not is_file:
        found = [given.strip()]
    elif source.suffix.lower() in (".jsonl", ".csv"):
        rows = read_rows(source)
        if bad := next((row for row in rows if row.problem), None):
            raise BadInput(f"{source}, line {bad.line}: {bad.problem}.", "Every row needs a question.")
        found = [str(row.fields["question"]).strip() for row in rows]
    else:
        found = [line.strip() for line in source.read_text("utf-8-sig").splitlines() if line.strip()]
    if not any(found) or len(set(found)) != len(found):
        raise BadInput(f"{given!r} holds no question, or one twice.", "Give each question once.")
    return found


def run_each(
    questions: Sequence[str],
    documents: Sequence[DocumentInfo],
    out: Path,
    ask: Asking,
    pins: Pins,
    *,
    options: Mapping[str, Any],
    force: bool = False,
    workers: int = 1,
) -> Generator[Advance, None, Outcome]:
    """Ask every question of every document into `out`, yielding after each document; the value is the outcome.

    :param options: all else that decides the output; a run resumes only under the same.
    :raises BadInput: as `app.batch.run_batch`.
    """
    form = form_of(out, questions)
    rows = [Row(n, n + 1, {"document": one}) for n, one in enumerate(documents)]
    told = {
        **options,
        "questions": list(questions),
        "documents": [[one.id, one.path, one.text_sha256] for one in documents],
        "form": out.suffix.lower(),
    }
    identity = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def asked(row: Row, pinned: Pins) -> dict[str, Any]:
        document: DocumentInfo = row.fields["document"]
        cells = [_cell(question, *attempted(partial(ask, question, document, pinned))) for question in questions]
        return _row(document, cells)

    return (yield from run_rows(rows, out, form, asked, pins, identity=identity, force=force, workers=workers))


def _cell(question: str, answer: Answer | None, error: str | None) -> dict[str, Any]:
    """What a question came to: `verified` or `repaired` with its first citation of that kind, `absent`, or `error`."""
    empty = {"question": question, "status": "absent", "answer": None, "citation": None, "error": None}
    if answer is None:
        return empty | {"status": "error", "error": error}
    said, proof = proven(question, answer)
    return empty if proof is None else empty | {"status": proof.status, "answer": said, "citation": _shown(proof)}


def proven(question: str, answer: Answer) -> tuple[str, Citation | None]:
    """What an answer says, without marks, and the citation that proves it; None where that is nothing.

    An answer that only repeats the question's own words tells nothing of the document.
    """
    proof = next((one for status in _PROVEN for one in answer.citations if one.status == status), None)
    said = _MARK.sub("", answer.answer).strip()
    words = set(content_words(said))
    repeats = bool(words) and words <= set(content_words(question))
    return said, None if answer.abstained or repeats else proof


def _shown(citation: Citation) -> dict[str, Any]:
    name = Path(citation.path).name
    return {
        "place": place(name, citation.page, citation.line, citation.locator),
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
        "text_sha256": citation.text_sha256,
    }


def _row(document: DocumentInfo, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    error = next((cell["error"] for cell in cells if cell["error"]), None)
    found = any(cell["status"] in _PROVEN for cell in cells)
    return {
        "document": document.id,
        "path": document.path,
        "title": document.title,
        "status": "error" if error else "ok" if found else "abstained",
        "error": error,
        "cells": list(cells),
    }


# ---- forms ---------------------------------------------------------------------------------------


def form_of(out: Path, questions: Sequence[str]) -> Form:
    """How OUT is written, by the end of its name: CSV, Markdown, else JSON lines."""
    forms = {".csv": CsvTable, ".md": MarkdownTable, ".markdown": MarkdownTable}
    return forms.get(out.suffix.lower(), JsonLines)(questions)


class JsonLines:
    """A line per document, with all of each cell."""

    def __init__(self, questions: Sequence[str]) -> None:
        self._questions = questions

    def header(self) -> bytes:
        return b""

    def row(self, fields: Mapping[str, Any]) -> bytes:
        return (json.dumps({"schema": 1, **fields}, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


class CsvTable(JsonLines):
    """A row per document: three columns for each question, its answer, its status, and where it stands."""

    def header(self) -> bytes:
        named = [f"{question}{part}" for question in self._questions for part in ("", " (status)", " (source)")]
        return _csv(["document", "path", "title", *named])

    def row(self, fields: Mapping[str, Any]) -> bytes:
        cells = [part for cell in fields["cells"] for part in (cell["answer"] or "", cell["status"], _source(cell))]
        return _csv([fields["document"], fields["path"], fields["title"], *cells])


class MarkdownTable(JsonLines):
    """A table for reading: the answer with its place, or absent."""

    def header(self) -> bytes:
        names = ["Document", *self._questions]
        return f"{_line(names)}{'|---' * len(names)}|\n".encode()

    def row(self, fields: Mapping[str, Any]) -> bytes:
        cells = [f"{cell['answer']} ({_where(cell)})" if cell["answer"] else cell["status"] for cell in fields["cells"]]
        return _line([fields["title"] or Path(fields["path"]).name, *cells]).encode("utf-8", "replace")


def _where(cell: Mapping[str, Any]) -> str:
    mark = "✓" if cell["status"] == "verified" else "~"
    return f"{mark} {cell['citation']['place']}"


def _source(cell: Mapping[str, Any]) -> str:
    if cell["citation"] is None:
        return cell["error"] or ""
    return f"{cell['citation']['place']}: {' '.join(cell['citation']['quote'].split())}"


def _line(cells: Sequence[str]) -> str:
    flat = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(flat)} |\n"


def _csv(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue().encode("utf-8", "replace")
