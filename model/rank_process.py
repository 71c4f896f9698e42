"""One further rank as rank 0 sees it: a process with two sockets, one for calls and one for signs of life."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

_SHOWN = 12
"""Last lines of a lost rank's error output that are shown."""

_REAPED = 10.0
"""Seconds that a killed process may take to give back a GPU's memory before it is left to the system."""


class RankProcess:
    """A started rank."""

    def __init__(self, rank: int, folder: Path, threads: int | None) -> None:
        self.rank = rank
        self.beat = time.monotonic()
        ours, theirs = socket.socketpair()
        self.life, their_life = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        # The new process imports what this one does, and nothing from the working folder (-P).
        own = str(Path(__file__).resolve().parents[1])
        paths = [path for path in sys.path if path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths if own in paths else [own, *paths])}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        with theirs, their_life:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "model.rank", str(theirs.fileno()), str(their_life.fileno()), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(), their_life.fileno()),
                env=environment,
            )
        self.calls = Connection(ours.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, or does within `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ending(self) -> str:
        """How it ended, with the last lines of its error output."""
        status = self._process.returncode
        if status is None:
            how = "closed its connection"
        else:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        size = os.fstat(self._stderr.fileno()).st_size
        tail = os.pread(self._stderr.fileno(), 8192, max(size - 8192, 0)).decode(errors="replace")
        lines = tail.strip().splitlines()[-_SHOWN:]
        return "\n".join([f"{how}.", *lines])

    def close(self) -> None:
        self.kill()
        self.ended(_REAPED)
        self.calls.close()
        self.life.close()
        self._stderr.close()
