"""How long `loci chat` takes until its prompt is usable: `PYTHONPATH=. python tests/bench/chat_start.py [--runs 10]`.

From the start of Python to the sight of a key in the input line, typed as soon as that is drawn; the key is seen only
once the chat reads keys. Python keeps compiled modules, as where Loci is installed; the run that compiles them is not
counted. Prints JSON: seconds until the input line stands and until the key does, the processor time that the process
had used by then, and the machine's load.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.chat_keys import EMPTY, LETTERS
from tests.bench.chat_soak import processor_seconds
from tests.terminal import LOCI, ROOT, Terminal


def start(home: Path) -> tuple[float, float, float]:
    """Seconds until the input line, until the key, and of the processor."""
    begun = time.monotonic()
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(home / "compiled")}
    chat = Terminal(home, LOCI, "chat", environment={"PYTHONPATH": str(ROOT)} | compiled)
    try:
        chat.until(lambda: EMPTY in chat.seen)
        drawn = time.monotonic() - begun
        chat.type(LETTERS[0])
        chat.sees(LETTERS[0])
        return drawn, time.monotonic() - begun, processor_seconds(chat.pid)
    finally:
        chat.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        _, *found = [start(Path(home)) for _ in range(runs + 1)]
    names = ("input_line_s", "key_s", "processor_s")
    columns = dict(zip(names, zip(*found, strict=True), strict=True))
    told = {
        name: {"median": round(statistics.median(row), 2), "max": round(max(row), 2)} for name, row in columns.items()
    }
    print(json.dumps(told | {"runs": runs, "load": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
