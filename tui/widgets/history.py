"""Earlier questions, found by their words and brought back to the input line."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

MOST = 200
"""Questions listed at a time, the latest first."""


class HistoryScreen(ModalScreen[str | None]):
    """Type to search, Enter takes a question, Ctrl+R again goes to the one before it, as shells do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down,ctrl+r", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
    ]

    def __init__(self, past: list[str], words: str) -> None:
        """`past` oldest first; `words` to begin with."""
        super().__init__()
        self._past = list(dict.fromkeys(reversed(past)))
        self._words = words
        self._found: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="history", classes="dialog") as dialog:
            dialog.border_title = "Earlier questions"
            dialog.border_subtitle = "Enter takes it · Esc closes"
            yield Input(self._words, placeholder="Words of a question", id="history-words")
            yield OptionList(id="history-list")

    def on_mount(self) -> None:
        self._list()

    @on(Input.Changed)
    def _list(self) -> None:
        words = self.query_one(Input).value.casefold().split()
        found = (text for text in self._past if all(word in text.casefold() for word in words))
        self._found = [text for text, _ in zip(found, range(MOST), strict=False)]
        questions = self.query_one(OptionList)
        questions.clear_options()
        questions.add_options([Option(Content(" ".join(text.split()))) for text in self._found])
        if self._found:
            questions.highlighted = 0
        else:
            questions.add_option(Option("No question has these words.", disabled=True))

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def _take(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and at < len(self._found):
            self.dismiss(self._found[at])

    def action_move(self, step: int) -> None:
        questions = self.query_one(OptionList)
        questions.action_cursor_down() if step > 0 else questions.action_cursor_up()
