"""What holds when processes die or share the file."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memory.store import MemoryStore
from memory.types import Source
from retrieval.errors import DatabaseProblem

TOLD = Source("command")
SPAWN = multiprocessing.get_context("spawn")


def unit(texts: object) -> np.ndarray:
    """One fixed unit vector per text."""
    rows = [np.random.default_rng(sum(text.encode())).standard_normal(16) for text in texts]  # type: ignore[attr-defined]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def a_store(folder: Path) -> MemoryStore:
    from memory.settings import MemorySettings

    return MemoryStore(folder, MemorySettings(), unit, "unit")


def write(folder: Path, name: str, count: int) -> None:
    store = a_store(folder)
    for number in range(count):
        store.add(f"{name} crate {number}", source=TOLD)
    store.close()


def write_for_ever(folder: Path, acknowledged: Path) -> None:
    store = a_store(folder)
    session = store.start_session()
    with acknowledged.open("a") as log:
        for number in range(100_000):
            turn = store.begin_turn(session, f"What is in crate {number}?")
            store.update_turn(turn, "It hol")
            store.add(f"crate {number} is full", source=TOLD)
            log.write(f"{number}\n")
            log.flush()
            store.finish_turn(turn, "It holds rope.", "{}", True)


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    mine = a_store(tmp_path)
    workers = [SPAWN.Process(target=write, args=(tmp_path, name, 25)) for name in ("left", "right")]
    for worker in workers:
        worker.start()
    for number in range(25):
        mine.add(f"own crate {number}", source=TOLD)
        if number % 10 == 9:  # the file is rewritten while the others write
            mine.purge(mine.add(f"Zwirbelfink {number}", source=TOLD).id)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(mine.list()) == 75
    assert not any(b"zwirbelfink" in file.read_bytes().lower() for file in tmp_path.iterdir())
    assert mine.check() == []
    # The cache of this process has caught up with what the others wrote.
    assert mine.recall("left crate 7", scopes=["main"])[0].memory.text == "left crate 7"
    mine.close()


def test_kill_9_keeps_all_that_was_acknowledged_and_marks_the_open_turn(tmp_path: Path) -> None:
    log = tmp_path / "acknowledged"
    log.touch()
    worker = SPAWN.Process(target=write_for_ever, args=(tmp_path, log))
    worker.start()
    deadline = time.monotonic() + 60
    while log.read_text().count("\n") < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(30)
    store = a_store(tmp_path)
    kept = {memory.text for memory in store.list()}
    assert {f"crate {number} is full" for number in log.read_text().split()} <= kept
    assert store.check() == []
    *finished, last = store.turns(1)
    assert all(turn.complete for turn in finished)
    assert last.complete or last.answer in ("", "It hol")
    store.close()


def test_another_process_sees_a_forgetting_and_a_purge_at_once(opener: Callable[..., MemoryStore]) -> None:
    one, two = opener(), opener()
    kept, gone = one.add("My office is in B12", source=TOLD), one.add("My boat lies at quay 7", source=TOLD)
    assert len(two.recall("my office boat quay", scopes=["main"])) == 2
    one.purge(gone.id)
    assert [r.memory.id for r in two.recall("my office boat quay", scopes=["main"])] == [kept.id]
    one.forget(kept.id)
    assert two.recall("my office boat quay", scopes=["main"]) == []
    fresh = one.add("My boat lies at quay 9", source=TOLD)
    assert fresh.id > gone.id  # ids are never used again
    assert [r.memory.id for r in two.recall("boat quay", scopes=["main"])] == [fresh.id]


def test_a_purge_beside_a_reader_says_that_bytes_are_left(opener: Callable[..., MemoryStore]) -> None:
    one, two = opener(), opener()
    gone = one.add("My boat lies at quay 7", source=TOLD)
    one.engine.dispose()
    import retrieval.scrub as scrub

    with two.engine.connect() as reader, pytest.MonkeyPatch.context() as patch:
        patch.setattr(scrub, "BUSY_MILLISECONDS", 50)
        reader.exec_driver_sql("SELECT count(*) FROM memories").scalar()
        with pytest.raises(DatabaseProblem, match="another process"):
            one.purge(gone.id)
    assert one.list() == []
    one.check(fix=True)
