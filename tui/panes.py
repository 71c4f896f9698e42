"""The actions that show something: panes, help, the model and the library; and the ways of showing that all share."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable

from textual.app import SuspendNotSupported
from textual.binding import Binding
from textual.widget import Widget

from app.answer import Citation
from tui.backend import Backend
from tui.failures import Failure, failure_of
from tui.jobs import Jobs, T
from tui.keymap import Action
from tui.messages import WhyAsked
from tui.outside import paged, viewed
from tui.rows import AnswerRow, DocumentRow, LibraryRow, MemoryRow, ModelRow
from tui.state import State
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.dialogs import HelpScreen
from tui.widgets.library import LibraryPane
from tui.widgets.memory import MemoryPane
from tui.widgets.notice import Notice, Tone
from tui.widgets.side import TITLES, SidePane
from tui.widgets.source import SourcePane
from tui.widgets.status import StatusLine, TopLine
from tui.widgets.window import WindowPane
from tui.words import count, model_note

_SHOWN_EVERY = 0.1
"""Seconds between two words on a load, which tells of every tensor."""


class PaneActions(Jobs):
    """Each action takes the text after its slash command, if any."""

    def __init__(self, backend: Backend, state: State) -> None:
        super().__init__()
        self.backend = backend
        self.state = state
        self._loading_shown = 0.0

    async def perform(self, action: Action, argument: str = "") -> None:
        """Do an action; one that still needs its argument is put into the input line."""
        if action.needs_argument and not argument:
            composer = self.query_one(Composer)
            composer.put(f"/{action.slash} ")
            composer.focus()
            return
        done = getattr(self, f"action_{action.run}")(argument)
        if isawaitable(done):
            await done

    # --- showing

    def aside(self, change: Callable[[], Awaitable[None] | None]) -> None:
        """Have the conversation changed in its own queue, change after change, and each drawn once it is whole.

        Keys come by the queue of the application, where they would wait until all is mounted and laid out.
        """

        async def whole() -> None:
            with self.batch_update():
                if (done := change()) is not None:
                    await done

        if self.is_on_screen:
            self.query_one(Conversation).call_later(whole)

    @property
    def has_room(self) -> bool:
        """Both the conversation and the side pane fit beside each other."""
        return self.screen_stack[0].has_class("-wide")

    async def say(self, title: str, text: str = "", tone: Tone = "plain") -> Notice:
        return await self.query_one(Conversation).notify_here(title, text, tone)

    async def show_failure(self, failure: Failure) -> None:
        await self.query_one(Conversation).notify_here(
            failure.title, f"{failure.message} {failure.mend}".strip(), "error"
        )

    def show_library(self) -> None:
        talk, library, adding = self.state.talk, self.state.library, self.state.adding
        self.query_one(TopLine).show(talk.title, talk.scope, library, (adding.done, adding.total) if adding else None)
        self.query_one(Conversation).greet(library, talk.scope)

    def show_window(self) -> None:
        talk = self.state.talk
        self.query_one(WindowPane).show(talk.window, self.state.library.pinned if self.state.library else ())
        self.query_one(StatusLine).show_window(talk.window, talk.answer.rate if talk.answer else None)

    def show_answer(self, answer: AnswerRow) -> None:
        """Bring the panes and the meter up to the last answer; open its first source where there is room beside it."""
        talk, side = self.state.talk, self.query_one(SidePane)
        talk.answer, talk.window, talk.recalled = answer, answer.window, answer.memories
        self.show_window()
        if side.showing == "memory":
            self.refresh_memories()
        side.source.among(answer.citations)
        first = side.source.first
        if first and self.has_room and self.state.beside and side.showing in (None, "source"):
            self.open_source(first, focus=False)
        elif first is None:
            side.source.clear()

    # --- the model and the library, behind the prompt

    def load_model(self) -> None:
        self.job("model", lambda: self.backend.model(self._model_loading), self._model_loaded, self._model_failed)

    def _model_loading(self, words: str) -> None:
        """Called by the thread that loads."""
        if (now := time.monotonic()) - self._loading_shown > _SHOWN_EVERY:
            self._loading_shown = now
            self.call_later(lambda: self.query_one(StatusLine).show_loading(words))

    def _model_loaded(self, model: ModelRow) -> None:
        self.state.model = model
        self.query_one(StatusLine).show_model(model)
        self.title_composer()
        self.refresh_held()

    def refresh_held(self) -> None:
        """Say how much memory the model takes now."""
        self.job("held", self.backend.held, lambda held: self.query_one(StatusLine).show_held(*held))

    def title_composer(self) -> None:
        """Say above the input line what is special about what is typed there."""
        talk, model = self.state.talk, self.state.model
        attached = ", ".join(f"{name} ({count(len(text), 'character')})" for name, text in talk.attached)
        if talk.editing is not None:
            title = "Editing a question: Enter asks it in a branch · Esc leaves it as it is"
        elif attached:
            title = f"Attached: {attached} · /detach takes it away"
        else:
            title = model_note(model) if model else ""
        self.query_one(Composer).border_title = title.replace("[", r"\[")

    async def _model_failed(self, failure: Failure) -> None:
        self.query_one(StatusLine).show_model(None)
        await self.show_failure(failure)

    def refresh_library(self) -> None:
        scope = self.state.talk.scope
        self.job("library", lambda: self.backend.library(scope), self._library_known)
        if self.query_one(SidePane).showing == "library":
            self.refresh_documents()

    def _library_known(self, library: LibraryRow) -> None:
        self.state.library = library
        self.show_library()
        self.show_window()

    def refresh_documents(self) -> None:
        scope = self.state.talk.scope
        self.job("documents", lambda: self.backend.documents(scope), self._documents_known)

    def _documents_known(self, rows: list[DocumentRow]) -> None:
        self.state.documents = rows
        self.query_one(LibraryPane).show(rows)

    # --- panes

    async def action_source(self, argument: str = "") -> None:
        """F2 opens, goes to what stands open beside the conversation, and closes; `/source 2` opens that one."""
        side = self.query_one(SidePane)
        if not argument and side.showing == "source" and side.has_pseudo_class("focus-within"):
            self.action_close_side()
            return
        self.state.beside = True
        number = int(argument) if argument.isdigit() else 0
        citation = side.source.numbered(number or side.source.current) or side.source.first
        if number and (citation is None or citation.n != number):
            await self.say("No such source", f"The last answer has no source {number}.", "error")
        elif citation is not None:
            self.open_source(citation, focus=True)
        else:
            if side.showing == "source":
                side.close()  # left open beside an answer that had sources; the next one's are opened again
            self.notify("No source: the last answer cites none." if self.state.talk.answer else "No source yet.")

    def open_source(self, citation: Citation, focus: bool) -> None:
        side = self.query_one(SidePane)
        side.open("source", focus)
        self.job("source", lambda: self.backend.source(citation), side.query_one(SourcePane).show)

    def action_pager(self, argument: str = "") -> None:
        """Show the whole text of the source on show, at the quote."""
        citation = self._shown()
        if citation is not None:
            self.job("source", lambda: self.backend.text(citation), partial(self._paged, citation.line))

    async def _paged(self, line: int, text: str) -> None:
        await self.leave_terminal(lambda: paged(text, line))

    def action_viewer(self, argument: str = "") -> None:
        citation = self._shown()
        if citation is not None:
            self.job("viewer", lambda: viewed(citation.path), lambda _: None)

    def _shown(self) -> Citation | None:
        source = self.query_one(SidePane).source
        return source.numbered(source.current) or source.first

    async def leave_terminal(self, run: Callable[[], T]) -> T | None:
        """Give the terminal to another program until it ends; what goes wrong there is said."""
        result, failure = None, None
        try:
            with self.suspend():
                # Textual takes the terminal back only if the block ends without an error.
                try:
                    result = run()
                except Exception as error:  # noqa: BLE001  shown, as a worker's
                    failure = failure_of(error)
        except SuspendNotSupported:
            await self.say("This terminal cannot be left", "Run Loci in a terminal of its own.", "error")
        if failure is not None:
            await self.show_failure(failure)
        return result

    def action_memory(self, argument: str = "") -> None:
        if self.query_one(SidePane).showing == "memory":
            self.action_close_side()
            return
        self.query_one(SidePane).open("memory")
        self.refresh_memories()

    def refresh_memories(self) -> None:
        scope = self.state.talk.scope
        self.job("memories", lambda: self.backend.memories(scope), self._show_memories)

    def _show_memories(self, rows: list[MemoryRow]) -> None:
        talk = self.state.talk
        self.query_one(MemoryPane).show(rows, talk.recalled, talk.new)

    def on_why_asked(self, message: WhyAsked) -> None:
        id = message.id
        self.job("why", lambda: self.backend.why(id), partial(self.query_one(MemoryPane).show_why, id))

    def action_window(self, argument: str = "") -> None:
        if self.query_one(SidePane).showing == "window":
            self.action_close_side()
            return
        self.query_one(SidePane).open("window")

    def action_close_side(self) -> None:
        side = self.query_one(SidePane)
        if side.showing == "source":
            self.state.beside = False
        side.close()
        self.action_to_composer()

    def action_to_composer(self) -> None:
        self.query_one(Composer).focus()

    def action_scroll_chat(self, pages: int) -> None:
        conversation = self.query_one(Conversation)
        if pages < 0:
            self.aside(conversation.page_up)
        else:
            conversation.scroll_page_down()

    async def action_help(self, argument: str = "") -> None:
        here = self.focused.ancestors_with_self if self.focused else ()
        pane = next((part for part in here if isinstance(part, Widget) and part.id in TITLES), None)
        await self.push_screen(HelpScreen(TITLES[pane.id or ""], _keys_of(pane)) if pane else HelpScreen("", ()))

    async def action_theme(self, argument: str = "") -> None:
        if not argument:
            self.search_themes()
        elif argument in self.available_themes:
            self.theme = argument
        else:
            await self.say("No such theme", ", ".join(sorted(self.available_themes)), "error")

    def keep_theme(self, name: str) -> None:
        """The next chat looks as this one was left."""
        self.job("theme", lambda: self.backend.keep_theme(name), lambda _: None)


def _keys_of(widget: Widget) -> tuple[tuple[str, str], ...]:
    """The keys of a part of the screen with what they do, for its help."""
    own = (binding for binding in type(widget).BINDINGS if isinstance(binding, Binding) and binding.description)
    return tuple((binding.key.replace(",", ", ").capitalize(), binding.description) for binding in own)
