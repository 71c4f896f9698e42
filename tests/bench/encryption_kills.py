"""`loci encrypt` and `loci decrypt` killed at random moments: the profile stays whole and readable, nothing is left
beside it, and while it is encrypted no file has a word of it. Prints how often each was done or not begun when it was
killed.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/bench/encryption_kills.py --kills 60
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from app.keys import is_encrypted
from app.profile import locate_profile
from app.workspace import Workspace
from tests.app.fakes import FakeEmbedder

WORD = "Whimbrelonde"
MEMORIES = 4000
PASSPHRASE = "seven rocks"
SLOWEST = 60.0


def fill(rng: random.Random) -> int:
    """Memories of the word; returns how many there are."""
    rows = [
        {
            "text": f"I like {WORD} " + " ".join(f"w{rng.randrange(3000)}" for _ in range(12)),
            "kind": "fact",
            "scope": "main",
        }
        for _ in range(MEMORIES)
    ]
    with Workspace.open() as opened:
        opened.memory.import_(rows)
        opened.library.documents()
        return len(opened.memory.list())


def convert(home: Path, seconds: float) -> tuple[int, float]:
    """Turn encryption on or off, killed `seconds` after the second profile is begun; the exit code, and the seconds
    from there to the end."""
    command = "decrypt" if is_encrypted(locate_profile()) else "encrypt"
    words = [sys.executable, "-m", "app.cli.main", command, "--yes"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not any((home / "data").glob(".default-restoring-*")):
            time.sleep(0.002)
        began = time.monotonic()
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            code = running.wait()
        return code, time.monotonic() - began


def check(home: Path, memories: int) -> None:
    with Workspace.open() as opened:
        assert len(opened.memory.list()) == memories
        assert opened.memory.check() == [] and opened.library.check() == []
    assert not [one for one in (home / "data").iterdir() if one.name.startswith(".")]
    if is_encrypted(locate_profile()):
        held = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
        assert WORD.lower().encode() not in held.lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    options = parser.parse_args()
    rng = random.Random(1)
    outcomes: Counter[str] = Counter()
    Workspace.embedder = property(lambda self: FakeEmbedder())  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ |= {"LOCI_HOME": folder, "LOCI_PASSPHRASE": PASSPHRASE, "LOCI_RESIDENT__ENABLED": "false"}
        memories = fill(rng)
        whole = [convert(home, SLOWEST)[1] for _ in range(2)]  # of encrypting, of decrypting
        while outcomes.total() < options.kills:
            before = is_encrypted(locate_profile())
            code, taken = convert(home, rng.uniform(0.0, 1.2) * whole[before])
            done = is_encrypted(locate_profile()) != before
            # The machine's speed changes: kills are to fall on all of a conversion.
            whole[before] = taken if code == 0 else whole[before] * (1.0 if done else 1.1)
            check(home, memories)
            if code == -signal.SIGKILL:
                outcomes[f"{'decrypt' if before else 'encrypt'} {'done' if done else 'not begun'}"] += 1
    print(json.dumps({"kills": options.kills, "seconds of one": [round(one, 2) for one in whole], **outcomes}))


if __name__ == "__main__":
    main()
