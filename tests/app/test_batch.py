"""Batches: order, formats, per-row errors, and the same bytes after a kill at any moment."""

import csv
import fcntl
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import app.batch
from app.answer import Answer, Ask
from app.assistant import Assistant
from app.batch import Outcome, Pins, run_batch
from app.batch_rows import Row, read_rows, result
from app.errors import BadInput, ResidentEnded
from app.settings_assistant import AssistantSettings
from memory.settings import MemorySettings
from memory.store import MemoryStore
from model.errors import PromptTooLong
from retrieval.errors import DatabaseProblem, LibraryChanged, RetrievalError
from tests.app.fakes import make_answer
from tests.app.fakes_engine import FakeEngine, FakeLibrary, embed

PINS = Pins(library_epoch=7, seed=3)


def reply(row: Row, pins: Pins) -> Answer:
    question = row.fields["question"]
    if question == "too long":
        raise PromptTooLong("too long by half.")
    return make_answer(
        question, f"{question} — “é”, \n{pins.library_epoch}/{pins.seed}", abstained="nothing" in question
    )


def run(source: Path, out: Path, answer: Any = reply, pins: Pins = PINS, stop_after: int = -1, **more: Any) -> Outcome:
    batch = run_batch(source, out, answer, pins, options=more.pop("options", {"model": "m"}), **more)
    done = 0
    while True:
        try:
            if done == stop_after:
                batch.close()
                return Outcome()
            next(batch)
            done += 1
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text("utf-8").split("\n") if line]


