"""How soon a question is answered by a resident that runs: `python tests/bench/test_resident_speed.py [QUESTIONS]`.

Reading is what comes between the packed prompt and the first token: both models read the passages there. What is left
is the price of the door and of the way to it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from app.answer import Ask, Started, Text
from app.cli import main  # it sets what a command's environment has, or each would replace the other's resident
from app.demo import sample
from app.resident.workspace import ResidentWorkspace

pytestmark = pytest.mark.slow

QUESTION = "When does the lease end?"


def loci(home: Path, *words: str) -> float:
    """Seconds of a command as a process."""
    began = time.perf_counter()
    command = [sys.executable, "-m", main.__name__, *words]
    subprocess.run(
        command, env=os.environ | {"LOCI_HOME": str(home)}, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    return time.perf_counter() - began


def measure(questions: int) -> dict[str, list[float]]:
    """Seconds by part, of each question."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["LOCI_HOME"] = str(home)
        loci(home, "ingest", str(sample()))
        found["first question, as a process"] = [loci(home, "ask", QUESTION)]
        try:
            with ResidentWorkspace.open() as opened:
                for _ in range(questions):
                    began = read_from = time.perf_counter()
                    for event in opened.assistant().turn(Ask(QUESTION)):
                        if isinstance(event, Started) and event.stage == "answer":
                            read_from = time.perf_counter()
                        if isinstance(event, Text):
                            break
                    token = time.perf_counter()
                    found.setdefault("order to first token", []).append(token - began)
                    found.setdefault("reading in it", []).append(token - read_from)
                    found.setdefault("order to first token, without reading", []).append(read_from - began)
                    whole = loci(home, "ask", QUESTION)
                    found.setdefault("process start to its end", []).append(whole)
                    found.setdefault("process start to its end, without reading", []).append(whole - token + read_from)
            found["a question with --no-resident, as a process"] = [loci(home, "--no-resident", "ask", QUESTION)]
        finally:
            loci(home, "resident", "stop")
    return found


def test_an_answer_begins_at_once() -> None:
    assert min(measure(3)["order to first token, without reading"]) < 0.3


if __name__ == "__main__":
    for part, seconds in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5).items():
        print(f"{part:45} median {sorted(seconds)[len(seconds) // 2]:.3f} s, least {min(seconds):.3f} s")
