"""Ingest, reindex and removal are killed (SIGKILL) at random moments; what must hold of the library then.

`python tests/bench/library_kills.py [--kills 50]` prints counts by what was under way. After each kill: the library
opens, its check is clean, documents whose ingest returned are there and found, removed ones are gone, and a
re-embedding is whole or not there. Every library is large enough for an epoch of vectors.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from retrieval.documents import get_meta
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import reading
from tests.fakes import FakeEmbedder

SPAWN = multiprocessing.get_context("spawn")
KINDS = ("ingest", "reindex", "remove")


def opened(home: Path, embedder: str | None = None) -> Library:
    """The library with that embedder, or with the one that it names."""
    library = Library(home / "data", home / "cache", RetrievalSettings(rebuild_after=50), lambda: made)
    with reading(library.engine) as db:
        made = FakeEmbedder(embedder or get_meta(db, "embedder_id") or "first")
    return library


def written(home: Path, number: int) -> Path:
    file = home / "files" / f"{number:06}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"Crate word{number} stands on the quay. " + f"It holds number {number} of the nets. " * 40)
    return file


def work(home: Path, log: Path, kind: str, start: int) -> None:
    """Do one kind of thing for ever; each step that returned is a line of the log."""
    library = opened(home)
    number = start
    with log.open("a") as acknowledged:
        while True:
            number += 1
            file = written(home, number)
            if kind == "remove":
                ingest(library, [file])
            acknowledged.write(f"begin {number}\n")
            acknowledged.flush()
            if kind == "ingest":
                ingest(library, [file])
                library.search(f"word{number}", collections=["main"])
            elif kind == "remove":
                library.remove(str(file))
            else:
                library.close()
                library = opened(home, f"embedder-{number}")
                library.reindex()
                library.search(f"word{number}", collections=["main"])
            acknowledged.write(f"done {number}\n")
            acknowledged.flush()


def judge(home: Path, log: Path, kind: str, before: set[str]) -> set[str]:
    """Assert what must hold; return the names of the documents that are there."""
    lines = [line.split() for line in log.read_text().splitlines()]
    done = {int(number) for word, number in lines if word == "done"}
    begun = {int(number) for word, number in lines if word == "begin"} - done
    library = opened(home)
    problems = library.check()
    assert problems == [], problems
    there = {Path(info.path).stem for info in library.documents()}
    names = {f"{number:06}" for number in done}
    if kind == "ingest":
        assert before | names <= there
        for number in done:
            found = library.search(f"word{number}", collections=["main"])
            assert f"{number:06}" in {Path(one.path).stem for one in found}, found
    elif kind == "remove":
        assert not names & there and before <= there
    else:
        assert there == before
        with reading(library.engine) as db:
            name = get_meta(db, "embedder_id") or ""
        allowed = {f"embedder-{number}" for number in begun | ({max(done)} if done else set())}
        assert not done or name in allowed, (name, allowed)
        assert library.search("quay nets", collections=["main"])
    library.close()
    return there


def kills(count: int, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="loci-kill-") as folder:
        home, log = Path(folder) / "home", Path(folder) / "log"
        there: set[str] = set()
        for n in range(count):
            if n % 15 == 0:  # a library of its own for each round: judging reads all of it
                shutil.rmtree(home, ignore_errors=True)
                library = opened(home)
                ingest(library, [written(home, number) for number in range(20)])
                there = {Path(info.path).stem for info in library.documents()}
                library.close()
            kind = KINDS[n % 3]
            log.write_text("")
            worker = SPAWN.Process(target=work, args=(home, log, kind, (n + 1) * 10_000))
            worker.start()
            while not log.stat().st_size:
                assert worker.is_alive(), "the worker ended by itself"
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 4 if kind == "reindex" else 1.5))
            assert worker.pid is not None and worker.is_alive(), "the worker ended by itself"
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
            there = judge(home, log, kind, there)
            ended = "nothing acknowledged yet" if "done" not in log.read_text() else "sound"
            found[f"{kind}: {ended}"] += 1
            print(n + 1, dict(found), file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    found = kills(arguments.kills, arguments.seed)
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **dict(sorted(found.items()))}, indent=1))


if __name__ == "__main__":
    main()
