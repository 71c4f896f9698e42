"""The input line: several lines, earlier questions, and completion of slash commands."""

import shlex
from contextlib import suppress
from pathlib import Path, PurePath
from typing import ClassVar
from urllib.parse import unquote

from textual import events
from textual.binding import Binding, BindingsMap, BindingType
from textual.widgets import TextArea

from tui.keymap import commands_like
from tui.messages import Composed, Pasted
from tui.words import clipped

HINT = "Enter sends · Ctrl+J new line · / commands"
LONG_PASTE = 2000
"""Characters from which a pasted text becomes an attachment."""
NEWLINE_KEYS = frozenset({"ctrl+j", "shift+enter", "alt+enter"})
PAGES = frozenset({"pageup", "pagedown"})
EDITS = {
    key: bound[0].action for key, bound in BindingsMap(TextArea.BINDINGS).key_to_bindings.items() if key not in PAGES
}
"""What the editor's own keys do; those of `PAGES` move the conversation."""


class Composer(TextArea):
    """Posts `Composed` on Enter. What it says about commands stands in its border."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "app.scroll_chat(-1)", show=False),
        Binding("pagedown", "app.scroll_chat(1)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(id="composer", placeholder="Ask your documents", highlight_cursor_line=False, soft_wrap=True)
        self.past: list[str] = []
        """Questions sent before, oldest first."""
        self._at: int | None = None
        self._draft = ""

    def on_mount(self) -> None:
        self.border_subtitle = HINT

    def put(self, text: str) -> None:
        """Replace the text, with the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    def on_text_area_changed(self) -> None:
        typed = self.text
        if not typed.startswith("/") or "\n" in typed:
            self.border_subtitle = HINT
            return
        found = commands_like(typed)
        if len(found) == 1:
            hint = f"{found[0].usage} — {found[0].tooltip}"
        else:
            hint = " ".join(f"/{action.slash}" for action in found) or "No such command; /help lists them"
        self._hint(hint)

    async def on_key(self, event: events.Key) -> None:
        """Keys that mean something else here than in an editor; characters go to the text area.

        The editor's own keys are done here as well: left to Textual they go around by the application, so that in
        quick typing Backspace was done after the Enter behind it.
        """
        if event.key == "enter":
            self._send()
        elif event.key in NEWLINE_KEYS:
            self.insert("\n")
        elif event.key == "up" and self.cursor_at_first_line:
            self._recall(-1)
        elif event.key == "down" and self.cursor_at_last_line and self._at is not None:
            self._recall(1)
        elif event.key == "tab" and self.text.startswith("/"):
            self._complete()
        elif event.key in EDITS:
            await self.run_action(EDITS[event.key])
        else:
            return
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        """A long text becomes an attachment; a file that was dragged here, of which a terminal pastes the path, is
        offered to the library. All else goes to the text area."""
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        file = dragged(text) if not self.text else None
        if file is not None:
            self.put(f"/add {file}")
        elif len(text) >= LONG_PASTE:
            self.post_message(Pasted(text))
        else:
            return
        event.stop()
        event.prevent_default()

    def _send(self) -> None:
        text = self.text.strip()
        if not text:
            return
        self.post_message(Composed(text))

    def accept(self, text: str) -> None:
        """The chat took what was sent: keep it for Up, and leave in the line what was typed behind it since."""
        if not self.past or self.past[-1] != text:
            self.past.append(text)
        self._at = None
        self.put(self.text.lstrip().removeprefix(text).lstrip("\n ") if self.text.strip() != text else "")

    def _recall(self, step: int) -> None:
        if not self.past:
            return
        if self._at is None:
            self._draft, self._at = self.text, len(self.past)
        self._at = max(0, self._at + step)
        if self._at >= len(self.past):
            self._at = None
            self.put(self._draft)
        else:
            self.put(self.past[self._at])

    def _complete(self) -> None:
        """The longest beginning that all have that fit; pressed again where it leaves a choice, the choices."""
        found = commands_like(self.text)
        command, space, typed = self.text.partition(" ")
        if not found:
            return
        if not space:
            fitting = [f"/{action.slash}" for action in found]
            self.put(_shared(fitting) + " " * (len(fitting) == 1))
            return
        if found[0].slash == "theme":
            fitting = sorted(name for name in self.app.available_themes if name.startswith(typed))
        else:
            fitting = paths(typed) if found[0].argument.strip("[]") in ("PATH", "FILE") else []
        shared = f"{command} {_shared(fitting or [typed])}"
        if shared != self.text:
            self.put(shared)
        elif len(fitting) > 1:
            self._hint(" ".join(PurePath(one).name + "/" * one.endswith("/") for one in fitting))

    def _hint(self, text: str) -> None:
        self.border_subtitle = clipped(text, max(self.size.width - 4, 20)).replace("[", r"\[")


def _shared(names: list[str]) -> str:
    """The longest beginning that all have."""
    shared = names[0]
    while not all(name.startswith(shared) for name in names):
        shared = shared[:-1]
    return shared


def paths(typed: str) -> list[str]:
    """What a path can go on to; hidden files count once a dot is typed."""
    folder, _, name = typed.rpartition("/")
    try:
        here = Path(f"{folder}/" if "/" in typed else ".").expanduser()
        names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in here.iterdir())
    except (OSError, RuntimeError):  # no such folder, or no such user's home
        return []
    before = typed[: len(typed) - len(name)]
    return [before + one for one in names if one.startswith(name) and (name or not one.startswith("."))]


def dragged(text: str) -> Path | None:
    """The file or folder that a pasted text is the absolute path of, as terminals quote it."""
    line = text.strip()
    if "\n" in line or len(line) > 4096:
        return None
    if line.startswith("file://"):
        line = unquote(line.removeprefix("file://"))
    else:
        with suppress(ValueError):  # a quote that does not end
            words = shlex.split(line)
            line = words[0] if len(words) == 1 else line
    try:
        return Path(line) if line.startswith("/") and Path(line).exists() else None
    except (OSError, ValueError):
        return None
