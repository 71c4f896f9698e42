"""The library's pane: documents by name, what stands in the one under the cursor, and how the library is."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.messages import DocumentDeed, DocumentMeant
from tui.rows import DocumentRow, HealthRow
from tui.words import at_home, count, size

MOST = 500
"""Documents listed at a time; words bring the others."""
PREVIEWED = 4000
"""Characters of a document's text that are shown."""
SETTLED = 0.15
"""Seconds that the cursor rests on a document before its text is fetched."""


class LibraryPane(Vertical):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "to_filter", "Filter by words of name or path", show=False, id="library.pane.filter"),
        Binding("p", "mean('pin')", "Pin into the window, or unpin", show=False, id="library.pane.pin"),
        Binding("d,delete", "mean('remove')", "Take out of the library", show=False, id="library.pane.remove"),
        Binding("v", "mean('text')", "Whole text in $PAGER", show=False, id="library.pane.text"),
        Binding("o", "mean('file')", "Open its file on the desktop", show=False, id="library.pane.file"),
        Binding("a", "app.write_add", "Add files", show=False, id="library.pane.add"),
        Binding("h", "app.health", "How the library is", show=False, id="library.pane.health"),
        Binding("r", "app.reread", "Read changed files again", show=False, id="library.pane.reread"),
        Binding("escape", "app.close_side", "Close", show=False, id="library.pane.close"),
    ]

    def __init__(self) -> None:
        super().__init__(id="library")
        self._rows: list[DocumentRow] = []
        self._shown: list[DocumentRow] = []
        self._looked_at = ""
        """The document under the cursor when the lower half was last filled."""

    def compose(self) -> ComposeResult:
        yield Input(placeholder="Words of a name or path", id="library-words", compact=True)
        yield OptionList(id="library-list")
        with VerticalScroll(id="library-preview", can_focus=False):
            yield Static("", id="library-text")

    def on_mount(self) -> None:
        self._settled = self.set_timer(SETTLED, self._ask_for_text, pause=True)

    def filter(self, words: str) -> None:
        self.query_one(Input).value = words

    def show(self, rows: list[DocumentRow]) -> None:
        """The documents in scope; the cursor stays on its document, or at its place where that is gone."""
        self._rows = rows
        self._list()

    @on(Input.Changed)
    def _list(self) -> None:
        documents, before, at = self.query_one(OptionList), self.chosen, self.query_one(OptionList).highlighted or 0
        words = self.query_one(Input).value.casefold().split()
        found = [row for row in self._rows if all(word in f"{row.title} {row.path}".casefold() for word in words)]
        self._shown = found[:MOST]
        options = [Option(_line(row)) for row in self._shown]
        if len(found) > MOST:
            options.append(Option(f"… and {count(len(found) - MOST, 'other')}; words narrow them", disabled=True))
        if not found:
            none = "No document has these words in its name." if words else "No documents yet: a adds some."
            options.append(Option(none, disabled=True))
            self.query_one("#library-text", Static).update("")
        documents.clear_options()
        documents.add_options(options)
        if found:
            same = (number for number, row in enumerate(self._shown) if before and row.id == before.id)
            documents.highlighted = next(same, min(at, len(self._shown) - 1))

    @property
    def chosen(self) -> DocumentRow | None:
        at = self.query_one(OptionList).highlighted
        return self._shown[at] if at is not None and at < len(self._shown) else None

    @on(OptionList.OptionHighlighted)
    def _wait(self) -> None:
        self._settled.stop()
        if (row := self.chosen) is not None and row.id != self._looked_at:
            self._settled = self.set_timer(SETTLED, self._ask_for_text)

    def _ask_for_text(self) -> None:
        self.action_mean("show")

    @on(OptionList.OptionSelected)
    def _read(self) -> None:
        self.action_mean("text")

    def preview(self, row: DocumentRow, text: str) -> None:
        """What a document is, and how its text begins."""
        if self.chosen is None or row.id != self.chosen.id:
            return
        facts = [row.id, count(row.pages, "page") if row.pages else "", count(row.passages, "passage"), size(row.bytes)]
        begins = clipped_lines(text, PREVIEWED)
        self._say(
            Content.assemble(
                (f"{row.title}\n", "bold"),
                (f"{at_home(row.path)}\n", "$foreground-muted"),
                (f"{' · '.join(fact for fact in facts if fact)} · read {row.read}\n\n", "$foreground-muted"),
                begins or "No text was found in it.",
            )
        )

    def show_health(self, health: HealthRow) -> None:
        lines = [Content.styled("Health of the library", "bold"), *(Content(f"  {line}") for line in health.figures)]
        lines += [Content(f"✗ {line}; loci doctor --fix mends it") for line in health.problems]
        if not health.problems:
            lines.append(Content("✓ The database is sound."))
        if health.changed:
            lines.append(Content(f"! {count(health.changed, 'file')} changed since; r reads what has changed again"))
        if health.gone:
            named = "".join(f"\n    {at_home(path)}" for path in health.gone_named)
            more = "\n    …" if health.gone > len(health.gone_named) else ""
            lines.append(Content(f"! {count(health.gone, 'file')} gone; d takes out what was read of it{named}{more}"))
        if not health.changed and not health.gone:
            lines.append(Content("✓ Every file is as it was read."))
        self._say(Content("\n").join(lines))

    def _say(self, text: Content) -> None:
        self._settled.stop()
        self._looked_at = row.id if (row := self.chosen) is not None else ""
        self.query_one("#library-text", Static).update(text)
        self.query_one("#library-preview").scroll_home(animate=False)

    def action_to_filter(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def to_list(self) -> None:
        self.query_one(OptionList).focus()

    def action_mean(self, what: DocumentDeed) -> None:
        if (row := self.chosen) is not None:
            self.post_message(DocumentMeant(row, what))


def clipped_lines(text: str, most: int) -> str:
    """The beginning of a text without empty lines at its start; `…` where it was cut."""
    text = text.lstrip("\n")
    return text if len(text) <= most else text[:most].rstrip() + " …"


def _line(row: DocumentRow) -> Content:
    facts = [count(row.pages, "page") if row.pages else count(row.passages, "passage"), *["pinned"] * row.pinned]
    return Content.assemble(f"{row.id} ", (row.title, "bold"), f"  {' · '.join(facts)}")
