"""What each action of the key map does. Each takes the text after its slash command, if any."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual.binding import Binding
from textual.widget import Widget

from app.answer import Citation
from tui.backend import Backend, MemoryChange, Verdict
from tui.failures import Failure
from tui.jobs import Jobs
from tui.keymap import Action
from tui.messages import AddMoved
from tui.rows import AddedRow, AnswerRow, LibraryRow, MemoryRow, ModelRow, SessionRow, TurnRow
from tui.state import Adding, State, Talk
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.dialogs import HelpScreen, SessionsScreen
from tui.widgets.memory import MemoryPane
from tui.widgets.notice import Notice, Tone
from tui.widgets.side import TITLES, SidePane
from tui.widgets.source import SourcePane
from tui.widgets.status import StatusLine, TopLine
from tui.widgets.window import WindowPane
from tui.words import added_line, clipped, model_line, model_note

PROGRESS_EVERY = 0.1
"""Seconds between two updates while files are read."""


class ChatActions(Jobs):
    """The actions, and the few ways of showing a result that they share."""

    def __init__(self, backend: Backend, state: State) -> None:
        super().__init__()
        self.backend = backend
        self.state = state

    async def perform(self, action: Action, argument: str = "") -> None:
        """Do an action; one that still needs its argument is put into the input line."""
        if action.needs_argument and not argument:
            composer = self.query_one(Composer)
            composer.put(f"/{action.slash} ")
            composer.focus()
            return
        await getattr(self, f"action_{action.run}")(argument)

    # --- showing

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
        talk, library = self.state.talk, self.state.library
        self.query_one(TopLine).show(talk.title, talk.scope, library)
        self.query_one(Conversation).greet(library, talk.scope)

    def show_window(self) -> None:
        talk = self.state.talk
        self.query_one(WindowPane).show(talk.window)
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
        self.job("model", self.backend.model, self._model_loaded, self._model_failed)

    def _model_loaded(self, model: ModelRow) -> None:
        self.state.model = model
        self.query_one(StatusLine).show_model(model)
        self.query_one(Composer).border_title = model_note(model)

    async def _model_failed(self, failure: Failure) -> None:
        self.query_one(StatusLine).show_model(None)
        await self.show_failure(failure)

    def refresh_library(self) -> None:
        scope = self.state.talk.scope
        self.job("library", lambda: self.backend.library(scope), self._library_known)

    def _library_known(self, library: LibraryRow) -> None:
        self.state.library = library
        self.show_library()

    async def action_model(self, argument: str = "") -> None:
        async def told(model: ModelRow) -> None:
            self._model_loaded(model)
            lines = [
                f"reference     {model.reference}",
                f"architecture  {model.architecture}, {model.quantization}",
                f"window        {model.context:,} tokens",
                f"runs on       {', '.join(model.devices)} ({model.engine})",
            ]
            if note := model_note(model):
                lines.append(f"note          {note}")
            await self.say(model_line(model), "\n".join(lines))

        self.job("model", self.backend.model, told, self._model_failed)

    # --- panes

    async def action_source(self, argument: str = "") -> None:
        """F2 opens and closes; `/source 2` opens that one."""
        side = self.query_one(SidePane)
        if not argument and side.showing == "source":
            await self.action_close_side()
            return
        self.state.beside = True
        number = int(argument) if argument.isdigit() else 0
        citation = side.source.numbered(number or side.source.current) or side.source.first
        if number and (citation is None or citation.n != number):
            await self.say("No such source", f"The last answer has no source {number}.", "error")
        elif citation is not None:
            self.open_source(citation, focus=True)
        else:
            side.open("source")

    def open_source(self, citation: Citation, focus: bool) -> None:
        side = self.query_one(SidePane)
        side.open("source", focus)
        self.job("source", lambda: self.backend.source(citation), side.query_one(SourcePane).show)

    async def action_memory(self, argument: str = "") -> None:
        if self.query_one(SidePane).showing == "memory":
            await self.action_close_side()
            return
        self.query_one(SidePane).open("memory")
        self.refresh_memories()

    def refresh_memories(self) -> None:
        scope = self.state.talk.scope
        self.job("memories", lambda: self.backend.memories(scope), self._show_memories)

    def _show_memories(self, rows: list[MemoryRow]) -> None:
        talk = self.state.talk
        self.query_one(MemoryPane).show(rows, talk.recalled, talk.new)

    async def action_window(self, argument: str = "") -> None:
        if self.query_one(SidePane).showing == "window":
            await self.action_close_side()
            return
        self.query_one(SidePane).open("window")

    async def action_close_side(self) -> None:
        side = self.query_one(SidePane)
        if side.showing == "source":
            self.state.beside = False
        side.close()
        self.action_to_composer()

    def action_to_composer(self) -> None:
        self.query_one(Composer).focus()

    def action_scroll_chat(self, pages: int) -> None:
        conversation = self.query_one(Conversation)
        conversation.scroll_page_up() if pages < 0 else conversation.scroll_page_down()

    async def action_help(self, argument: str = "") -> None:
        here = self.focused.ancestors_with_self if self.focused else ()
        pane = next((part for part in here if isinstance(part, Widget) and part.id in TITLES), None)
        await self.push_screen(HelpScreen(TITLES[pane.id or ""], _keys_of(pane)) if pane else HelpScreen("", ()))

    async def action_theme(self, argument: str = "") -> None:
        self.search_themes()

    # --- turns and sessions

    async def action_stop(self, argument: str = "") -> None:
        """The nearest thing under way: the answer, then the reading of files; else close the pane."""
        if self.state.run is not None:
            self.state.run.stop()
            if self.state.talk.view is not None:
                self.state.talk.view.stopping()
        elif self.state.adding is not None:
            self.state.adding.stopped = True
        elif self.query_one(SidePane).showing is not None:
            await self.action_close_side()
        else:
            self.action_to_composer()

    async def action_new_session(self, argument: str = "") -> None:
        await self._leave_for(Talk(self.state.talk.scope), [])

    async def action_collection(self, argument: str = "") -> None:
        await self._leave_for(Talk(tuple(dict.fromkeys(argument.replace(",", " ").split()))), [])
        self.refresh_library()

    async def action_sessions(self, argument: str = "") -> None:
        def load(words: str, then: Callable[[list[SessionRow]], None]) -> None:
            self.job("sessions", lambda: self.backend.sessions(words), then)

        def delete(id: int, then: Callable[[list[SessionRow]], None]) -> None:
            def work() -> list[SessionRow]:
                self.backend.delete_session(id)
                return self.backend.sessions()

            async def deleted(rows: list[SessionRow]) -> None:
                then(rows)
                if id == self.state.talk.session:
                    await self.action_new_session()

            self.job("sessions", work, deleted)

        await self.push_screen(SessionsScreen(load, delete), self.open_session)

    def open_session(self, row: SessionRow | None) -> None:
        """Continue an older session where it was left."""
        if row is None:
            return
        talk = Talk((row.scope,), session=row.id, title=row.title)
        self.job("session", lambda: self.backend.turns(row.id), partial(self._opened, talk))

    async def _opened(self, talk: Talk, turns: list[TurnRow]) -> None:
        await self._leave_for(talk, turns)
        self.query_one(Composer).past = [turn.question for turn in turns]
        self.refresh_library()
        last = next((turn.answer for turn in reversed(turns) if turn.answer is not None), None)
        if last is not None:
            self.show_answer(last)

    async def _leave_for(self, talk: Talk, turns: list[TurnRow]) -> None:
        if self.state.run is not None:
            self.state.run.stop()
        self.state.talk = talk
        await self.query_one(Conversation).replace(turns)
        self.query_one(SourcePane).clear()
        self.show_library()
        self.show_window()
        if self.query_one(SidePane).showing == "memory":
            self.refresh_memories()
        self.action_to_composer()

    # --- feedback and memories

    async def action_good(self, argument: str = "") -> None:
        await self._judge("good", "Noted as a good answer")

    async def action_bad(self, argument: str = "") -> None:
        await self._judge("bad", "Noted as a bad answer")

    async def action_correct(self, argument: str = "") -> None:
        await self._judge("correct", "Noted the correction", argument)

    async def _judge(self, verdict: Verdict, said: str, text: str | None = None) -> None:
        answer = self.state.talk.answer
        if answer is None:
            await self.say("There is no answer to judge yet", tone="error")
            return

        async def noted(_: None) -> None:
            await self.say(said, text or "", "good")

        self.job("feedback", lambda: self.backend.feedback(answer.turn, verdict, text), noted)

    async def action_remember(self, argument: str = "") -> None:
        scope = self.state.talk.scope[0]

        async def kept(row: MemoryRow) -> None:
            self.state.talk.new |= {row.id}
            await self.say(f"Remembered #{row.id}", f"{row.text}  (/forget {row.id} undoes it)", "good")
            if self.query_one(SidePane).showing == "memory":
                self.refresh_memories()

        self.job("remember", lambda: self.backend.remember(argument, scope), kept)

    async def action_forget(self, argument: str = "") -> None:
        await self._change_numbered(argument, "forget", "Forgot #{}", "F3 shows it; f there restores it.")

    async def action_pin(self, argument: str = "") -> None:
        await self._change_numbered(argument, "pin", "Pinned #{}", "It will not be forgotten.")

    async def _change_numbered(self, argument: str, change: MemoryChange, said: str, more: str) -> None:
        number = argument.removeprefix("#")
        if not number.isdigit():
            if self.query_one(SidePane).showing != "memory":
                await self.action_memory()
            return

        async def changed() -> None:
            await self.say(said.format(number), more, "good")

        self.change_memory(int(number), change, changed)

    def change_memory(self, id: int, change: MemoryChange, then: Callable[[], object] | None = None) -> None:
        scope = self.state.talk.scope

        def work() -> list[MemoryRow]:
            self.backend.change_memory(id, change)
            return self.backend.memories(scope)

        def changed(rows: list[MemoryRow]) -> None:
            self._show_memories(rows)
            if then is not None:
                self.call_later(then)

        self.job("memories", work, changed)

    # --- files

    async def action_add(self, argument: str = "") -> None:
        if self.state.adding is not None:
            await self.say("Files are being read already", "Esc stops that.", "error")
            return
        path = Path(argument.strip("'\"")).expanduser()
        adding = self.state.adding = Adding(await self.say("Reading files (Esc stops)", str(path)))
        collection = self.state.talk.scope[0]
        told = 0.0

        def progress(done: int, total: int, name: str) -> bool:
            nonlocal told
            if time.monotonic() - told >= PROGRESS_EVERY:
                told = time.monotonic()
                self.post_message(AddMoved(done, total, name))
            return not adding.stopped

        def added(row: AddedRow) -> None:
            self.state.adding = None
            title = f"Stopped reading {path}" if adding.stopped else f"Read {path} into {collection}"
            lines = [added_line(row), *(f"✗ {name}: {clipped(reason, 120)}" for name, reason in row.failed)]
            adding.notice.say(title, "\n".join(lines), "error" if row.failed else "good")
            self.refresh_library()

        def failed(failure: Failure) -> None:
            self.state.adding = None
            adding.notice.say(failure.title, f"{failure.message} {failure.mend}".strip(), "error")

        self.job("add", lambda: self.backend.add([path], collection, progress), added, failed)

    async def action_quit(self, argument: str = "") -> None:
        self.exit()


def _keys_of(widget: Widget) -> tuple[tuple[str, str], ...]:
    """The keys of a part of the screen with what they do, for its help."""
    own = (binding for binding in type(widget).BINDINGS if isinstance(binding, Binding) and binding.description)
    return tuple((binding.key.replace(",", ", ").capitalize(), binding.description) for binding in own)
