"""What is done with turns: written, asked, stopped, edited into a branch, asked again, copied.

Edit, again, version and copy mean the turn that is marked on the screen, or the last one.
"""

import re
from functools import partial
from pathlib import Path

from app.answer import Ask
from tui.messages import Pasted, TextReady, TurnEnded, TurnMoved
from tui.outside import edited
from tui.panes import PaneActions
from tui.rows import TurnMark, TurnRow
from tui.state import Talk
from tui.turns import TITLE_WIDTH, TurnRun
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.history import HistoryScreen
from tui.widgets.side import SidePane
from tui.widgets.turn import TurnView
from tui.words import clipped, count

AGAIN = 0.7
"""Temperature of an answer that is asked for again: at 0 a model says the same."""
_FENCED = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


class TurnActions(PaneActions):
    """Each action takes the text after its slash command, if any."""

    def ask(self, question: str, instead: TurnView | None = None, seed: int = 0, heat: float = 0.0) -> None:
        """Ask a question after what stands on the screen, or `instead` of a turn there, in a branch of the session."""
        talk = self.state.talk
        if talk.session is None and talk.answer is None:
            talk.title = clipped(question, TITLE_WIDTH)
            self.show_library()
        after = self.query_one(Conversation).last_turn if instead is None else instead.mark.after
        run = self.state.run = TurnRun(
            Ask(
                question,
                scope=talk.scope,
                session=talk.session,
                after=after if talk.session is not None else None,
                attachments=talk.attached,
                use_memory=not talk.off,
                store=not talk.off,
                seed=seed,
                temperature=heat,
            ),
            while_reading=self.state.adding is not None,
        )
        self.aside(partial(self._begin, talk, run, instead, after))

    async def _begin(self, talk: Talk, run: TurnRun, instead: TurnView | None, after: int) -> None:
        """Give a turn its place on the screen, unless the session was left already, and start it."""
        conversation = self.query_one(Conversation)
        if talk is self.state.talk:
            if instead is not None:
                await conversation.cut(instead)
            view = await conversation.begin(run.ask.question)
            view.mark = TurnMark(after)
            talk.view = view

        def draw() -> None:
            ending, failure = run.draw(
                self.backend,
                ready=lambda: self.post_message(TextReady(run)),
                moved=lambda event: self.post_message(TurnMoved(run, event)),
            )
            self.post_message(TurnEnded(run, ending, failure))

        self.run_worker(draw, group="turn", thread=True, exit_on_error=False)

    def action_stop(self, argument: str = "") -> None:
        """The nearest thing under way: an edit, the answer, then the reading of files; else close the pane."""
        if self.state.talk.editing is not None:
            self.stop_editing()
            self.query_one(Composer).put("")
        elif self.state.run is not None:
            self.state.run.stop()
            if self.state.talk.view is not None:
                self.state.talk.view.stopping()
        elif self.state.adding is not None:
            self.state.adding.stopped = True
            self.state.to_add.clear()
        elif self.query_one(SidePane).showing is not None:
            self.action_close_side()
        else:
            self.query_one(Conversation).choose(None)
            self.action_to_composer()

    def action_earlier_turn(self, argument: str = "") -> None:
        self.aside(partial(self.query_one(Conversation).step, -1))

    def action_later_turn(self, argument: str = "") -> None:
        self.aside(partial(self.query_one(Conversation).step, 1))

    async def action_edit(self, argument: str = "") -> None:
        """Put a question into the input line, to be asked otherwise; `/edit TEXT` asks that at once."""
        view = await self._meant()
        if view is None or self._answering():
            return
        if argument:
            self.ask(argument, instead=view)
            return
        self.state.talk.editing = view
        composer = self.query_one(Composer)
        composer.put(view.question)
        self.title_composer()
        composer.focus()

    def stop_editing(self) -> None:
        self.state.talk.editing = None
        self.title_composer()

    async def action_again(self, argument: str = "") -> None:
        view = await self._meant()
        if view is not None and not self._answering():
            self.ask(view.question, instead=view, seed=max(len(view.mark.versions), 1), heat=AGAIN)

    async def action_version(self, argument: str = "") -> None:
        """Show the next version of a question, with the branch that it led to."""
        view, talk = await self._meant(), self.state.talk
        if view is None or self._answering():
            return
        versions, session = view.mark.versions, talk.session
        if view.turn not in versions or len(versions) < 2 or session is None:
            await self.say("There is one version", "F6 edits a question in a branch, F7 asks it again.")
            return
        other = versions[(versions.index(view.turn) + 1) % len(versions)]
        self.job("session", lambda: self.backend.turns(session, other), partial(self._branch_shown, talk, other))

    def _branch_shown(self, talk: Talk, through: int, turns: list[TurnRow]) -> None:
        async def show() -> None:
            conversation = self.query_one(Conversation)
            await conversation.replace(turns)
            self.call_after_refresh(
                lambda: conversation.choose(next((view for view in conversation.views if view.turn == through), None))
            )

        if talk is self.state.talk:
            self.aside(show)
            self.show_last(turns)

    def show_last(self, turns: list[TurnRow]) -> None:
        """Bring panes and meter up to the last answer of turns that were opened."""
        last = next((turn.answer for turn in reversed(turns) if turn.answer is not None), None)
        if last is not None:
            self.show_answer(last)

    def refresh_marks(self) -> None:
        """Say which questions have versions, once a turn is over."""
        talk = self.state.talk
        session = talk.session
        if session is None:
            return

        def show(marks: dict[int, TurnMark]) -> None:
            if talk is self.state.talk:
                self.query_one(Conversation).mark(marks)

        self.job("marks", lambda: dict(self.backend.marks(session)), show)

    async def action_editor(self, argument: str = "") -> None:
        """Write the question in the user's editor."""
        composer = self.query_one(Composer)
        before = composer.text
        after = await self.leave_terminal(lambda: edited(before))
        if after is not None:
            composer.put(after)
        composer.focus()

    async def action_history(self, argument: str = "") -> None:
        """Search earlier questions; the one that is taken stands in the input line."""
        composer = self.query_one(Composer)

        def taken(question: str | None) -> None:
            if question is not None:
                composer.put(question)
            composer.focus()

        words = argument or ("" if composer.text.startswith("/") else composer.text)
        past = [text for text in composer.past if not text.startswith("/history")]
        await self.push_screen(HistoryScreen(past, words), taken)

    def action_attach(self, argument: str = "") -> None:
        """Ask about a file without taking it into the library."""
        path, talk = Path(argument.strip("'\"")).expanduser(), self.state.talk

        def read(text: str) -> None:
            talk.attached += ((path.name, text),)
            self.title_composer()

        self.job("attach", lambda: self.backend.read(path), read)

    def on_pasted(self, message: Pasted) -> None:
        """A text too long for the input line is asked about until it is detached; it is not stored."""
        talk = self.state.talk
        talk.attached += ((f"pasted-{len(talk.attached) + 1}.txt", message.text),)
        self.title_composer()

    def action_detach(self, argument: str = "") -> None:
        self.state.talk.attached = ()
        self.title_composer()

    async def action_copy(self, argument: str = "") -> None:
        """The whole answer, or its code block of that number."""
        view = await self._meant()
        if view is None:
            return
        text = view.said
        if argument:
            blocks = [match[2] for match in _FENCED.finditer(text)]
            if not (argument.isdigit() and 1 <= int(argument) <= len(blocks)):
                await self.say("No such block", f"The answer has {count(len(blocks), 'code block')}.", "error")
                return
            text = blocks[int(argument) - 1]
        self.copy_to_clipboard(text)
        self.notify(f"{count(len(text), 'character')} copied")

    async def _meant(self) -> TurnView | None:
        view = self.query_one(Conversation).chosen
        if view is None:
            await self.say("There is no question yet", tone="error")
        return view

    def _answering(self) -> bool:
        """Whether a turn is under way, which is said."""
        if self.state.run is not None:
            self.notify("Still answering. Esc stops it.", severity="warning")
        return self.state.run is not None
