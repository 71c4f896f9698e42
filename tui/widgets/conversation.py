"""The scrolling middle of the screen: turns, notices, and the first screen while there are none."""

from collections.abc import Mapping
from dataclasses import replace

from textual.app import ComposeResult
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from tui.rows import LibraryRow, TurnMark, TurnRow
from tui.widgets.bare import BareScroll
from tui.widgets.notice import Notice, Tone
from tui.widgets.turn import TurnView
from tui.words import count

PAGE = 6
"""Turns that are put on the screen at a time when earlier ones are wanted."""
MOST = 8
"""Turns on the screen at which a new one sends all but the last `PAGE` away: every update lays out all that are there,
so that 25 of them make a streaming answer three times as dear as five."""


class Conversation(BareScroll):
    """Stays at the end while text streams in, unless the user scrolled up."""

    def __init__(self) -> None:
        super().__init__(id="conversation")
        self._earlier: list[TurnRow] = []

    def compose(self) -> ComposeResult:
        yield Static(welcome(None, ()), id="welcome")
        yield Static("", id="earlier")

    @property
    def views(self) -> list[TurnView]:
        return [child for child in self.children if isinstance(child, TurnView)]

    def greet(self, library: LibraryRow | None, scope: tuple[str, ...]) -> None:
        self.query_one("#welcome", Static).update(welcome(library, scope))

    @property
    def last_turn(self) -> int:
        """The last stored turn of the branch on show; 0 where there is none."""
        shown = [*(row.id for row in self._earlier), *(view.turn for view in self.views)]
        return next((turn for turn in reversed(shown) if turn), 0)

    @property
    def chosen(self) -> TurnView | None:
        """The turn that is marked; else the last one."""
        marked = [view for view in self.views if view.has_class("-chosen")]
        return next(iter(marked or self.views[-1:]), None)

    def choose(self, view: TurnView | None) -> None:
        """Mark a turn and bring it to the top of the screen; None marks none."""
        for one in self.views:
            one.set_class(one is view, "-chosen")
        if view is not None:
            self.release_anchor()
            self.scroll_to_widget(view, top=True, animate=False)

    async def step(self, step: int) -> None:
        """Mark the turn before or after the marked one; at first, the last."""
        views = self.views
        at = next((number for number, view in enumerate(views) if view.has_class("-chosen")), len(views))
        if at + step < 0 and self._earlier:
            before = len(views)
            await self.show_earlier()
            views = self.views
            at += len(views) - before
        if views:
            self.choose(views[min(max(at + step, 0), len(views) - 1)])

    async def cut(self, view: TurnView) -> None:
        """Take a turn and all after it from the screen."""
        at = self.children.index(view)
        await self.remove_children(self.children[at:])

    async def begin(self, question: str) -> TurnView:
        self.add_class("-some")
        self.choose(None)
        await self._shorten()
        view = TurnView(question)
        await self._append(view)
        return view

    async def notify_here(self, title: str, text: str = "", tone: Tone = "plain") -> Notice:
        notice = Notice(title, text, tone)
        await self._append(notice)
        return notice

    async def replace(self, turns: list[TurnRow]) -> None:
        """Show another session's turns, or none and the first screen."""
        await self.query("TurnView, Notice").remove()
        self.set_class(bool(turns), "-some")
        self._earlier = turns
        await self.show_earlier()
        self.anchor(bool(turns))
        if not turns:
            self.set_scroll(0, 0)  # an anchored one is scrolled below 0 where its turns do not fill it
            self.refresh(layout=True)

    async def show_earlier(self) -> None:
        """Mount the turns before those on show, a page of them: a Markdown widget takes milliseconds to build."""
        page, self._earlier = self._earlier[-PAGE:], self._earlier[:-PAGE]
        self._count_earlier()
        await self.mount_all([TurnView(turn.question, turn) for turn in page], after=self.query_one("#earlier"))

    def _count_earlier(self) -> None:
        line = self.query_one("#earlier", Static)
        line.update(f"↑ {count(len(self._earlier), 'earlier turn')}; PgUp at the top shows them")
        line.set_class(bool(self._earlier), "-some")

    async def _shorten(self) -> None:
        """Send old turns away, and what was said between them; PgUp brings the turns back."""
        views = self.views
        if len(views) < MOST:
            return
        gone = views[:-PAGE]
        self._earlier += [view.row for view in gone]
        self._count_earlier()
        first, last = (self.children.index(view) for view in (gone[0], views[-PAGE]))
        await self.remove_children(self.children[first:last])

    def mark(self, marks: Mapping[int, TurnMark]) -> None:
        """Say which questions have versions, of the turns that are on the screen and of those that are not."""
        self._earlier = [replace(row, mark=marks.get(row.id, row.mark)) for row in self._earlier]
        for view in self.views:
            if view.turn is not None and view.turn in marks:
                view.show_mark(marks[view.turn])

    async def page_up(self) -> None:
        if self.scroll_y <= 0 and self._earlier:
            await self.show_earlier()
        else:
            self.scroll_page_up()

    async def _append(self, widget: Widget) -> None:
        await self.mount(widget)
        self.anchor()


def welcome(library: LibraryRow | None, scope: tuple[str, ...]) -> Content:
    """What to do first: add documents where there are none, ask where there are some."""
    title = ("Loci answers from your documents and shows where each answer stands.\n\n", "bold")
    if library is None:
        return Content.assemble(title, ("Opening the library…", "$foreground-muted"))
    if library.documents:
        have = f"{count(library.documents, 'document')} in {', '.join(scope)}.\n\n"
        steps = [("Ask", "a question, and press Enter"), ("/add PATH", "reads more files or folders")]
    else:
        have = f"There are no documents in {', '.join(scope)} yet.\n\n"
        steps = [
            ("/add ~/Documents", "reads a folder: PDF, office files, mail, notes, tables"),
            ("Then ask", "a question about it, and press Enter"),
        ]
        others = [name for name in library.collections if name not in scope]
        if others:
            steps.append((f"/in {others[0]}", "asks in a collection that has documents"))
    steps += [
        ("/remember TEXT", "tells Loci something about you"),
        ("F5", "continues an earlier session"),
        ("F1", "shows all keys and commands"),
    ]
    rows = [part for key, what in steps for part in ((f"  {key:<18}", "bold $text-accent"), (f"{what}\n", ""))]
    return Content.assemble(title, have, *rows)