def test_rows_keep_their_order_ids_and_unknown_fields(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a", "gold": [1]}, "", {"id": "x", "question": "nothing"})
    outcome = run(source, tmp_path / "out.jsonl")
    first, second = lines(tmp_path / "out.jsonl")
    assert (first["id"], first["status"], first["question"], first["gold"]) == (1, "ok", "a", [1])
    assert (second["id"], second["status"], second["abstained"]) == ("x", "abstained", True)
    assert list(first)[-1] == "timing_ms"
    assert outcome.to_json() == {"rows": 2, "resumed": 0, "ok": 1, "abstained": 1, "error": 0}
    assert not list(tmp_path.glob("*.journal"))


def test_a_bad_row_is_an_error_of_its_own(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl", "{oops", "[1]", {"q": 1}, {"question": " "}, {"question": "too long"}, {"question": "b"}
    )
    outcome = run(source, tmp_path / "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    assert [row["status"] for row in rows] == ["error"] * 5 + ["ok"]
    assert rows[0]["error"].startswith("not JSON") and rows[4]["error"] == "too long by half."
    assert rows[2]["q"] == 1
    assert outcome.statuses["error"] == 5


def test_half_a_character_in_a_question_is_that_rows_error(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", r'{"question": "\ud800"}', {"question": "b"})
    run(source, tmp_path / "out.jsonl")
    first, second = lines(tmp_path / "out.jsonl")
    assert (first["status"], second["status"]) == ("error", "ok")
    assert "Unicode" in first["error"]


def test_fields_that_ours_would_hide_are_kept_apart(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a", "answer": "gold", "input": 5, "status": "new"})
    run(source, tmp_path / "out.jsonl")
    (row,) = lines(tmp_path / "out.jsonl")
    assert row["answer"].startswith("a —") and row["status"] == "ok"
    assert row["input"] == {"answer": "gold", "status": "new", "input": 5}


def test_csv_goes_round_with_quotes_newlines_and_extra_columns(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    rows = [{"note": 'say "hi", twice', "question": "one\r\nline"}, {"note": "", "question": "nothing, really"}]
    with source.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["note", "question"])
        writer.writeheader()
        writer.writerows(rows)
    run(source, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [{name: row[name] for name in ("note", "question")} for row in written] == rows
    assert written[0]["answer"] == "one\r\nline — “é”, \n7/3"
    assert json.loads(written[0]["citations"])[0]["status"] == "verified"
    assert [row["status"] for row in written] == ["ok", "abstained"]


def test_a_csv_row_of_the_wrong_width_is_an_error_row(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("question,x\na\nb,1\n")
    assert [row.problem for row in read_rows(tmp_path / "in.csv")] == ["1 cells under 2 columns", None]


@pytest.mark.parametrize("text", ["q,x\na,b\n", "question,question\na,b\n", 'question\n"open', ""])
def test_a_csv_file_that_cannot_be_a_batch_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(BadInput):
        read_rows(tmp_path / "in.csv")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path: Path, suffix: str, stop_after: int) -> None:
    source = write(tmp_path / "in.jsonl", *({"question": f"q{n}\n"} for n in range(5)))
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    run(source, whole, timings=False)
    run(source, cut, timings=False, stop_after=stop_after)
    outcome = run(source, cut, pins=Pins(99, 99), timings=False)  # the journal's pins hold
    assert cut.read_bytes() == whole.read_bytes()
    assert outcome.resumed == stop_after and outcome.statuses["ok"] == 5


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_kill_between_any_two_bytes_is_mended(tmp_path: Path, suffix: str) -> None:
    """The states that a kill can leave: OUT torn anywhere after the last entered row, the journal's last line torn."""
    source = write(tmp_path / "in.jsonl", *({"question": f"q{n}"} for n in range(3)))
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    journal = tmp_path / f"cut.{suffix}.journal"
    run(source, whole, timings=False)
    run(source, cut, timings=False, stop_after=1)
    entered = journal.read_bytes()
    done = cut.stat().st_size
    following = whole.read_bytes()[done:]
    for extra, torn in [(0, b'{"en'), (1, b""), (len(following) // 2, b""), (len(following), b'{"end": 1')]:
        cut.write_bytes(whole.read_bytes()[:done] + following[:extra])
        journal.write_bytes(entered + torn)
        run(source, cut, timings=False)
        assert cut.read_bytes() == whole.read_bytes(), (extra, torn)
    # Killed before anything but the journal was safe.
    cut.write_bytes(b"")
    journal.write_bytes(entered.split(b"\n")[0] + b"\n")
    run(source, cut, timings=False)
    assert cut.read_bytes() == whole.read_bytes()


KILLED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from app.batch import Pins, run_batch
from tests.app.fakes import make_answer
def slow(row, pins):
    time.sleep(0.02)
    return make_answer(row.fields["question"], "x" * 5000)
for step in run_batch(Path(sys.argv[1]), Path(sys.argv[2]), slow, Pins(1, 2), options={}, timings=False):
    pass
"""


def test_kill_9_in_the_middle_then_resume(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"question": f"q{n}"} for n in range(60)))
    command = [sys.executable, "-c", KILLED, str(source)]
    root = Path(__file__).parents[2]
    subprocess.run([*command, str(tmp_path / "whole.jsonl")], check=True, cwd=root)
    out = tmp_path / "out.jsonl"
    kills = 0
    for rows in (5, 25, 40):
        process = subprocess.Popen([*command, str(out)], cwd=root)
        while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < rows):
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    subprocess.run([*command, str(out)], check=True, cwd=root)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def remembering(folder: Path, killed_in: str = "") -> int:
    """A batch with --remember in a process of its own, killed when it calls that for the second row; how it ended."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        store = MemoryStore(folder, MemorySettings(), embed, "words")
        engine = FakeEngine(*["The ferry leaves at nine."] * 3)
        assistant = Assistant(lambda: engine, FakeLibrary(), store, AssistantSettings())  # type: ignore[arg-type]

        def answer(row: Row, pins: Pins) -> Answer:
            return assistant.ask(Ask(row.fields["question"], seed=pins.seed, request=f"{pins.run}:{row.index}"))

        holder, name, call = (app.batch, "_sync", 5) if killed_in == "_sync" else (MemoryStore, killed_in, 2)
        if killed_in:
            act, calls = getattr(holder, name), itertools.count(1)

            def killing(*given: Any, **more: Any) -> Any:
                if next(calls) == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return act(*given, **more)

            setattr(holder, name, killing)
        run(folder / "in.jsonl", folder / "out.jsonl", answer, Pins(1, 2), timings=False)
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("place", ["begin_turn", "observe", "finish_turn", "_sync"])
def test_a_turn_is_stored_once_wherever_the_batch_that_asks_it_is_killed(tmp_path: Path, place: str) -> None:
    said = ("Remember that my boat is called Pelican.", "My boat lies in berth 14. When does it leave?", "Which boat?")
    stores = []
    for name, kills in (("cut", [place, ""]), ("whole", [""])):
        (folder := tmp_path / name).mkdir()
        write(folder / "in.jsonl", *({"question": question} for question in said))
        assert [remembering(folder, kill) for kill in kills] == [-signal.SIGKILL if kill else 0 for kill in kills]
        with closing(sqlite3.connect(folder / "memory.db")) as db:
            turns = db.execute("SELECT id, session, question, answer, complete FROM turns").fetchall()
            told = db.execute("SELECT id, turn, text, uses, confirmations FROM memories").fetchall()
            shown = db.execute("SELECT memory, turn, rank, cited FROM exposures").fetchall()
            stores.append((turns, told, shown, db.execute("SELECT count(*) FROM sessions").fetchall()))
    assert stores[0] == stores[1] and len(stores[0][0]) == 3 and stores[0][2]
    assert (tmp_path / "cut" / "out.jsonl").read_bytes() == (tmp_path / "whole" / "out.jsonl").read_bytes()


def test_another_run_stores_its_turns_anew(tmp_path: Path) -> None:
    runs: list[str] = []

    def noting(row: Row, pins: Pins) -> Answer:
        runs.append(pins.run)
        return reply(row, pins)

    source = write(tmp_path / "in.jsonl", {"question": "a"}, {"question": "b"})
    run(source, tmp_path / "one.jsonl", noting, Pins(1, 1), stop_after=1)
    run(source, tmp_path / "one.jsonl", noting, Pins(1, 1))
    run(source, tmp_path / "two.jsonl", noting, Pins(1, 1))
    assert runs[0] == runs[1] and runs[2] == runs[3] != runs[0]


def test_another_input_or_option_does_not_resume(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a"}, {"question": "b"})
    out = tmp_path / "out.jsonl"
    run(source, out, stop_after=1)
    with pytest.raises(BadInput, match="other options"):
        run(source, out, options={"model": "other"})
    write(source, {"question": "c"})
    with pytest.raises(BadInput, match="another input"):
        run(source, out)
    assert run(source, out, force=True).rows == 1
    assert [row["question"] for row in lines(out)] == ["c"]


def test_a_finished_output_is_not_replaced_without_force(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a"})
    run(source, tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(BadInput, match="exists"):
        run(source, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == before and not list(tmp_path.glob("*.journal"))
    with pytest.raises(BadInput, match="itself"):
        run(source, source, force=True)


def test_two_batches_do_not_write_one_output(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a"})
    with (tmp_path / "out.jsonl.journal").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match="Another batch"):
            run(source, tmp_path / "out.jsonl", force=True)
    run(source, tmp_path / "out.jsonl")


@pytest.mark.parametrize("problem", [DatabaseProblem, LibraryChanged])
def test_what_would_fail_every_later_row_stops_the_run_and_it_resumes(
    tmp_path: Path, problem: type[RetrievalError]
) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a"}, {"question": "b"})
    out = tmp_path / "out.jsonl"

    def failing(row: Row, pins: Pins) -> Answer:
        if row.index == 1:
            raise problem("disk full.")
        return reply(row, pins)

    with pytest.raises(problem):
        run(source, out, failing)
    assert run(source, out).resumed == 1


def test_a_row_whose_resident_was_killed_is_asked_once_more(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"question": "a"}, {"question": "b"})
    run(source, tmp_path / "undisturbed.jsonl")
    killed: list[int] = []

    def dying(row: Row, pins: Pins) -> Answer:
        if row.index not in killed:
            killed.append(row.index)
            raise ResidentEnded("It was ended.", "Ask again.")
        return reply(row, pins)

    run(source, tmp_path / "out.jsonl", dying)
    assert killed == [0, 1]
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


def test_text_that_is_no_unicode_is_written_and_read_back(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", '{"question": "a", "note": "\\ud800"}')
    run(source, tmp_path / "out.jsonl")
    assert lines(tmp_path / "out.jsonl")[0]["note"] == "\ud800"
    run(source, tmp_path / "out.csv")


def test_the_last_digits_of_a_confidence_are_left_out() -> None:
    """A cached prompt and one read anew differ there, and a resumed run must end with the same bytes."""
    given = replace(make_answer("a"), confidence=0.991027788260483)
    assert result(Row(0, 1, {"question": "a"}), given, None, timings=False)["confidence"] == 0.991028
    unknown = replace(given, confidence=None)
    assert result(Row(0, 1, {"question": "a"}), unknown, None, timings=False)["confidence"] is None


def test_a_row_of_csv_tells_the_line_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('question\n"a\nof two lines"\n\nb\n')
    assert [row.line for row in read_rows(tmp_path / "in.csv")] == [2, 5]
