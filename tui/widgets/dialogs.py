"""The screens that open over the chat: the list of sessions, a question before something is deleted, and help."""

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.keymap import ACTIONS, EDITING
from tui.rows import SessionRow
from tui.words import clipped, count

SEARCH_DELAY = 0.15
"""Seconds without a key before a search starts."""


class Confirm(ModalScreen[bool]):
    """Asks before something that cannot be undone, or takes long; anything but `y` is no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,enter", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str, text: str = "", answers: str = "y deletes · n or Esc keeps it") -> None:
        super().__init__()
        self.question, self.text, self.answers = question, text, answers

    def compose(self) -> ComposeResult:
        more = f"{self.text}\n\n" if self.text else ""
        yield Static(Content.assemble((f"{self.question}\n\n", "bold"), more, self.answers), id="confirm")


class SessionsScreen(ModalScreen[SessionRow | None]):
    """Older sessions: type to search all that was said, Enter opens, Delete removes after a question.

    `load(words, then)` and `delete(id, then)` work elsewhere and call `then` with the sessions in the screen's thread.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("delete,ctrl+d", "remove", "Delete", id="session.delete", priority=True),
    ]

    def __init__(
        self,
        load: Callable[[str, Callable[[list[SessionRow]], None]], None],
        delete: Callable[[int, Callable[[list[SessionRow]], None]], None],
    ) -> None:
        super().__init__()
        self._load, self._delete = load, delete
        self._rows: list[SessionRow] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="sessions", classes="dialog") as dialog:
            dialog.border_title = "Sessions"
            dialog.border_subtitle = "Enter opens · Delete or Ctrl+D deletes · Esc closes"
            yield Input(placeholder="Search everything that was said; #tag for a tag", id="session-words")
            yield OptionList(id="session-list")

    def on_mount(self) -> None:
        self._search = self.set_timer(SEARCH_DELAY, self._load_typed, pause=True)
        self._load("", self.show)

    @on(Input.Changed)
    def _wait(self) -> None:
        self._search.stop()
        self._search = self.set_timer(SEARCH_DELAY, self._load_typed)

    def _load_typed(self) -> None:
        self._load(self.query_one(Input).value.strip(), self.show)

    def show(self, rows: list[SessionRow]) -> None:
        self._rows = rows
        sessions = self.query_one(OptionList)
        sessions.clear_options()
        if rows:
            sessions.add_options([Option(_session(row)) for row in rows])
            sessions.highlighted = 0
        else:
            nothing = "No session has these words." if self.query_one(Input).value else "There are no sessions yet."
            sessions.add_option(Option(nothing, disabled=True))

    def _chosen(self) -> SessionRow | None:
        at = self.query_one(OptionList).highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _open(self) -> None:
        if (row := self._chosen()) is not None:
            self.dismiss(row)

    def action_move(self, step: int) -> None:
        sessions = self.query_one(OptionList)
        sessions.action_cursor_down() if step > 0 else sessions.action_cursor_up()

    def action_remove(self) -> None:
        if (row := self._chosen()) is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._delete(row.id, self.show)

        asked = f"Delete “{clipped(row.title, 40)}” with its {count(row.turns, 'turn')}?"
        self.app.push_screen(Confirm(asked), answered)


def _session(row: SessionRow) -> Content:
    found = (f"\n  … {clipped(row.found, 160)}", "italic") if row.found else ("", "")
    return Content.assemble(
        (clipped(row.title, 60), "bold"),
        "".join(f"  #{tag}" for tag in row.tags),
        f"\n  {row.when} · {count(row.turns, 'turn')} · in {row.scope}",
        found,
    )


class HelpScreen(ModalScreen[None]):
    """All keys and commands; what belongs to the part of the screen in use stands first."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "dismiss(None)", "Close")]

    def __init__(self, here: str, keys: tuple[tuple[str, str], ...]) -> None:
        """`here` names the part of the screen in use, `keys` are its own (key, what) pairs."""
        super().__init__()
        self._here, self._keys = here, keys

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help", classes="dialog") as dialog:
            dialog.border_title = "Help"
            dialog.border_subtitle = "Up and Down scroll · Esc closes"
            yield Static(self._text())

    def on_mount(self) -> None:
        self.query_one("#help").focus()

    def _text(self) -> Content:
        sections: list[tuple[str, list[tuple[str, str]]]] = []
        if self._keys:
            sections.append((f"Here: {self._here}", list(self._keys)))
        keyed = [action for action in ACTIONS if action.keys]
        sections += [
            ("Writing", list(EDITING)),
            ("Anywhere", [(_key(action.keys), action.tooltip) for action in keyed]),
            ("Commands", [(action.usage, action.tooltip) for action in ACTIONS if action.slash]),
            ("Names of keys, for chat.keys in config.toml", [(_key(action.keys), action.id) for action in keyed]),
        ]
        parts: list[tuple[str, str]] = []
        for title, rows in sections:
            parts.append((f"{title}\n", "bold underline"))
            for key, what in rows:
                parts += [(f"  {key:<20} ", "bold $text-accent"), (f"{what}\n", "")]
            parts.append(("\n", ""))
        return Content.assemble(*parts[:-1])


def _key(keys: str) -> str:
    """`ctrl+n` as people write it."""
    return "+".join(part.capitalize() for part in keys.split("+"))
