"""A command in a pseudo-terminal, typed at and read from: for tests and benches of what needs a terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCI = ("-m", "app.cli.main")
WHAT_ARE_YOU = b"\x1b[c"


class Terminal:
    """Python with `program` and `words`, a profile folder of its own and no resident, on `size` columns and lines."""

    def __init__(
        self,
        home: Path,
        program: tuple[str, ...],
        *words: str,
        size: tuple[int, int] = (100, 30),
        environment: Mapping[str, str] | None = None,
        device: str = "\x1b[?1;2c",
        pixels: tuple[int, int] = (0, 0),
    ) -> None:
        """`device` is what it says it is, where it is asked; `pixels` its size, where it tells."""
        self.seen, self.device = b"", device
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCI_")}
            own = {"TERM": "xterm-256color", "COLUMNS": str(size[0]), "LINES": str(size[1]), "LOCI_HOME": str(home)}
            own |= {"LOCI_RESIDENT__ENABLED": "false"} | dict(environment or {})
            os.chdir(ROOT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a runner in the background ignores it, and that is inherited
            os.execve(sys.executable, [sys.executable, *program, *words], kept | own)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], *pixels))

    def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.seen[-2000:]
            if not self.read(0.1):
                return

    def read(self, seconds: float) -> bool:
        """Take what comes within that time; False once the other side has closed."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                new = os.read(self.fd, 65536)
            except OSError:
                return False
            self.seen += new
            if WHAT_ARE_YOU in new:
                self.type(self.device)
        return True

    def sees(self, text: str, seconds: float = 60) -> None:
        self.until(lambda: text.encode() in self.seen, seconds)
        assert text.encode() in self.seen, self.seen[-2000:]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        self.until(lambda: False, 60)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        return code

    def interrupt(self) -> int:
        """Press Ctrl+C until it ends: one that comes between the prompt and the wait for a key is seen at the next."""
        pressed = 0.0

        def press() -> bool:
            nonlocal pressed
            if time.monotonic() - pressed > 0.5:
                pressed = time.monotonic()
                self.type("\x03")
            return False

        self.until(press)
        return self.end()

    def kill(self) -> None:
        """SIGKILL, as of a machine that runs out of memory."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def close(self) -> None:
        self.kill()
        with suppress(OSError):
            os.close(self.fd)
