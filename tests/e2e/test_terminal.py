"""The doors that need a terminal, in a real one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.workspace import Workspace
from tests.terminal import LOCI, Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> "Callable[..., Terminal]":
    return lambda *words: Terminal(tmp_path / "home", LOCI, *words)


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


def test_a_chat_that_was_killed_within_an_answer_is_offered_again_with_what_had_come(
    terminal: "Callable[..., Terminal]", tmp_path: Path
) -> None:
    slow = "from tests.app.resident.talker import talk; talk(); from app.cli.main import main; main()"
    first = Terminal(tmp_path / "home", ("-c", slow), "chat")
    try:
        first.sees("Talker")  # the model is loaded
        first.type("write long 400\r")
        first.sees("word90")
        first.kill()
    finally:
        first.close()
    second = Terminal(tmp_path / "home", ("-c", slow), "chat")
    try:
        second.sees("ended within an answer")
        second.type("/continue\r")
        second.sees("word60")  # the answer is written down twice a second, 25 words
        second.sees("What came before is kept.")
        second.type("\x11")
        assert second.end() == 0
    finally:
        second.close()
