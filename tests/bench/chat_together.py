"""Two chats, an ingest and a batch on one profile at once: lock waits, input lag, and whether anything is lost.

    PYTHONPATH=. python tests/bench/chat_together.py [--turns 30] [--files 600] [--rows 400]

Real doors over real stores, each in a process of its own; model and embedder are stand-ins, so that the databases have
the work. A lock wait is the time that BEGIN IMMEDIATE takes, in every write transaction of the four; input lag is as
in chat_soak.py, in both chats. Prints JSON: quantiles in milliseconds, what was asked and what is stored, the checks
of both databases, and the machine's load.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.chat_keys import ask, quantiles, typed_until
from tests.terminal import ROOT, Terminal

WORDS = 60
"""of the first answer in each chat, fifty a second"""
ROLE = (str(Path(__file__)), "--role")


def child(waits: str, words: list[str]) -> None:
    """Be `loci WORDS`, with the stand-ins, and write down how long each BEGIN IMMEDIATE took."""
    from sqlalchemy import Engine, event

    from app.cli.main import main as loci
    from tests.app.resident.talker import talk

    talk()
    out = Path(waits).open("a", buffering=1)  # noqa: SIM115  until the process ends
    begun = threading.local()

    @event.listens_for(Engine, "before_cursor_execute")
    def _(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        begun.at = time.perf_counter()

    @event.listens_for(Engine, "after_cursor_execute")
    def _(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            out.write(f"{1000 * (time.perf_counter() - begun.at):.3f}\n")

    sys.argv = ["loci", *words]
    loci()


def converse(chat: Terminal, turns: int, seed: int, late: list[float]) -> None:
    draw = random.Random(seed)
    for turn in range(turns):  # each is a word longer, so that its last word is its own
        ask(chat, f"write long {WORDS + turn} of {seed}")
        late += typed_until(partial(_said, chat, f"word{WORDS + turn - 1}".encode()), chat, draw)


def _said(chat: Terminal, word: bytes) -> bool:
    return word in chat.seen


def together(turns: int, files: int, rows: int) -> dict[str, object]:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        home, papers, waits = Path(place) / "home", Path(place) / "papers", Path(place) / "waits"
        for folder in (papers, waits):
            folder.mkdir()
        for number in range(files):
            text = "\n\n".join(f"Part {part} of paper {number}: the tide of that day." * 8 for part in range(6))
            (papers / f"{number}.txt").write_text(text)
        batch = Path(place) / "batch.jsonl"
        batch.write_text("".join(json.dumps({"question": f"write row {number}"}) + "\n" for number in range(rows)))
        environment = os.environ | {"LOCI_HOME": str(home), "LOCI_RESIDENT__ENABLED": "false", "PYTHONPATH": str(ROOT)}
        commands = {
            "ingest": ["ingest", str(papers)],
            "batch": ["batch", str(batch), "-o", f"{batch}.out", "--remember"],
        }
        chats = [
            Terminal(
                home, (*ROLE, str(waits / f"chat{n}")), "chat", size=(100, 30), environment={"PYTHONPATH": str(ROOT)}
            )
            for n in range(2)
        ]
        lags: list[list[float]] = [[], []]
        try:
            for chat in chats:
                chat.sees("Talker")
            others = {
                name: subprocess.Popen(
                    [sys.executable, *ROLE, str(waits / name), *words],
                    env=environment,
                    cwd=ROOT,
                    stderr=subprocess.DEVNULL,
                )
                for name, words in commands.items()
            }
            talks = [threading.Thread(target=converse, args=(chats[n], turns, n, lags[n])) for n in range(2)]
            started = time.monotonic()
            for talk in talks:
                talk.start()
            for talk in talks:
                talk.join()
            seconds = {"chats": round(time.monotonic() - started, 1)}
            codes = {}
            for name, process in others.items():
                codes[name] = process.wait(600)
                seconds[name] = round(time.monotonic() - started, 1)
            for chat in chats:
                chat.type("\x11")
                chat.end()
        finally:
            for chat in chats:
                chat.close()
        every = {file.name: [float(line) for line in file.read_text().split()] for file in sorted(waits.iterdir())}
        return {
            "lock_wait_ms": quantiles(wait for waited in every.values() for wait in waited),
            "lock_wait_ms_by_process": {name: quantiles(waited) for name, waited in every.items()},
            "input_lag_ms": quantiles(lags[0] + lags[1]),
            "seconds": seconds,
            "exit_codes": codes,
            **kept(home, batch, turns, files, rows),
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        }


def kept(home: Path, batch: Path, turns: int, files: int, rows: int) -> dict[str, object]:
    """What was asked for, what is stored of it, and problems found in the databases."""
    os.environ["LOCI_HOME"] = str(home)
    from app.workspace import Workspace
    from tests.app.resident.talker import talk

    talk()
    with Workspace.open() as opened:
        whole = [turn for one in opened.memory.sessions() for turn in opened.memory.turns(one.id) if turn.complete]
        asked = [turn for turn in whole if turn.question.startswith("write long")]
        said = sum(f"word{int(turn.question.split()[2]) - 1}" in turn.answer for turn in asked)
        return {
            "chat_turns": [2 * turns, said],
            "batch_rows": [rows, len(Path(f"{batch}.out").read_text().splitlines())],
            "batch_turns": [rows, sum(turn.question.startswith("write row") for turn in whole)],
            "documents": [files, len(opened.library.documents())],
            "problems": [*opened.library.check(), *opened.memory.check()],
        }


def main() -> None:
    if sys.argv[1:2] == ["--role"]:
        child(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rows", type=int, default=400)
    asked = parser.parse_args()
    print(json.dumps(together(asked.turns, asked.files, asked.rows)))


if __name__ == "__main__":
    main()
