"""The actions that do something with sessions: begun, found, continued, named, written to a file."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tui.rows import PastRow, SessionRow, TurnRow
from tui.state import Talk
from tui.turn_actions import TurnActions
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.dialogs import SessionsScreen
from tui.widgets.side import SidePane
from tui.widgets.source import SourcePane
from tui.words import at_home


class SessionActions(TurnActions):
    """Each action takes the text after its slash command, if any."""

    def action_new_session(self, argument: str = "") -> None:
        self._leave_for(Talk(self.state.talk.scope), [])

    def action_collection(self, argument: str = "") -> None:
        self._leave_for(Talk(tuple(dict.fromkeys(argument.replace(",", " ").split()))), [])
        self.refresh_library()

    async def action_sessions(self, argument: str = "") -> None:
        def load(words: str, then: Callable[[list[SessionRow]], None]) -> None:
            self.job("sessions", lambda: self.backend.sessions(words), then)

        def delete(id: int, then: Callable[[list[SessionRow]], None]) -> None:
            def work() -> list[SessionRow]:
                self.backend.delete_session(id)
                return self.backend.sessions()

            def deleted(rows: list[SessionRow]) -> None:
                then(rows)
                if id == self.state.talk.session:
                    self.action_new_session()

            self.job("sessions", work, deleted)

        await self.push_screen(SessionsScreen(load, delete), self.open_session)

    def open_session(self, row: SessionRow | None) -> None:
        """Continue an older session where it was left."""
        if row is None:
            return
        talk = Talk((row.scope,), session=row.id, title=row.title)
        self.job("session", lambda: self.backend.turns(row.id), partial(self._opened, talk))

    def _opened(self, talk: Talk, turns: list[TurnRow]) -> None:
        self._leave_for(talk, turns)
        self.query_one(Composer).past += [turn.question for turn in turns]
        self.refresh_library()
        self.show_last(turns)

    def _leave_for(self, talk: Talk, turns: list[TurnRow]) -> None:
        if self.state.run is not None:
            self.state.run.stop()
        self.state.talk = talk
        self.title_composer()
        self.query_one(SourcePane).clear()
        self.show_library()
        self.show_window()
        if self.query_one(SidePane).showing == "memory":
            self.refresh_memories()
        self.action_to_composer()
        self.aside(partial(self.query_one(Conversation).replace, turns))

    def recall_past(self) -> None:
        """Bring earlier questions to the input line, and say where an answer was cut off."""

        async def known(past: PastRow) -> None:
            composer = self.query_one(Composer)
            composer.past = [*past.questions, *composer.past]
            if past.cut_off is not None and self.state.talk.session is None:
                await self.say(f"“{past.cut_off.title}” ended within an answer", "/continue opens it with what came.")

        self.job("past", self.backend.past, known)

    def action_continue(self, argument: str = "") -> None:
        def wanted() -> SessionRow | None:
            rows = self.backend.sessions()
            return next((row for row in rows if not argument or str(row.id) == argument), None)

        async def found(row: SessionRow | None) -> None:
            if row is None:
                await self.say("No such session", "F5 lists them.", "error")
            self.open_session(row)

        self.job("session", wanted, found)

    async def action_rename(self, argument: str = "") -> None:
        await self._change(argument, None)

    async def action_tag(self, argument: str = "") -> None:
        await self._change(None, argument.replace(",", " ").split())

    async def _change(self, title: str | None, tags: list[str] | None) -> None:
        talk = self.state.talk
        session = talk.session
        if session is None:
            await self.say("Nothing of this session is stored yet", tone="error")
            return

        async def changed(row: SessionRow) -> None:
            talk.title = row.title
            self.show_library()
            if tags is not None:
                await self.say("Tags", " ".join(f"#{tag}" for tag in row.tags) or "none", "good")

        self.job("change", lambda: self.backend.change_session(session, title, tags), changed)

    async def action_export(self, argument: str = "") -> None:
        talk, upto = self.state.talk, self.query_one(Conversation).last_turn
        session = talk.session
        if session is None or not upto:
            await self.say("Nothing of this session is stored, so there is nothing to export", tone="error")
            return
        name = re.sub(r"[^\w]+", "-", talk.title.casefold()).strip("-")[:40]
        file = Path(argument.strip("'\"") or f"loci-{session}-{name}.md").expanduser().absolute()

        async def written(_: None) -> None:
            await self.say("Written", at_home(str(file)), "good")

        self.job("export", lambda: self.backend.export(session, upto, file), written)
