"""What comes from and goes to other programs: pasted texts, dragged files, the editor, the pager, the viewer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chat_drive import SMALL, ask, notices, send, until
from chat_fakes import QUOTE, FakeBackend
from textual import events

from app.errors import BadInput
from tui import outside
from tui.app import LociChat
from tui.widgets.composer import LONG_PASTE, Composer, dragged


def program(folder: Path, name: str, script: str) -> str:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return str(file)


async def test_a_long_paste_is_attached_until_it_is_detached_and_a_dragged_file_is_offered(
    backend: FakeBackend, tmp_path: Path
) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        app.post_message(events.Paste("short"))
        await until(pilot, lambda: composer.text == "short")
        long = "The tide is high.\r\n" * LONG_PASTE
        app.post_message(events.Paste(long))
        await until(pilot, lambda: "Attached: pasted-1.txt (36,000 characters)" in str(composer.border_title))
        assert composer.text == "short", "it does not flood the input line"
        for _ in range(2):
            await ask(pilot, "How is the tide?")
        assert [one.attachments for one in backend.asked] == [(("pasted-1.txt", long.replace("\r", "")),)] * 2
        await send(pilot, "/detach")
        await ask(pilot, "And now?")
        assert backend.asked[-1].attachments == () and "Attached" not in str(composer.border_title)
        app.post_message(events.Paste(f"'{tmp_path}' "))
        await until(pilot, lambda: composer.text == f"/add {tmp_path}")


def test_a_dragged_file_is_told_from_words(tmp_path: Path) -> None:
    file = tmp_path / "tide table.txt"
    file.touch()
    for pasted in (str(file), f"'{file}'", str(file).replace(" ", "\\ "), f"file://{str(file).replace(' ', '%20')}\n"):
        assert dragged(pasted) == file
    for pasted in ("/nowhere/at/all", "it's", "tide table.txt", f"{file}\n{file}", "/" + "a" * 5000, "/a\0b"):
        assert dragged(pasted) is None


async def test_the_question_goes_through_the_editor_and_the_source_into_the_pager(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("VISUAL", program(tmp_path, "ed", 'printf "and high\\n" >> "$1"'))
    monkeypatch.setenv("PAGER", program(tmp_path, "less", f'printf %s "$1" > {tmp_path}/at; cat > {tmp_path}/shown'))
    left: list[bool] = []

    @contextmanager
    def suspended() -> Iterator[None]:
        """As Textual's: an error inside keeps the terminal from coming back."""
        left.append(True)
        yield
        left.pop()

    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        composer.put("low ")
        await pilot.press("ctrl+g")
        assert "cannot be left" in notices(app) and composer.text == "low "
        monkeypatch.setattr(app, "suspend", suspended)
        await pilot.press("ctrl+g")
        assert composer.text == "low and high" and not list(tmp_path.glob("loci-*"))
        monkeypatch.setenv("VISUAL", program(tmp_path, "ed", "exit 3"))
        await pilot.press("ctrl+g")
        assert "ended with 3" in notices(app) and composer.text == "low and high"
        monkeypatch.setenv("VISUAL", "no-such-editor")
        await pilot.press("ctrl+g")
        assert "no-such-editor" in notices(app)
        monkeypatch.setenv("VISUAL", program(tmp_path, "ed", 'rm "$1"'))
        await pilot.press("ctrl+g")
        assert "question.md: No such file" in notices(app) and composer.text == "low and high"
        await ask(pilot)
        await pilot.press("f2", "v")
        await until(pilot, lambda: (tmp_path / "shown").exists() and QUOTE in (tmp_path / "shown").read_text())
        assert not left, "the screen comes back whatever happened"
        assert (tmp_path / "at").read_text() == "+10" and "\x1b" not in (tmp_path / "shown").read_text()
        await pilot.press("o")
        await until(pilot, lambda: "Yard handbook.pdf is not there" in notices(app))


def test_a_file_opens_on_the_desktop_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.pdf"
    file.touch()
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(outside.sys, "platform", "linux")
    with pytest.raises(BadInput, match="no desktop"):
        outside.viewed(str(file))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program(tmp_path, "xdg-open", "exit 0")
    started: list[list[str]] = []
    monkeypatch.setattr(outside.subprocess, "Popen", lambda command, **_: started.append(command))
    outside.viewed(str(file))
    assert started == [["xdg-open", str(file)]]
    monkeypatch.setenv("PAGER", "no-such-pager -R")
    with pytest.raises(BadInput, match="no-such-pager"):
        outside.paged("text", 1)
