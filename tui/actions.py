"""The actions that do something with feedback and memories; for sessions, turns and documents see
`tui.session_actions`, `tui.turn_actions` and `tui.library_actions`, for what shows something `tui.panes`."""

from collections.abc import Callable

from tui.backend import MemoryChange, Verdict
from tui.library_actions import LibraryActions
from tui.model_actions import ModelActions
from tui.page_actions import PageActions
from tui.rows import MemoryRow
from tui.session_actions import SessionActions
from tui.state import Undo
from tui.widgets.side import SidePane

OPPOSITE: dict[MemoryChange, MemoryChange] = {
    "forget": "restore",
    "restore": "forget",
    "pin": "unpin",
    "unpin": "pin",
}


class ChatActions(SessionActions, ModelActions, LibraryActions, PageActions):
    """The actions that do something; each takes the text after its slash command, if any."""

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

    def action_remember(self, argument: str = "") -> None:
        scope = self.state.talk.scope[0]

        async def kept(row: MemoryRow) -> None:
            self.state.talk.new |= {row.id}
            self.state.undos.append(Undo(f"Forgot #{row.id} again", ((row.id, "forget"),)))
            await self.say(f"Remembered #{row.id}", f"{row.text}  (/forget {row.id} undoes it)", "good")
            if self.query_one(SidePane).showing == "memory":
                self.refresh_memories()

        self.job("remember", lambda: self.backend.remember(argument, scope), kept)

    def action_forget(self, argument: str = "") -> None:
        self._change_numbered(argument, "forget", "Forgot #{}", "F3 shows it; f there restores it.")

    async def action_why(self, argument: str = "") -> None:
        """`/why 7`, in the conversation; the memory pane has it for the one under the cursor."""
        number = argument.removeprefix("#")

        async def told(lines: list[str]) -> None:
            await self.say(f"Why #{number}", "\n".join(lines))

        if number.isdigit():
            self.job("why", lambda: self.backend.why(int(number)), told)
        else:
            await self.say("Why which memory?", "/why ID; F3 shows them, w there says why.", "error")

    async def action_memory_off(self, argument: str = "") -> None:
        talk = self.state.talk
        talk.off = not talk.off
        if talk.off:
            await self.say("Memory off", "Nothing is recalled or stored in this session until /off is given again.")
        else:
            await self.say("Memory on", "What you say from here on is recalled and stored again.", "good")

    def action_pin(self, argument: str = "") -> None:
        if argument[:1] == "d" and argument[1:].isdigit():
            self.pin_document(argument)
            return
        self._change_numbered(argument, "pin", "Pinned #{}", "It will not be forgotten.")

    def _change_numbered(self, argument: str, change: MemoryChange, said: str, more: str) -> None:
        number = argument.removeprefix("#")
        if not number.isdigit():
            if self.query_one(SidePane).showing != "memory":
                self.action_memory()
            return

        async def changed() -> None:
            await self.say(said.format(number), more, "good")

        self.change_memory(int(number), change, changed)

    async def action_change(self, argument: str = "") -> None:
        """`/change 7 TEXT`: another wording; the old one can be brought back."""
        number, _, text = argument.removeprefix("#").partition(" ")
        if not number.isdigit() or not text.strip():
            await self.say("Change which memory?", "/change ID TEXT; F3 shows them, e there edits one.", "error")
            return
        old = int(number)

        async def changed(row: MemoryRow) -> None:
            if row.id != old:
                self.state.undos.append(Undo(f"#{old} is as it was", ((row.id, "forget"), (old, "restore"))))
                await self.say(f"Changed #{old}, now #{row.id}", f"{row.text}  (/undo brings the old one back)", "good")
            self.refresh_memories()

        self.job("memories", lambda: self.backend.edit_memory(old, text.strip()), changed)

    async def action_undo(self, argument: str = "") -> None:
        if not self.state.undos:
            await self.say("Nothing to undo", "No memory was changed in this chat.")
            return
        undo, scope = self.state.undos.pop(), self.state.talk.scope

        def work() -> list[MemoryRow]:
            for id, change in undo.changes:
                self.backend.change_memory(id, change)
            return self.backend.memories(scope)

        async def undone(rows: list[MemoryRow]) -> None:
            self._show_memories(rows)
            await self.say("Undone", undo.said, "good")

        self.job("memories", work, undone)

    def change_memory(self, id: int, change: MemoryChange, then: Callable[[], object] | None = None) -> None:
        scope = self.state.talk.scope

        def work() -> list[MemoryRow]:
            self.backend.change_memory(id, change)
            return self.backend.memories(scope)

        def changed(rows: list[MemoryRow]) -> None:
            self.state.undos.append(Undo(f"#{id} is as it was", ((id, OPPOSITE[change]),)))
            self._show_memories(rows)
            if then is not None:
                self.call_later(then)

        self.job("memories", work, changed)

    async def action_quit(self, argument: str = "") -> None:
        self.exit()
