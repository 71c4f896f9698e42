"""Many questions from a file, one answer a row, in order: reproducible, and resumable after a kill at any moment.

A row is written to OUT and synced, and only then entered in the journal beside it. A resumed run cuts OUT back to the
last entered row and goes on, with the epoch and seed that the journal pins, so that it ends with the bytes of a run
that was never interrupted. Knows nothing about how a question is answered: it calls one function per row.
"""

import fcntl
import hashlib
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from app.answer import Answer
from app.batch_rows import Form, Row, Writer, read_rows, result
from app.errors import BadInput, LociError, ResidentEnded
from app.in_order import in_order
from model.errors import Unreachable
from retrieval.errors import DatabaseProblem, LibraryChanged


@dataclass(frozen=True, slots=True)
class Pins:
    """What holds for every row, resumed or not."""

    library_epoch: int
    seed: int
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells this run's rows from those of others, so that what a row stored is found again."""


@dataclass(frozen=True, slots=True)
class Advance:
    """One more row is safe on disk."""

    done: int
    total: int
    status: str
    line: int
    """Of the input."""
    error: str | None


@dataclass(slots=True)
class Outcome:
    """Counts over the whole output, rows of earlier runs included."""

    rows: int = 0
    resumed: int = 0
    """Rows that an earlier, interrupted run had written."""
    statuses: dict[str, int] = field(default_factory=lambda: {"ok": 0, "abstained": 0, "error": 0})

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "resumed": self.resumed, **self.statuses}


def run_batch(
    source: Path,
    out: Path,
    answer: Callable[[Row, Pins], Answer],
    pins: Pins,
    *,
    options: Mapping[str, Any],
    timings: bool = True,
    force: bool = False,
    workers: int = 1,
) -> Generator[Advance, None, Outcome]:
    """Answer every row of `source` into `out`, yielding after each; the generator's value is the outcome.

    :param answer: called once per row that has a question; its `LociError` becomes the row's error.
    :param pins: used if the run starts afresh; a resumed one keeps its own.
    :param workers: threads that call it at once, where it allows that.
    :param options: all else that decides the output (model, scope, ...); a run resumes only under the same.
    :raises BadInput: if OUT exists and is no interrupted run of this very batch, or another run is writing it.
    """
    check_out(source, out, force)
    rows = read_rows(source)
    writer = Writer(out.resolve(), rows)
    identity = hashlib.sha256(
        source.read_bytes() + json.dumps({**options, "timings": timings, "csv": writer.csv}, sort_keys=True).encode()
    ).hexdigest()

    def answered(row: Row, pinned: Pins) -> dict[str, Any]:
        made = (None, row.problem) if row.problem else attempted(lambda: answer(row, pinned))
        return result(row, *made, timings=timings)

    return (yield from run_rows(rows, out, writer, answered, pins, identity=identity, force=force, workers=workers))


def run_rows(
    rows: Sequence[Row],
    out: Path,
    writer: Form,
    answered: Callable[[Row, Pins], dict[str, Any]],
    pins: Pins,
    *,
    identity: str,
    force: bool = False,
    workers: int = 1,
) -> Generator[Advance, None, Outcome]:
    """Write what `answered` makes of each row, as `run_batch` does; it has at least a `status` and an `error`.

    :param identity: of all that decides the output; a run resumes only under the same.
    :raises BadInput: as `run_batch`.
    """
    out = out.resolve()
    outcome = Outcome(rows=len(rows))
    with _journal(out) as journal:
        state = _resume(journal, out, force=force, identity=identity) or _start(journal, out, writer, identity, pins)
        outcome.resumed = state.rows
        outcome.statuses |= state.statuses
        with out.open("r+b") as file:
            file.truncate(state.end)
            file.seek(state.end)
            rest = rows[state.rows :]

            def made(row: Row) -> dict[str, Any]:
                return answered(row, state.pins)

            results = map(made, rest) if workers == 1 else in_order(rest, made, workers)
            for row, written in zip(rest, results, strict=True):
                _sync(file, writer.row(written))
                _sync(journal, json.dumps({"end": file.tell(), "status": written["status"]}).encode() + b"\n")
                outcome.statuses[written["status"]] += 1
                yield Advance(row.index + 1, len(rows), written["status"], row.line, written["error"])
        _journal_path(out).unlink()
    return outcome


