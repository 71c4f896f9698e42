"""The actions that do something with sessions, feedback, memories and files; for turns see `tui.turn_actions`, for what
shows something `tui.panes`."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tui.backend import MemoryChange, Verdict
from tui.failures import Failure
from tui.messages import AddMoved
from tui.rows import AddedRow, MemoryRow, SessionRow, TurnRow
from tui.state import Adding, Talk
from tui.turn_actions import TurnActions
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.dialogs import SessionsScreen
from tui.widgets.side import SidePane
from tui.widgets.source import SourcePane
from tui.words import added_line, clipped

PROGRESS_EVERY = 0.1
"""Seconds between two updates while files are read."""


class ChatActions(TurnActions):
    """The actions that do something; each takes the text after its slash command, if any."""

    # --- sessions

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
        self.show_last(turns)

    async def _leave_for(self, talk: Talk, turns: list[TurnRow]) -> None:
        if self.state.run is not None:
            self.state.run.stop()
        self.stop_editing()
        self.state.talk = talk
        self.query_one(SourcePane).clear()
        self.show_library()
        self.show_window()
        if self.query_one(SidePane).showing == "memory":
            self.refresh_memories()
        self.action_to_composer()
        await self.query_one(Conversation).replace(turns)

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

    async def action_memory_off(self, argument: str = "") -> None:
        talk = self.state.talk
        talk.off = not talk.off
        if talk.off:
            await self.say("Memory off", "Nothing is recalled or stored in this session until /off is given again.")
        else:
            await self.say("Memory on", "What you say from here on is recalled and stored again.", "good")

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
