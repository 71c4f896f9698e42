"""The source of a citation: the passage inside its document's text, the quote highlighted; or, of a PDF, its page."""

from dataclasses import replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from app.answer import Citation
from tui.messages import CitationChosen, PageWanted
from tui.rows import SourceRow
from tui.widgets.page import Drawn, PagePicture
from tui.widgets.sources import distinct
from tui.words import STATUS_MEANS, STATUS_WORDS, at_home

QUOTE_STYLE = "bold reverse"  # legible without colour
LINES_ABOVE = 4
BAR = 1
"""Columns of a bar for scrolling."""


class SourcePane(Vertical):
    """Walks through the citations of one answer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right", "step(1)", "Next source", show=False, id="source.next"),
        Binding("p,left", "step(-1)", "Previous source", show=False, id="source.previous"),
        Binding("i", "picture", "Page of a PDF as a picture, or its text", show=False, id="source.picture"),
        Binding("v", "app.pager", "Whole text in $PAGER", show=False, id="source.text"),
        Binding("o", "app.viewer", "Open its file on the desktop", show=False, id="source.file"),
        *(Binding(str(n), f"open({n})", show=False) for n in range(1, 10)),
        Binding("escape", "app.close_side", "Close", show=False, id="source.close"),
    ]

    def __init__(self) -> None:
        super().__init__(id="source")
        self._citations: tuple[Citation, ...] = ()
        self._n = 0
        self._source: SourceRow | None = None
        self._row = 0
        """of the picture, in which the quote begins"""
        self.draws = False
        """Whether the terminal can draw pages."""
        self._pictures = True
        """Whether its user wants to see them."""
        self._had_width = True
        """Whether the pane had one when the last page was wanted; if not, that is wanted once it has."""

    def compose(self) -> ComposeResult:
        yield Static(NOTHING, id="source-head")
        with VerticalScroll(id="passage"):
            yield Static("", id="source-text")
            yield PagePicture()

    @property
    def current(self) -> int:
        """The number of the citation on show; 0 for none."""
        return self._n

    def among(self, citations: tuple[Citation, ...]) -> None:
        """The citations that its keys step through."""
        self._citations = distinct(citations)

    @property
    def first(self) -> Citation | None:
        return self._citations[0] if self._citations else None

    def numbered(self, n: int) -> Citation | None:
        return next((citation for citation in self._citations if citation.n == n), None)

    def clear(self) -> None:
        self._citations, self._n, self._source = (), 0, None
        self._show_page(None)
        self.query_one("#source-head", Static).update(NOTHING)
        self.query_one("#source-text", Static).update("")

    def show(self, source: SourceRow) -> None:
        stays = source == self._source and self._pictures and self.query_one(PagePicture).drawn is not None
        self._n, self._source = source.n, source
        self.query_one("#source-head", Static).update(_head(source, len(self._citations)))
        if stays:
            return
        self._show_page(None)
        passage = Content.assemble(source.before, (source.quote, QUOTE_STYLE), source.after)
        self.query_one("#source-text", Static).update(passage)
        self.call_after_refresh(self._to_quote)
        self._want_page()

    # --- its page

    @property
    def columns(self) -> int:
        """Those of a picture, beside the bar that scrolls it."""
        return self.query_one("#passage").outer_size.width - BAR

    def show_page(self, citation: Citation, drawn: Drawn, quote: int) -> None:
        """Put a page in place of the text, the row `quote` of it in sight; unless another source is on show by now."""
        if self._is_on_show(citation):
            self._show_page(drawn)
            self._row = quote
            self.call_after_refresh(self._to_quote)

    def show_no_page(self, citation: Citation, why: str) -> None:
        """Say why there is text and no picture."""
        if self._is_on_show(citation) and self._source is not None:
            noted = replace(self._source, note=f"{self._source.note} {why}".strip())
            self.query_one("#source-head", Static).update(_head(noted, len(self._citations)))

    def action_picture(self) -> None:
        if not self.draws:
            self.notify("This terminal draws no pictures: that takes sixels or kitty's graphics.", severity="warning")
            return
        self._pictures = not self._pictures
        if self._source is not None:
            self.show(self._source)

    def on_resize(self) -> None:
        """A picture is as wide as the pane; and one that was just opened had no width to draw for."""
        drawn = self.query_one(PagePicture).drawn
        waits = self._source is not None and not self._had_width if drawn is None else drawn.columns != self.columns
        if waits:
            self._want_page()

    def _want_page(self) -> None:
        citation, source = self.numbered(self._n), self._source
        if self.draws and self._pictures and citation is not None and source is not None and source.has_page:
            self._had_width = self.columns > 0
            if self._had_width:
                self.post_message(PageWanted(citation, self.columns))

    def _is_on_show(self, citation: Citation) -> bool:
        return self.draws and self._pictures and self.numbered(self._n) is citation

    def _show_page(self, drawn: Drawn | None) -> None:
        self.query_one(PagePicture).show(drawn)
        self.set_class(drawn is not None, "-picture")

    # --- steps

    def on_mount(self) -> None:
        """A text has no lines to scroll by until it is laid out, and others where the pane becomes narrower."""
        self.watch(self.query_one("#passage"), "virtual_size", self._laid_out, init=False)

    def _laid_out(self) -> None:
        self.call_after_refresh(self._to_quote)

    def _to_quote(self) -> None:
        if self._source is None:
            return
        row, text, before = self._row, self.query_one("#source-text", Static), self._source.before
        if self.query_one(PagePicture).drawn is None:
            row = len(Content(before).wrap(max(text.content_size.width, 1))) if before else 0
        self.query_one("#passage").scroll_to(y=max(row - LINES_ABOVE, 0), animate=False)

    def action_step(self, step: int) -> None:
        numbers = [citation.n for citation in self._citations]
        if self._n in numbers:
            self.post_message(CitationChosen(self._citations[(numbers.index(self._n) + step) % len(numbers)]))

    def action_open(self, n: int) -> None:
        if (citation := self.numbered(n)) is not None:
            self.post_message(CitationChosen(citation))


NOTHING = Content.assemble(
    ("No source is open.\n\n", "bold"),
    "When an answer cites your documents, F2 shows the passage here with the quote highlighted; "
    "so does a click on its mark.",
)


def _head(source: SourceRow, total: int) -> Content:
    style = {"verified": "$text-success bold", "repaired": "$text-warning bold"}.get(source.status, "$text-error bold")
    parts: list[tuple[str, str]] = [
        (f"[{source.n}] ", "bold"),
        (STATUS_WORDS[source.status], style),
        (f"   {total} in this answer\n" if total > 1 else "\n", "$foreground-muted"),
        (f"{STATUS_MEANS[source.status]}\n", "$foreground-muted"),
        (f"{source.title}\n", "bold"),
        (f"{source.where}\n", ""),
        (at_home(source.path), "$foreground-muted"),
    ]
    if source.note:
        parts.append((f"\n! {source.note}", "bold"))
    return Content.assemble(*parts)
