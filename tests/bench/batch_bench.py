"""A thousand batch rows against a local server: order, kills, throughput, and a server that fails in every way.

`python tests/bench/batch_bench.py [--rows 1000] [--in-flight 64] [--seconds 1] [--failing 0.2]`
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ALONE = 40
"""Rows of the run with one in flight."""


class Bench:
    def __init__(self, folder: Path, rows: int, in_flight: int) -> None:
        self.folder, self.rows, self.in_flight = folder, rows, in_flight
        self.environment = os.environ | {
            "LOCI_HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),
            "LOCI_RESIDENT__ENABLED": "false",
            "LOCI_MODEL__TIMEOUT": "3",  # the hostile server's stalls are shorter than a real one's
            "LOCI_MODEL__RETRIES": "5",
        }
        docs = folder / "docs"
        docs.mkdir()
        for ship in range(50):
            (docs / f"{ship}.md").write_text(f"# Ship {ship}\n\nThe anchors of ship {ship} are in shed {ship * 7}.\n")
        self.loci("ingest", str(docs))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "app.cli.main", *words]

    def loci(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), env=self.environment, capture_output=True, text=True)

    def source(self, rows: int) -> Path:
        file = self.folder / f"{rows}.jsonl"
        lines = (json.dumps({"question": f"Where are the anchors of ship {n}?"}) for n in range(rows))
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    def words(self, rows: int, out: str, url: str, in_flight: int) -> list[str]:
        given = ["batch", str(self.source(rows)), "-o", str(self.folder / out), "--model", url]
        return [*given, "--no-timings", "--json", "--in-flight", str(in_flight)]

    def timed(self, rows: int, out: str, url: str, in_flight: int) -> tuple[float, dict[str, Any]]:
        began = time.monotonic()
        ran = self.loci(*self.words(rows, out, url, in_flight))
        assert ran.returncode in (0, 4), ran.stderr
        return time.monotonic() - began, json.loads(ran.stdout)

    def killed(self, out: str, url: str, at: list[int]) -> int:
        """Kill the run whenever so many rows are written, start it again, and let it end; rows that were resumed."""
        file = self.folder / out
        for rows in at:
            command = self.command(*self.words(self.rows, out, url, self.in_flight))
            process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < rows):
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        return int(self.timed(self.rows, out, url, self.in_flight)[1]["resumed"])


def serve(*words: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "tests.app.batch_server", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--failing", type=float, default=0.2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.rows, given.in_flight)
        process, url = serve("--seconds", str(given.seconds))
        try:
            alone, _ = bench.timed(ALONE, "alone.jsonl", url, 1)
            print(f"one in flight: {ALONE} rows, {alone:.1f} s, {ALONE / alone:.2f} rows/s", flush=True)
            many, counts = bench.timed(given.rows, "many.jsonl", url, given.in_flight)
            print(f"{given.in_flight} in flight: {counts}, {many:.1f} s, {given.rows / many:.2f} rows/s", flush=True)
            resumed = bench.killed("killed.jsonl", url, [given.rows // 5, given.rows // 2])
            whole, cut = ((bench.folder / name).read_bytes() for name in ("many.jsonl", "killed.jsonl"))
            print(f"killed twice, {resumed} rows resumed; the same bytes: {whole == cut}", flush=True)
        finally:
            process.kill()
            process.wait()
        process, url = serve("--seconds", "0.05", "--failing", str(given.failing))
        try:
            took, counts = bench.timed(given.rows, "hostile.jsonl", url, given.in_flight)
            rows = [json.loads(line) for line in (bench.folder / "hostile.jsonl").read_text().splitlines()]
            ordered = [row["id"] for row in rows] == list(range(1, given.rows + 1))
            print(f"a share of {given.failing} failing: {counts}, {took:.1f} s, in order: {ordered}")
            print(Counter(row["error"] for row in rows if row["error"]))
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
