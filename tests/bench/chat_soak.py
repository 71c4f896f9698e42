"""A chat of 500 turns that stream at 200 tokens a second: how late a key is on the screen, and what memory grows to.

    PYTHONPATH=. python tests/bench/chat_soak.py [--turns 500] [--tokens 100] [--rate 200]

A real chat in a pseudo-terminal over a scripted backend. While every answer streams, letters are typed at random
moments, about ten a second; a letter's latency runs from the write of the key to the read of the terminal's output
that holds it. Memory is the process's resident set. Prints JSON: quantiles of the latency in milliseconds, in all and
by quarters of the turns, resident MiB by quarters, milliseconds of processor time a turn, and the machine's load.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from tests.bench.chat_keys import ask, quantiles, typed_until
from tests.terminal import ROOT, Terminal


def child(tokens: int, rate: float, told: int) -> None:
    """Be the chat, whose answers take `tokens / rate` seconds; a line on the descriptor `told` says that one ended."""
    sys.path.insert(0, str(ROOT / "tests/tui"))
    from chat_fakes import FakeBackend, answer

    from app.answer import Ask, Completed, Packed, Started, Text, TurnEvent
    from tui.app import LociChat

    text = "The crane is serviced **every six months**, in April and October, as `section 4` has it."
    words = text.split()

    def events(ask: Ask) -> Iterator[TurnEvent]:
        whole = answer(ask)
        yield Started("retrieve")
        yield Packed(whole.context)
        due = time.monotonic()
        for number in range(tokens):
            due += 1 / rate
            time.sleep(max(due - time.monotonic(), 0.0))
            yield Text(words[number % len(words)] + (" " if (number + 1) % 40 else "\n\n"))
        yield Completed(whole)
        os.write(told, b"\n")

    backend = FakeBackend()
    backend.script = events
    LociChat(backend).run()


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def soak(turns: int, tokens: int, rate: float) -> dict[str, object]:
    ended, told = os.pipe()
    os.set_inheritable(told, True)
    os.set_blocking(ended, False)
    program = (str(Path(__file__)), "--tokens", str(tokens), "--rate", str(rate), "--told", str(told))
    draw = random.Random(4)
    late: list[list[float]] = []
    sizes: list[float] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as home:
        chat = Terminal(Path(home), program, size=(120, 40), environment={"PYTHONPATH": str(ROOT)})
        try:
            chat.sees("Loci embedded")
            started, used = time.monotonic(), processor_seconds(chat.pid)
            for turn in range(turns):
                ask(chat, f"Question {turn}?")
                late.append(typed_until(Ended(ended), chat, draw))
                sizes.append(resident(chat.pid))
            seconds, used = time.monotonic() - started, processor_seconds(chat.pid) - used
        finally:
            chat.close()
    quarter = max(turns // 4, 1)
    parts = [slice(at, at + quarter) for at in range(0, quarter * 4, quarter)]
    return {
        "turns": turns,
        "latency_ms": quantiles(chain.from_iterable(late)),
        "latency_ms_by_quarter": [quantiles(chain.from_iterable(late[part])) for part in parts],
        "resident_mib_by_quarter": [round(max(sizes[part], default=0.0), 1) for part in parts],
        "resident_mib_after_20_turns": round(sizes[min(19, len(sizes) - 1)], 1),
        "seconds": round(seconds, 1),
        "processor_ms_a_turn": round(1000 * used / turns, 1),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
    }


class Ended:
    """Whether the answer has, which the child tells once."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._told = pipe, False

    def __call__(self) -> bool:
        if not self._told:
            with suppress(BlockingIOError):
                self._told = bool(os.read(self._pipe, 100))
        return self._told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--told", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.told is not None:
        child(asked.tokens, asked.rate, asked.told)
    else:
        print(json.dumps(soak(asked.turns, asked.tokens, asked.rate)))


if __name__ == "__main__":
    main()
