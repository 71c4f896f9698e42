"""The chat: composes its widgets, and routes their messages and those of the workers; `tui.actions` does the rest.

Nothing here or below imports torch or opens a store: that happens behind the backend, in threads, once the prompt is
usable.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.dom import DOMNode
from textual.events import Event, Key
from textual.filter import LineFilter
from textual.widgets import Footer

from app.answer import Begun, Completed, Found, Packed, Started
from tui.actions import ChatActions
from tui.backend import Backend
from tui.controls import WithoutControls
from tui.garbage import Garbage
from tui.graphics import Graphics
from tui.keymap import ACTIONS, BY_SLASH, bindings, near
from tui.messages import (
    CitationChosen,
    Composed,
    MemoryChanged,
    MemoryEdited,
    TextReady,
    TurnEnded,
    TurnMoved,
)
from tui.palette import Actions
from tui.rows import answer_row
from tui.state import State, Talk, Undo
from tui.themes import THEMES
from tui.turns import TurnRun
from tui.widgets.bare import BareHorizontal, BareScreen
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.side import SidePane, binding_ids
from tui.widgets.status import StatusLine, TopLine

BEHIND = frozenset(action.run for action in ACTIONS if action.keys) - {"quit", "command_palette"}
"""Actions with keys that wait until no dialog is open."""
FRAME = 1 / 15
"""Seconds between two updates of streamed text, at least."""
REST = 3
"""Times as long as an update took, until the next: keys are seen to in between, however slow the machine."""
KEY_FIRST = 0.05
"""Seconds after a key in which streamed text waits, so that the key is not drawn together with all that it moves."""
LONGEST = 0.3
"""Seconds that it waits at most, while a key is held."""


class LociChat(ChatActions):
    """The Textual application; `run()` returns when the user leaves."""

    TITLE = "Loci"
    CSS_PATH = Path(__file__).with_name("chat.tcss")
    BINDINGS: ClassVar = bindings()
    COMMANDS: ClassVar = {Actions}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012  not a class variable to the type checker

    def __init__(
        self,
        backend: Backend,
        scope: tuple[str, ...] = ("main",),
        session: int | None = None,
        incognito: bool = False,
        *,
        theme: str = "",
        keys: Mapping[str, str] | None = None,
        graphics: Graphics | None = None,
        typed: str = "",
    ) -> None:
        """Ask `backend` about the collections of `scope`, continuing `session` if given; `incognito`: memory off.

        `theme` by name; `keys` by the ids of actions, over those of `tui.keymap`. What is unknown of them is said.
        `graphics` is what the terminal can draw, `typed` what was typed before it could be read here.
        """
        super().__init__(backend, State(Talk(scope, off=incognito)))
        self.graphics = graphics
        self._typed = typed
        self._continue = session
        self._pace = FRAME
        self._without_controls = WithoutControls()  # one, since lines that were filtered are kept by their filter
        self._garbage = Garbage()
        self._pressed = 0.0
        self._wished = theme
        self.keys = dict(keys or {})
        for own in THEMES:
            self.register_theme(own)
        if theme in self.available_themes:
            self.theme = theme
        self.set_keymap(self.keys)

    def get_default_screen(self) -> BareScreen:
        return BareScreen(id="_default")

    def compose(self) -> ComposeResult:
        yield TopLine()
        with BareHorizontal(id="body"):
            yield Conversation()
            yield SidePane()
        yield Composer()
        yield StatusLine()
        yield Footer(show_command_palette=False)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual draws what it is given; nothing that a document or a model says may command the terminal."""
        return [*super().get_line_filters(), self._without_controls]

    def on_mount(self) -> None:
        composer = self.query_one(Composer)
        if self._typed:
            composer.put(self._typed)
        composer.focus()
        self.query_one(SidePane).source.draws = self.graphics is not None
        self.call_after_refresh(self._start)

    def _start(self) -> None:
        """Open everything behind the prompt, once it stands on the screen."""
        if not self.is_headless:  # as in tests, whose process is not the chat's own
            self._garbage.begin()
            self.set_interval(0.5, self._collect)
        self.theme_changed_signal.subscribe(self, lambda theme: self.keep_theme(theme.name))
        self.call_later(self._say_unknown)
        self.run_worker(partial(import_module, "tui.widgets.answer"), thread=True)  # so that no question waits for it
        self.show_library()
        self.refresh_library()
        self.load_model()
        self.recall_past()
        if self._continue is not None:
            wanted = self._continue
            self.job(
                "session",
                lambda: next((row for row in self.backend.sessions() if row.id == wanted), None),
                self.open_session,
            )

    async def _say_unknown(self) -> None:
        """What config.toml names and the chat does not have."""
        wrong = [f"the theme {self._wished!r}"] if self._wished and self._wished not in self.available_themes else []
        wrong += [f"the action {id!r}" for id in self.keys if id not in binding_ids()]
        if wrong:
            await self.say("config.toml", f"The chat has not {', '.join(wrong)}. F1 and /theme list them.", "error")

    def handle_bindings_clash(self, clashed_bindings: set[Binding], node: DOMNode) -> None:
        keys = ", ".join(sorted({f"{binding.key} of {binding.id}" for binding in clashed_bindings}))
        self.notify(f"A key of config.toml stands instead of {keys}.", severity="warning")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of the chat mean nothing while a dialog stands over it, whose own they may be."""
        return len(self.screen_stack) == 1 or action not in BEHIND

    async def on_event(self, event: Event) -> None:
        if isinstance(event, Key):
            self._pressed = time.monotonic()
        await super().on_event(event)

    def _collect(self) -> None:
        self._garbage.tidy(time.monotonic() - self._pressed, self.state.run is not None)

    def on_unmount(self) -> None:
        """Threads end at their next event, so that leaving does not wait for an answer."""
        self._garbage.end()
        if self.state.run is not None:
            self.state.run.stop()
        if self.state.adding is not None:
            self.state.adding.stopped = True

    # --- what the user sends

    async def on_composed(self, message: Composed) -> None:
        word, _, argument = message.text.partition(" ")
        is_command = word.startswith("/") and "/" not in word[1:]  # `/etc/hosts is what?` is a question
        if is_command and word[1:].casefold() in BY_SLASH:
            self.query_one(Composer).accept(message.text)
            await self.perform(BY_SLASH[word[1:].casefold()], argument.strip())
        elif is_command:
            told = f"{word}: there is no such command. {near(word[1:].casefold())}"
            await self.say("No such command", told, "error")
        elif self.state.run is not None:
            self.notify("Still answering. Esc stops it.", severity="warning")
        else:
            self.query_one(Composer).accept(message.text)
            editing = self.state.talk.editing
            self.stop_editing()
            self.ask(message.text, instead=editing)

    # --- what a turn brings

    def on_text_ready(self, message: TextReady) -> None:
        self.set_timer(self._pace, partial(self._text_due, message.run, time.monotonic() + LONGEST))

    def _text_due(self, run: TurnRun, latest: float) -> None:
        now = time.monotonic()
        wait = min(self._pressed + KEY_FIRST, latest) - now
        if wait > 0:
            self.set_timer(wait, partial(self._text_due, run, latest))
        else:
            self.aside(partial(self._draw_text, run))

    async def _draw_text(self, run: TurnRun) -> None:
        if run is self.state.run and self.state.talk.view is not None and self.is_on_screen:
            begun = time.monotonic()
            await self.state.talk.view.stream(*run.take())
            self.call_after_refresh(self._drawn, begun)

    def _drawn(self, begun: float) -> None:
        self._pace = max(FRAME, REST * (time.monotonic() - begun))

    def on_turn_moved(self, message: TurnMoved) -> None:
        self.aside(partial(self._moved, message))

    async def _moved(self, message: TurnMoved) -> None:
        talk, event = self.state.talk, message.event
        if message.run is not self.state.run or talk.view is None or not self.is_on_screen:
            return
        match event:
            case Begun():
                talk.view.turn = event.turn
            case Started():
                if not message.run.stopping:
                    talk.view.stage(event)
            case Found():
                talk.recalled = tuple(event.memories)
            case Packed():
                talk.window = event.context
                self.show_window()
            case Completed():
                await self._draw_text(message.run)
                answer = answer_row(event.answer.to_json())
                await talk.view.complete(answer, event.remembered)
                if talk is not self.state.talk:  # left while that was mounted
                    return
                talk.new |= {id for id, _ in event.remembered}
                self.state.undos += [Undo(f"Forgot #{id} again", ((id, "forget"),)) for id, _ in event.remembered]
                self.show_answer(answer)
                if answer.abstained and message.run.while_reading:
                    await self.say("Files were still being read then", "F7 asks again.")
            case _:
                pass

    def on_turn_ended(self, message: TurnEnded) -> None:
        self.aside(partial(self._ended, message))

    async def _ended(self, message: TurnEnded) -> None:
        if message.run is not self.state.run or not self.is_on_screen:
            return
        talk = self.state.talk
        if talk.view is not None:
            talk.session = message.run.ask.session
            if talk.view.answer is None:
                await self._draw_text(message.run)
                await talk.view.end(message.ending)
            talk.view = None
            if message.failure is not None:
                await self.show_failure(message.failure)
            self.refresh_marks()
        self.state.run = None
        self.refresh_held()

    # --- what panes and workers say

    def on_citation_chosen(self, message: CitationChosen) -> None:
        view = next((view for view in self.query_one(Conversation).views if view.has(message.citation)), None)
        if view is not None and view.answer is not None:
            self.query_one(SidePane).source.among(view.answer.citations)
        self.open_source(message.citation, focus=True)

    def on_memory_edited(self, message: MemoryEdited) -> None:
        composer = self.query_one(Composer)
        composer.put(f"/change {message.id} {message.text}")
        composer.focus()

    def on_memory_changed(self, message: MemoryChanged) -> None:
        self.change_memory(message.id, message.change)
