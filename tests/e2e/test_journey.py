"""A person's first hour, each command a process of its own, with the embedded model and embedder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo import sample
from model.errors import UnknownModel
from model.open import embedded_folder
from tests.app import schemas

ROOT = Path(__file__).parents[2]

QUESTIONS = [
    "How many anchors are in the shed?",
    "Who is the skipper of the Curlew?",
    "What colour is the door of the chapel?",
    "When was the slipway built?",
]
NOTES = """# The yard

## Stock

There are 43 anchors in the shed. The ropes are in the loft.

## Boats

The skipper of the Curlew is Ana Brandt. The slipway was built in 1911 by two brothers.
"""


@pytest.fixture(autouse=True)
def _embedded() -> None:
    try:
        embedded_folder()
    except UnknownModel as error:
        pytest.skip(str(error))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose resident ends with the test."""
    home = tmp_path / "home"
    yield home
    loci(home, "resident", "stop")


def start(home: Path, *words: object) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCI_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", *map(str, words)],
        env=environment | {"LOCI_HOME": str(home)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def loci(home: Path, *words: object) -> tuple[int, str]:
    process = start(home, *words)
    out, err = process.communicate(timeout=200)
    assert "Traceback" not in err, err
    return process.returncode, out


def test_a_batch_killed_in_the_middle_ends_with_the_same_bytes(home: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "yard.md").write_text(NOTES)
    assert loci(home, "ingest", docs)[0] == 0
    questions, whole, cut = tmp_path / "q.jsonl", tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    rows = [{"id": n, "question": QUESTIONS[n % len(QUESTIONS)], "gold": n} for n in range(10)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert loci(home, "batch", questions, "-o", whole, "--no-timings")[0] == 0
    process = start(home, "batch", questions, "-o", cut, "--no-timings")
    while process.poll() is None and (not cut.exists() or cut.read_bytes().count(b"\n") < 4):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and cut.read_bytes().count(b"\n") < len(rows)
    code, out = loci(home, "batch", questions, "-o", cut, "--no-timings", "--json")
    assert code == 0 and json.loads(out)["resumed"] >= 3  # the fourth row may not be in the journal yet
    assert cut.read_bytes() == whole.read_bytes()
    written = [json.loads(line) for line in whole.read_text("utf-8").splitlines()]
    for row, asked in zip(written, rows, strict=True):
        schemas.check(row, schemas.BATCH)
        assert (row["id"], row["question"], row["gold"]) == (asked["id"], asked["question"], asked["gold"])
    text = NOTES
    first = written[0]
    assert "43" in first["answer"] and first["citations"][0]["status"] == "verified"
    assert text[first["citations"][0]["start"] : first["citations"][0]["end"]] == first["citations"][0]["quote"]


@pytest.mark.slow
def test_the_demonstration_passes(tmp_path: Path) -> None:
    code, out = loci(tmp_path / "home", "demo", "--json")
    report = json.loads(out)
    assert code == 0 and report["passed"], [item for item in report["judged"] if not item["right"]]
    assert report["documents"] == len([path for path in sample().rglob("*/*") if path.is_file()])
    assert report["model"]["active_parameters"] < report["model"]["total_parameters"]
    assert not (tmp_path / "home").exists()
