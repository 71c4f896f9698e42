"""The doors that need a terminal, in a real one."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.workspace import Workspace

ROOT = Path(__file__).parents[2]


class Terminal:
    """A command running in a pseudo-terminal of 100 columns and 30 lines."""

    def __init__(self, home: Path, *words: str) -> None:
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCI_")}
            size = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", "LOCI_HOME": str(home)}
            size["LOCI_RESIDENT__ENABLED"] = "false"
            os.chdir(ROOT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a runner in the background ignores it, and that is inherited
            os.execve(sys.executable, [sys.executable, "-m", "app.cli.main", *words], kept | size)

    def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:  # the other side has closed
                    return

    def sees(self, text: str) -> None:
        self.until(lambda: text.encode() in self.seen)

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

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(tmp_path: Path) -> "Callable[..., Terminal]":
    return lambda *words: Terminal(tmp_path / "home", *words)


def test_the_chat_opens_and_closes(terminal: "Callable[..., Terminal]") -> None:
    chat = terminal("chat")
    try:
        chat.sees("\x1b[?1049h")  # the alternate screen
        chat.sees("documents")
        chat.type("\x11")  # Ctrl+Q
        assert chat.end() == 0
        assert b"\x1b[?1049l" in chat.seen and b"Traceback" not in chat.seen
    finally:
        chat.close()


def test_a_destructive_command_asks_on_a_terminal(
    terminal: "Callable[..., Terminal]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCI_HOME", str(tmp_path / "home"))
    with Workspace.open() as opened:
        opened.memory.start_session("main", "Ferries")
    for answer, code, left in (("n\n", 1, 1), ("y\n", 0, 0)):
        command = terminal("sessions", "delete", "1")
        try:
            command.sees("Delete session 1, “Ferries”?")
            command.type(answer)
            assert command.end() == code
        finally:
            command.close()
        with Workspace.open() as opened:
            assert len(opened.memory.sessions()) == left


def test_ctrl_c_ends_with_130(terminal: "Callable[..., Terminal]") -> None:
    chat = terminal("chat", "--plain")
    try:
        chat.until(lambda: b"> " in chat.seen or b"No such model" in chat.seen)
        if b"No such model" in chat.seen:
            pytest.skip("there is no embedded model here")
        assert chat.interrupt() == 130
        assert b"Traceback" not in chat.seen
    finally:
        chat.close()
