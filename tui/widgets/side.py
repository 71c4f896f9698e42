"""The pane beside the conversation; on a narrow terminal it takes the conversation's place."""

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import ContentSwitcher, Static

from tui.keymap import ACTIONS
from tui.widgets.library import LibraryPane
from tui.widgets.memory import MemoryPane
from tui.widgets.source import SourcePane
from tui.widgets.window import WindowPane

TITLES = {"source": "Source", "memory": "Memory", "window": "Context window", "library": "Library"}
HINTS = {
    "source": "n next · p prev · v text · o open · Esc",
    "memory": "f forget · p pin · e correct · u undo · w why",
    "window": "Esc closes",
    "library": "/ filter · p pin · d remove · h health · F1",
}
FOCUSED = {"source": "passage", "memory": "memory-list", "library": "library-list"}
"""The part of a pane that takes its keys, where it is not the pane."""


def binding_ids() -> frozenset[str]:
    """The ids of all keys that can be given other ones: of actions, and of the panes."""
    own = [binding for pane in (SourcePane, MemoryPane, WindowPane, LibraryPane) for binding in pane.BINDINGS]
    panes = {binding.id for binding in own if isinstance(binding, Binding) and binding.id}
    return frozenset({action.id for action in ACTIONS if action.keys} | panes)


class SidePane(Vertical):
    """Shows one of its panes at a time; closed at first."""

    def __init__(self) -> None:
        super().__init__(id="side")

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial="source"):
            yield SourcePane()
            yield MemoryPane()
            yield WindowPane()
            yield LibraryPane()
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
        hint = HINTS[pane]
        if pane == "source" and self.source.draws:
            hint = hint.replace("v text", "i picture · v text")
        self.query_one("#side-hint", Static).update(hint)
        self.add_class("-open")
        self.screen.add_class("-side")
        if focus:
            self.query_one(f"#{FOCUSED.get(pane, pane)}").focus()

    def close(self) -> None:
        self.remove_class("-open")
        self.screen.remove_class("-side")
