"""Worker processes: what goes wrong with one file stays with that file."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

from retrieval.errors import EmptyText, RetrievalError, UnreadableDocument, UnsupportedType
from retrieval.readers import Extraction, Limits, ReaderPool

# A module put before the real reader in the worker: the text of the file says what it does.
_SABOTAGE = """
import ctypes, os, sys, time
from pathlib import Path
from unittest.mock import Mock
from retrieval.readers import text
plain = text.read_plain
def read_plain(path):
    words = Path(path).read_text()
    if words == "hang":
        time.sleep(600)
    elif words == "spin":
        while True: pass
    elif words == "eat":
        hold = []
        while True: hold.append(bytearray(50_000_000))
    elif words == "crash":
        ctypes.string_at(0)
    elif words == "kill":
        os.kill(os.getpid(), 9)
    elif words == "exit":
        os._exit(7)
    elif words == "raise":
        raise ZeroDivisionError("in the parser")
    elif words == "print":
        os.write(1, b"noise"); os.write(2, b"noise"); print("noise")
    elif words == "torch":
        assert "torch" not in sys.modules and "numpy" not in sys.modules
    return plain(path)
text.read_plain = read_plain
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files named for what their reading does; workers load the sabotage at start."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import sys\nif 'retrieval.readers.child' in ' '.join(sys.orig_argv):\n" + "    " + "import sabotage\n"
    )
    (tmp_path / "site/sabotage.py").write_text(_SABOTAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    for name in ("fine", "hang", "spin", "eat", "crash", "kill", "exit", "raise", "print", "torch"):
        (tmp_path / f"{name}.txt").write_text(name)
    return tmp_path


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not left


def results(pool: ReaderPool, paths: list[Path]) -> dict[str, Extraction | RetrievalError]:
    return {path.stem: result for path, result in pool.run_many(paths)}


def test_each_failure_names_its_file_and_reason_and_the_rest_goes_on(files: Path) -> None:
    order = ["crash", "fine", "kill", "print", "exit", "torch", "raise"]
    with ReaderPool(2) as pool:
        found = results(pool, [files / f"{name}.txt" for name in order])
    assert list(found) == order
    for name in ("fine", "print", "torch"):
        result = found[name]
        assert isinstance(result, Extraction), result
        assert result.text == name
    for name, reason in {
        "crash": "SIGSEGV",
        "kill": "SIGKILL",
        "exit": "exit code 7",
        "raise": "in the parser",
    }.items():
        assert isinstance(found[name], UnreadableDocument)
        assert reason in str(found[name])
        assert str(files / f"{name}.txt") in str(found[name])


def test_a_hanging_and_a_spinning_reader_are_ended_in_time(files: Path) -> None:
    began = time.monotonic()
    with ReaderPool(2, Limits(seconds=0.7)) as pool:
        found = results(pool, [files / "hang.txt", files / "spin.txt", files / "fine.txt"])
    assert time.monotonic() - began < 15
    assert "longer than 0.7 s" in str(found["hang"])
    assert "longer than 0.7 s" in str(found["spin"])
    assert isinstance(found["fine"], Extraction)


def test_a_reader_that_eats_memory_is_ended_at_its_limit(files: Path) -> None:
    with ReaderPool(1, Limits(memory_mib=400)) as pool:
        found = results(pool, [files / "eat.txt", files / "fine.txt"])
    assert "400 MiB of memory" in str(found["eat"])
    assert isinstance(found["fine"], Extraction)


def test_large_missing_irregular_and_unknown_files_are_refused_with_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(2 * 2**20)
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "movie.mp4").write_bytes(b"\0\1")
    (tmp_path / "empty.txt").touch()
    with ReaderPool(1, Limits(file_mib=1)) as pool:
        found = results(
            pool, [tmp_path / name for name in ("large.txt", "pipe.txt", "gone.txt", "movie.mp4", "empty.txt")]
        )
        with pytest.raises(UnreadableDocument, match="not a regular file"):
            pool.read(tmp_path)
        monkeypatch.setattr(os, "scandir", Mock(side_effect=PermissionError(13, "Permission denied")))
        with pytest.raises(UnreadableDocument, match="Permission denied"):
            pool.read(tmp_path)
    assert "2 MiB, more than 1" in str(found["large"])
    assert "not a regular file" in str(found["pipe"])
    assert "No such file" in str(found["gone"])
    assert isinstance(found["movie"], UnsupportedType)
    assert isinstance(found["empty"], EmptyText) and "it is empty" in str(found["empty"])


def test_a_large_text_comes_back_whole(tmp_path: Path) -> None:
    text = "line é\n" * 400_000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with ReaderPool() as pool:
        assert pool.read(tmp_path / "a.txt").text == text


def test_a_module_beside_the_documents_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "email.py").write_text("raise SystemExit('imported')")
    (tmp_path / "a.eml").write_text("From: a@example.org\n\nHello")
    monkeypatch.chdir(tmp_path)
    with ReaderPool() as pool:
        assert "Hello" in pool.read(tmp_path / "a.eml").text


def test_leaving_in_the_middle_ends_busy_workers(files: Path) -> None:
    began = time.monotonic()
    with ReaderPool(2) as pool:
        for path, _ in pool.run_many([files / "fine.txt", files / "hang.txt", files / "hang.txt"]):
            assert path.stem == "fine"
            break
    assert time.monotonic() - began < 10


def test_closing_from_another_thread_stops_a_read(files: Path) -> None:
    pool = ReaderPool(1)
    threading.Timer(1.0, pool.close).start()
    with pytest.raises(UnreadableDocument, match="stopped"):
        pool.read(files / "hang.txt")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(files: Path, blow: signal.Signals) -> None:
    script = (
        "import signal, sys; from pathlib import Path; from retrieval.readers import ReaderPool\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # where the runner ignores it, children would too
        "with ReaderPool(2) as pool:\n"
        "    print('up', flush=True)\n"
        "    list(pool.run_many([Path(sys.argv[1]) / 'spin.txt', Path(sys.argv[1]) / 'hang.txt']))\n"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, os.environ["PYTHONPATH"]))}
    command = [sys.executable, "-c", script, str(files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        workers = wait_for_children(parent.pid, 2)
        parent.send_signal(blow)
        parent.wait(20)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]


def wait_for_children(pid: int, count: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = psutil.Process(pid).children(recursive=True)
        if len(children) >= count and all("child" in " ".join(child.cmdline()) for child in children):
            time.sleep(0.5)
            return children
        time.sleep(0.05)
    raise AssertionError("the workers did not start")