def check_out(source: Path | None, out: Path, force: bool = False) -> None:
    """What can be told before a model is loaded for nothing.

    :raises BadInput: OUT is the input itself, or exists and is no interrupted run.
    """
    if source is not None and out.resolve() == source.resolve():
        raise BadInput(f"{out} is the input itself.", "Give -o another name.")
    if out.exists() and out.stat().st_size and not force and not _journal_path(out.resolve()).exists():
        raise _exists(out)


def _exists(out: Path) -> BadInput:
    return BadInput(f"{out} exists.", "Give --force to replace it, or another name.")


def attempted(answer: Callable[[], Answer]) -> tuple[Answer | None, str | None]:
    """The answer, or why there is none.

    :raises DatabaseProblem, LibraryChanged, Unreachable: what would keep every later row from an answer, too.
    """
    try:
        try:
            return answer(), None
        except ResidentEnded:  # the next one answers as this one would have: the row must not tell of it
            return answer(), None
    except (DatabaseProblem, LibraryChanged, Unreachable):  # every later row would fail too
        raise
    except LociError as error:
        return None, str(error)


@dataclass(frozen=True, slots=True)
class _State:
    pins: Pins
    rows: int
    end: int
    statuses: dict[str, int]


def _start(journal: IO[bytes], out: Path, writer: Form, identity: str, pins: Pins) -> _State:
    """An empty OUT, the journal's first line, OUT's header: in the order that a kill between them leaves resumable."""
    header = writer.header()
    with out.open("wb") as file:
        journal.truncate(0)
        first = {"identity": identity, **asdict(pins), "end": len(header)}
        _sync(journal, json.dumps(first).encode() + b"\n")
        _sync(file, header)
    return _State(pins, 0, len(header), {})


def _resume(journal: IO[bytes], out: Path, *, identity: str, force: bool) -> _State | None:
    """Where an interrupted run of this batch stood, or None to start afresh."""
    size = out.stat().st_size if out.exists() else 0
    journal.seek(0)
    lines = journal.read().split(b"\n")[:-1]  # what follows the last newline was cut off
    if force or not (size or lines):
        return None
    if not lines:
        _journal_path(out).unlink()
        raise _exists(out)
    try:
        first, *entries = map(json.loads, lines)
        pins = Pins(first["library_epoch"], first["seed"], first["run"])
        entries = [entry for entry in entries if entry["end"] <= size]
        end = entries[-1]["end"] if entries else first["end"]
        statuses = Counter(entry["status"] for entry in entries)
        same = first["identity"] == identity
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{_journal_path(out)} is damaged.", "Give --force to start again.") from None
    if not same:
        raise BadInput(
            f"{out} holds an interrupted run over another input or with other options.",
            "Give the same input and options to resume it, or --force to start again.",
        )
    if end > size:  # killed before OUT's header was safe, or someone else emptied OUT
        return None
    # A torn last line of the journal goes too, or the next entry would be glued to it.
    journal.truncate(sum(len(line) + 1 for line in lines[: 1 + len(entries)]))
    return _State(pins, len(entries), end, statuses)


def _journal_path(out: Path) -> Path:
    return out.with_name(out.name + ".journal")


@contextmanager
def _journal(out: Path) -> Iterator[IO[bytes]]:
    """The journal, locked against a second run; the lock dies with the process."""
    path = _journal_path(out)
    try:
        while True:
            file = path.open("a+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise BadInput(f"Another batch is writing {out}.", "Wait for it, or give another name.") from None
            if os.fstat(file.fileno()).st_nlink:  # else the run before us removed it when it was done
                break
            file.close()
    except OSError as error:
        raise BadInput(
            f"{out} cannot be written: {error.strerror}.", "Give -o a file in a folder you can write."
        ) from None
    with file:
        yield file


def _sync(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
