"""The chat without a screen: a line in, lines out, with the same commands; for screen readers, pipes and slow lines.

Answers go to `say`, all else to `note`; nothing is drawn over, and no sign stands alone for a word.
"""

from collections.abc import Callable
from contextlib import closing
from threading import Timer

from app.answer import Ask, Begun, Completed, Packed, Stage, Started, Text, TurnEvent
from tui.backend import Backend
from tui.failures import failure_of
from tui.keymap import BY_SLASH, near
from tui.plain_commands import PlainCommands
from tui.plain_state import Plain, Turn
from tui.plain_words import answer_lines, remark_lines
from tui.rows import answer_row
from tui.words import STAGE_WORDS, clipped

TITLE_WIDTH = 60
"""Characters of the first question that name a session."""
LONG = 1.0
"""Seconds from which it is said what a turn is doing."""


class PlainChat(PlainCommands):
    """One conversation; `run` returns when the user leaves."""

    def __init__(
        self,
        backend: Backend,
        scope: tuple[str, ...],
        session: int | None,
        *,
        incognito: bool,
        say: Callable[[str], None],
        note: Callable[[str], None],
        asked: Callable[[str], None] = lambda question: None,
        typed: bool = False,
    ) -> None:
        """`asked` is told each question that was stored; `typed`: somebody sits at a terminal, so that it is said what
        a turn is doing, where that takes long, and an editor may open."""
        super().__init__(backend, Plain(scope, session, off=incognito), say, note, typed=typed)
        self._asked = asked
        self._stage: Stage | None = None
        self._saying = Timer(LONG, note)

    def run(self, read: Callable[[], str]) -> None:
        """Take lines from `read` until it raises EOFError or one says /quit.

        :raises KeyboardInterrupt: at a prompt; within an answer it stops that.
        """
        self._continue()
        while True:
            try:
                line = read().strip()
            except EOFError:
                return
            if not line:
                continue
            word, _, argument = line.partition(" ")
            if word in ("/quit", "/exit"):
                return
            try:
                if word.startswith("/") and "/" not in word[1:]:
                    self._perform(word[1:].casefold(), argument.strip())
                else:
                    self.ask(line)
            except Exception as error:  # noqa: BLE001  the door: a bad turn or command must not end the conversation
                failure = failure_of(error)
                self.note(f"{failure.title}: {failure.message} {failure.mend}".strip())

    def _continue(self) -> None:
        """Begin where the session was left."""
        if self.state.session is not None and not self.state.path:
            self.open(self.state.session)

    def _perform(self, name: str, argument: str) -> None:
        command = self.commands.get(name)
        if command is None:
            unknown = f"there is no such command. {near(name, [*self.commands, 'quit'])}"
            self.note(f"/{name}: {'it needs the full screen.' if name in BY_SLASH else unknown}")
        elif name in BY_SLASH and BY_SLASH[name].needs_argument and not argument:
            self.note(f"{BY_SLASH[name].usage}: {BY_SLASH[name].tooltip}")
        else:
            command(argument)

    def ask(self, question: str, after: int | None = None, seed: int = 0, heat: float = 0.0) -> None:
        """Ask a question after the turn `after` of the session; None is the last one of the branch."""
        state = self.state
        store = not state.off
        if state.session is None and store:
            state.session = self.backend.start_session(state.scope[0], clipped(question, TITLE_WIDTH))
        if after is None:
            after = state.path[-1].id if state.path else 0
        else:
            state.path = state.path[: 1 + next((n for n, turn in enumerate(state.path) if turn.id == after), -1)]
        self._turn = Turn(0, question)
        state.path.append(self._turn)
        self._came = ""
        request = Ask(
            question,
            scope=state.scope,
            session=state.session,
            after=after if state.session is not None else None,
            attachments=state.attached,
            use_memory=store,
            store=store,
            seed=seed,
            temperature=heat,
        )
        try:
            with closing(self.backend.turn(request)) as events:
                for event in events:
                    self._take(event)
        except KeyboardInterrupt:
            self.say(self._came)
            self.note("Stopped. What came before is kept.")
            return
        finally:
            self._enter(None)
        if store:
            self._asked(question)

    def _enter(self, stage: Stage | None) -> None:
        """Say what the turn is doing once it has been doing it for long."""
        if stage == self._stage:
            return
        self._stage = stage
        self._saying.cancel()
        if stage is not None:
            self._saying = Timer(LONG, self.note, [f"{STAGE_WORDS[stage]}."])
            self._saying.daemon = True
            self._saying.start()

    def _take(self, event: TurnEvent) -> None:
        match event:
            case Begun():
                self._turn.id = event.turn
            case Started() if self.typed:
                self._enter(event.stage)
            case Packed():
                self.state.window = event.context
            case Text() if not event.reasoning:
                self._came += event.text
            case Completed():
                self.state.answer = answer_row(event.answer.to_json())
                self.state.undos += [((id, "forget"),) for id, _ in event.remembered]
                self.say("\n".join(answer_lines(self.state.answer)) + "\n")
                for line in remark_lines(self.state.answer, event.remembered):
                    self.note(line)
            case _:
                pass
