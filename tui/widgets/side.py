"""The pane beside the conversation; on a narrow terminal it takes the conversation's place."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher, Static

from tui.widgets.memory import MemoryPane
from tui.widgets.source import SourcePane
from tui.widgets.window import WindowPane

TITLES = {"source": "Source", "memory": "Memory", "window": "Context window"}
HINTS = {
    "source": "n next · p previous · v text · o open",
    "memory": "f forget/restore · p pin · Esc closes",
    "window": "Esc closes",
}


class SidePane(Vertical):
    """Shows one of its panes at a time; closed at first."""

    def __init__(self) -> None:
        super().__init__(id="side")

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="source"):
            yield SourcePane()
            yield MemoryPane()
            yield WindowPane()
        yield Static("", id="side-hint")

    @property
    def showing(self) -> str | None:
        """The id of the pane on show; None when closed."""
        return self.query_one(ContentSwitcher).current if self.has_class("-open") else None

    @property
    def source(self) -> SourcePane:
        return self.query_one(SourcePane)

    def open(self, pane: str, focus: bool = True) -> None:
        self.query_one(ContentSwitcher).current = pane
        self.border_title = TITLES[pane]
        self.query_one("#side-hint", Static).update(HINTS[pane])
        self.add_class("-open")
        self.screen.add_class("-side")
        if focus:
            self.query_one("#passage" if pane == "source" else f"#{pane}").focus()

    def close(self) -> None:
        self.remove_class("-open")
        self.screen.remove_class("-side")
