"""Processes that work on one profile are killed (SIGKILL) at random moments, again and again; what must hold then.

`python tests/bench/kill_bench.py [--kills 100] [--full-disk FOLDER]` prints counts by what was under way. After each
kill the profile is opened and: the databases are sound, what was acknowledged is there, an import is whole or absent,
and a deletion for good is not begun, done, or ended by repeating it, after which no byte of its text is left.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import LociError
from app.profile import open_profile
from app.purge import purge_memories, resume
from app.workspace import Workspace
from memory.types import Source
from retrieval.errors import DatabaseProblem

TOLD = Source("command")
SPAWN = multiprocessing.get_context("spawn")


class Unit:
    """One fixed unit vector per text: nothing is loaded."""

    id = sha256 = "unit"
    dimension = 16
    max_tokens = 64

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        rows = [np.random.default_rng(sum(text.encode())).standard_normal(16) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32).reshape(len(rows), 16)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def opened(home: Path) -> Workspace:
    workspace = Workspace(open_profile("bench", home))
    workspace.__dict__["embedder"] = Unit()
    return workspace


def secret(number: int) -> str:
    return f"My boat number {number} is called Whimbrelonde{number}x"


def work(home: Path, log: Path, kind: str, start: int) -> None:
    """Do one kind of thing for ever; each step that returned is a line of the log."""
    with opened(home) as workspace, log.open("a") as acknowledged:
        memory, number = workspace.memory, start
        while True:
            number += 1
            acknowledged.write(f"begin {number}\n")
            acknowledged.flush()
            if kind == "write":
                turn = memory.begin_turn(memory.start_session(), f"Remember that crate {number} is full.")
                memory.update_turn(turn, "I wi")
                memory.add(f"crate {number} is full", source=TOLD)
                memory.finish_turn(turn, "Noted.", "{}", True)
            elif kind == "forget":
                memory.forget(memory.add(f"lamp {number} is red", source=TOLD).id)
            elif kind == "import":
                memory.import_([{"text": f"import {number} row {row}"} for row in range(40)])
            else:
                turn = memory.begin_turn(memory.start_session(), f"Remember that {secret(number)}.")
                told = memory.add(secret(number), source=Source("told", None, turn))
                memory.finish_turn(turn, f"Your{secret(number)[2:]}, I will remember.", "{}", True)
                purge_memories(workspace, [told.id])
            acknowledged.write(f"done {number}\n")
            acknowledged.flush()


def judge(home: Path, log: Path, kind: str) -> str:
    """What the kill hit, once all that must hold was found to hold."""
    lines = [line.split() for line in log.read_text().splitlines()]
    done = {int(number) for word, number in lines if word == "done"}
    begun = {int(number) for word, number in lines if word == "begin"} - done
    with opened(home) as workspace:
        again = resume(workspace)
        memory, library = workspace.memory, workspace.library
        assert memory.check() == [] and library.check() == []
        texts = {one.text: one for one in memory.list(states=("active", "archived", "tombstone"))}
        if kind == "write":
            assert all(f"crate {number} is full" in texts for number in done)
            held = [turn for one in memory.sessions() for turn in memory.turns(one.id)]
            complete = {turn.question for turn in held if turn.complete}
            assert all(f"Remember that crate {number} is full." in complete for number in done)
        elif kind == "forget":
            assert all(texts[f"lamp {number} is red"].state == "tombstone" for number in done)
        elif kind == "import":
            for number in done | begun:
                rows = sum(f"import {number} row {row}" in texts for row in range(40))
                assert rows == 40 or (rows == 0 and number in begun), rows
        else:
            left = {number: secret(number) for number in begun if secret(number) in texts}
            for text in left.values():
                assert purge_memories(workspace, [texts[text].id]).clean
            assert again is None or again.clean
            name = "ended on repeating" if again else "not begun" if left else "done, or nothing to delete yet"
            gone = done | set(left) | (begun if again else set())
    if kind == "purge":
        data = b"".join(file.read_bytes() for file in sorted(home.rglob("*")) if file.is_file()).lower()
        left_over = [number for number in gone if f"whimbrelonde{number}x".encode() in data]
        assert not left_over, left_over
        return name
    return "sound"


def kills(count: int, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="loci-kill-") as folder:
        home, log = Path(folder) / "home", Path(folder) / "log"
        for n in range(count):
            kind = ("write", "forget", "import", "purge", "purge")[n % 5]
            log.write_text("")
            worker = SPAWN.Process(target=work, args=(home, log, kind, n * 10_000))
            worker.start()
            while not log.stat().st_size:
                assert worker.is_alive(), "the worker ended by itself"
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.5))
            assert worker.pid is not None and worker.is_alive(), "the worker ended by itself"
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
            found[f"{kind}: {judge(home, log, kind)}"] += 1
            print(n + 1, dict(found), file=sys.stderr, flush=True)
            if n % 20 == 19:
                shutil.rmtree(home)  # a store of its own for each round: judging reads all of it
    return found


def full_disk(folder: Path) -> Counter[str]:
    """On a file system that fills up: every write says so in words, and what was acknowledged stays."""
    found: Counter[str] = Counter()
    home = folder / "home"
    with opened(home) as workspace:
        memory, kept = workspace.memory, []
        ballast = folder / "ballast"
        with ballast.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, shutil.disk_usage(folder).free - (1 << 20))
        for number in range(2000):
            try:
                kept.append(memory.add(f"crate {number} is full " + "x" * 2000, source=TOLD).id)
            except DatabaseProblem as problem:
                assert "disk is full" in str(problem).lower(), problem
                found["add refused in words"] += 1
                break
        for name, step in (
            ("import", lambda: memory.import_([{"text": "y" * 5000 + str(n)} for n in range(500)])),
            ("purge", lambda: purge_memories(workspace, [kept[0]])),
        ):
            try:
                step()
                found[f"{name} had room"] += 1
            except (*LociError, OSError) as problem:
                found[f"{name} refused: {str(problem)[:40]}"] += 1
        ballast.unlink()
        done = resume(workspace)
        found[f"purge ended when there was room: {'yes' if done and done.clean else 'was not begun'}"] += 1
        assert memory.check() == []
        assert {one.id for one in memory.list()} >= set(kept[1:])
    with closing(sqlite3.connect(home / "data" / "bench" / "memory.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-disk", type=Path, metavar="FOLDER", help="an empty one on a small file system")
    arguments = parser.parse_args()
    began = time.monotonic()
    found = full_disk(arguments.full_disk) if arguments.full_disk else kills(arguments.kills, arguments.seed)
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **dict(sorted(found.items()))}, indent=1))


if __name__ == "__main__":
    main()
