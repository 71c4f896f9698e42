"""What is done with documents: read in the background, browsed, looked at, pinned into the window, removed."""

import time
from functools import partial
from pathlib import Path

from tui.failures import Failure
from tui.messages import AddMoved, DocumentMeant
from tui.outside import paged, viewed
from tui.panes import PaneActions
from tui.rows import AddedRow, DocumentRow, HealthRow, PinnedRow
from tui.state import Adding
from tui.widgets.composer import Composer
from tui.widgets.dialogs import Confirm
from tui.widgets.library import LibraryPane
from tui.widgets.notice import Tone
from tui.widgets.side import SidePane
from tui.words import added_line, at_home, clipped, count

PROGRESS_EVERY = 0.1
"""Seconds between two updates while files are read."""


class LibraryActions(PaneActions):
    """Each action takes the text after its slash command, if any."""

    # --- reading in

    async def action_add(self, argument: str = "") -> None:
        """Read files in the background; while some are read, others wait their turn."""
        path = Path(argument.strip("'\"")).expanduser()
        if self.state.adding is not None:
            self.state.to_add.append(path)
            await self.say("Will be read next", at_home(str(path)))
        else:
            await self._add([path], at_home(str(path)))

    async def _add(self, paths: list[Path], named: str) -> None:
        adding = self.state.adding = Adding(await self.say("Reading files (Esc stops)", named))
        collection = self.state.talk.scope[0]
        told = 0.0

        def progress(done: int, total: int, name: str) -> bool:
            nonlocal told
            if time.monotonic() - told >= PROGRESS_EVERY:
                told = time.monotonic()
                self.post_message(AddMoved(done, total, name))
            return not adding.stopped

        async def added(row: AddedRow) -> None:
            title = f"Stopped reading {named}" if adding.stopped else f"Read {named} into {collection}"
            lines = [added_line(row), *(f"✗ {name}: {clipped(reason, 120)}" for name, reason in row.failed)]
            await self._told(adding, title, "\n".join(lines), "error" if row.failed else "good")

        async def failed(failure: Failure) -> None:
            await self._told(adding, failure.title, f"{failure.message} {failure.mend}".strip(), "error")

        self.show_library()
        self.job("add", lambda: self.backend.add(paths, collection, progress), added, failed)

    async def _told(self, adding: Adding, title: str, text: str, tone: Tone) -> None:
        """Say how it ended, where its progress stood or, if that has left the screen, at the end; then the next."""
        if adding.notice.is_attached:
            adding.notice.say(title, text, tone)
        else:
            await self.say(title, text, tone)
        self.state.adding = None
        self.refresh_library()
        if self.state.to_add:
            path = self.state.to_add.pop(0)
            await self._add([path], at_home(str(path)))

    def on_add_moved(self, message: AddMoved) -> None:
        adding = self.state.adding
        if adding is not None:
            adding.done, adding.total = message.done, message.total
            of = f"{message.done:,} of {message.total:,}  " if message.total else ""
            adding.notice.say("Reading files (Esc stops)", f"{of}{Path(message.path).name}")
            self.show_library()

    # --- the pane

    def action_library(self, argument: str = "") -> None:
        """Ctrl+L opens and closes; `/library WORDS` shows the documents that have these in their names."""
        side = self.query_one(SidePane)
        if side.showing == "library" and not argument:
            self.action_close_side()
            return
        side.open("library")
        self.query_one(LibraryPane).filter(argument)
        self.refresh_documents()

    async def on_document_meant(self, message: DocumentMeant) -> None:
        row = message.row
        match message.what:
            case "show":
                shown = partial(self.query_one(LibraryPane).preview, row)
                self.job("preview", lambda: self.backend.document_text(row.id), shown)
            case "text":
                self.job("preview", lambda: self.backend.document_text(row.id), self._text_paged)
            case "file":
                self.job("viewer", lambda: viewed(row.path), lambda _: None)
            case "pin":
                self.pin_document(row.id)
            case "remove":
                await self._remove(row)

    def action_remove(self, argument: str = "") -> None:
        """`/remove d7`, after a question."""
        scope = self.state.talk.scope

        async def known(rows: list[DocumentRow]) -> None:
            row = next((row for row in rows if row.id == argument), None)
            if row is None:
                await self.say("No such document", f"{argument}: Ctrl+L shows them with their numbers.", "error")
            else:
                await self._remove(row)

        self.job("documents", lambda: self.backend.documents(scope), known)

    async def _text_paged(self, text: str) -> None:
        await self.leave_terminal(lambda: paged(text, 1))

    async def _remove(self, row: DocumentRow) -> None:
        def work() -> None:
            self.backend.remove_document(row.id)

        async def removed(_: None) -> None:
            await self.say(
                f"Removed {row.title}", f"Its file is still there: /add {at_home(row.path)} reads it again.", "good"
            )
            self.refresh_library()

        def answered(yes: bool | None) -> None:
            if yes:
                self.job("remove", work, removed)

        facts = f"{at_home(row.path)}\n{count(row.passages, 'passage')}. The file itself stays where it is."
        asked = f"Take “{clipped(row.title, 40)}” out of the library?"
        await self.push_screen(Confirm(asked, facts, "y takes it out · n or Esc keeps it"), answered)

    def pin_document(self, document: str) -> None:
        """Turn a document's pin over, and have the model read what is pinned where it can."""

        async def pinned(row: DocumentRow) -> None:
            if row.pinned:
                more = "Every question is given it whole, as far as the window has room; F4 shows it."
                await self.say(f"Pinned {row.title} ({row.id})", more, "good")
            else:
                await self.say(f"No longer pinned: {row.title} ({row.id})")
            self.refresh_library()
            if self.state.run is None and self.state.model is not None and self.state.model.writes_prose:
                self.job("keep", lambda: self.backend.keep_pinned(row.collection), self._kept)

        self.job("pin", lambda: self.backend.pin_document(document), pinned)

    async def _kept(self, kept: PinnedRow | None) -> None:
        if kept is not None:
            room = (
                f" The window has room for {kept.documents} of {kept.pinned}." if kept.documents < kept.pinned else ""
            )
            await self.say("Pinned documents are read", f"{kept.tokens:,} tokens, ready for every question.{room}")

    def action_health(self, argument: str = "") -> None:
        """How the library is, in its pane."""
        self.query_one(SidePane).open("library")
        scope = self.state.talk.scope

        def work() -> tuple[list[DocumentRow], HealthRow]:
            return self.backend.documents(scope), self.backend.health(scope)

        def known(found: tuple[list[DocumentRow], HealthRow]) -> None:
            rows, health = found
            self._documents_known(rows)
            self.query_one(LibraryPane).show_health(health)

        self.job("documents", work, known)

    async def action_reread(self, argument: str = "") -> None:
        """Read the files in scope again that are not as they were read."""
        if self.state.adding is not None:
            await self.say("Files are being read already", "Esc stops that.", "error")
            return
        collection = self.state.talk.scope[0]
        paths = [Path(row.path) for row in self.state.documents if row.collection == collection]
        there = [path for path in paths if path.exists()]
        if there:
            await self._add(there, "what has changed")
        else:
            await self.say("There is nothing to read again")

    def action_write_add(self, argument: str = "") -> None:
        composer = self.query_one(Composer)
        composer.put("/add ")
        composer.focus()
