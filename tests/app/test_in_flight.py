"""Batches with many rows under way at a remote server: order, bounds, kills, and servers that fail in every way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.in_order import in_order
from app.workspace import Workspace
from tests.app.batch_server import KINDS, BatchServer
from tests.app.cli_run import Run

ROWS = 28


@pytest.fixture
def remote(loci: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`loci` with the engine that the reference names."""
    for name in ("engine", "assistant", "model_info"):
        monkeypatch.setattr(Workspace, name, REAL[name])
    monkeypatch.setattr(Workspace, "model_loaded", False)
    return loci


REAL: dict[str, Any] = {name: getattr(Workspace, name) for name in ("engine", "assistant", "model_info")}


@pytest.fixture
def server() -> Iterator[BatchServer]:
    made = BatchServer()
    yield made
    made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_text(
        "".join(json.dumps({"question": f"Where are the anchors of ship {n}?"}) + "\n" for n in range(ROWS))
    )
    return file


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def test_many_rows_under_way_write_what_one_at_a_time_writes(
    remote: Run, read: Path, source: Path, server: BatchServer, tmp_path: Path
) -> None:
    model = ("--model", server.url, "--no-timings")
    single = remote("batch", source, "-o", tmp_path / "one.jsonl", *model, "--in-flight", 1)
    assert server.most == 1
    server.seconds = 0.2  # far more than a row takes here
    many = remote("batch", source, "-o", tmp_path / "many.jsonl", *model, "--in-flight", 16)
    assert (single.code, many.code) == (0, 0), many.err
    assert 3 <= server.most <= 16
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "many.jsonl").read_bytes()
    assert len({row["answer"] for row in rows(tmp_path / "many.jsonl")}) == ROWS


def test_a_server_that_fails_in_every_way_loses_no_row(
    remote: Run, read: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCI_MODEL__TIMEOUT", "0.5")
    monkeypatch.setattr("model.patience.delay", lambda attempt, after: 0.01)
    server = BatchServer(failing=0.4)
    ran = remote("batch", source, "-o", tmp_path / "out.jsonl", "--model", server.url, "--in-flight", 16)
    server.close()
    assert ran.code == 0, ran.err
    assert set(server.failures) == set(KINDS)
    found = rows(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == list(range(1, ROWS + 1))
    assert all(row["answer"].startswith("It is number") for row in found)


def test_a_server_that_only_fails_is_reported_in_every_row(
    remote: Run, read: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.patience.delay", lambda attempt, after: 0.0)
    server = BatchServer()
    monkeypatch.setattr(server, "_toss", lambda body, failing: "500")
    ran = remote("batch", source, "-o", tmp_path / "out.jsonl", "--model", server.url, "--in-flight", 8)
    server.close()
    assert ran.code == 4
    found = rows(tmp_path / "out.jsonl")
    assert len(found) == ROWS and all(row["status"] == "error" and "not now" in row["error"] for row in found)


def test_a_server_that_goes_away_ends_the_run_and_it_resumes_when_it_is_back(
    remote: Run, read: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.patience.delay", lambda attempt, after: 0.0)
    server = BatchServer()
    model = ("--model", server.url, "--no-timings")
    assert remote("batch", source, "-o", tmp_path / "whole.jsonl", *model).code == 0
    answering = server.requests

    def gone(body: str, failing: float) -> str | None:
        if server.requests == answering + 10:
            server.http.socket.close()  # nobody can connect any more
        return "drop" if server.requests > answering + 10 else None

    monkeypatch.setattr(server, "_toss", gone)
    out = tmp_path / "out.jsonl"
    ran = remote("batch", source, "-o", out, *model, "--in-flight", 4)
    assert ran.code == 1 and "did not answer" in ran.err and "where it stopped" in ran.err
    assert all(row["status"] == "ok" for row in rows(out)) and len(rows(out)) < ROWS
    port = server.http.server_port
    server.close()
    back = BatchServer(port=port)
    assert remote("batch", source, "-o", out, *model).code == 0
    back.close()
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


KILLED = """
import sys
from app.workspace import Workspace
from tests.app.fakes import FakeEmbedder
Workspace.embedder = property(lambda self: FakeEmbedder())
from app.cli.main import main
sys.exit(main())
"""


def test_kill_9_with_rows_under_way_then_resume(remote: Run, read: Path, source: Path, tmp_path: Path) -> None:
    slow = BatchServer(seconds=0.1)
    options = ["--model", slow.url, "--no-timings", "--in-flight"]
    assert remote("batch", source, "-o", tmp_path / "whole.jsonl", *options, 16).code == 0
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-c", KILLED, "batch", str(source), "-o", str(out), *options, "6"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 10):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    written = out.read_bytes().count(b"\n")
    assert written < ROWS
    ran = remote("batch", source, "-o", out, *options, 16)  # how many at once does not decide what is written
    slow.close()
    assert ran.code == 0 and "earlier" in ran.err
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(("words", "reason"), [([], "one at a time"), (["--remember"], "one after the other")])
def test_several_rows_at_once_are_refused_where_there_can_be_one(
    remote: Run, source: Path, tmp_path: Path, words: list[str], reason: str
) -> None:
    ran = remote("batch", source, "-o", tmp_path / "out.jsonl", "--in-flight", 4, *words)
    assert ran.code == 2 and reason in ran.err


# ---- in order --------------------------------------------------------------------------------------


def test_a_slow_row_holds_up_a_bounded_number_of_others() -> None:
    begun: list[int] = []
    released = threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            released.wait(5)
        return item

    results = in_order(range(1000), work, 4)
    threading.Timer(0.3, released.set).start()
    assert next(results) == 0
    assert len(begun) <= 17
    assert list(results) == list(range(1, 1000))


def test_what_a_row_raises_is_raised_at_its_place_and_no_other_begins() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        if item == 5:
            raise ValueError("five")
        return item

    results = in_order(range(1000), work, 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    time.sleep(0.1)
    assert len(begun) <= 16
