"""One turn on its way: the worker thread that draws its events, and the text that waits for the screen.

Text is not posted token by token. The thread appends to a buffer and posts one `TextReady` until the screen has taken
it, so a model of any speed costs the screen as many updates as it can draw.
"""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Literal

from app.answer import Ask, Completed, Text, TurnEvent
from tui.backend import Backend
from tui.failures import Failure, failure_of
from tui.words import clipped

Ending = Literal["completed", "cancelled", "failed"]
TITLE_WIDTH = 60
"""Characters of the first question that name a session."""


class TurnRun:
    """One question under way. `stop` may be called from any thread; the rest as each method says."""

    def __init__(self, ask: Ask, while_reading: bool = False) -> None:
        """`while_reading`: files are being read into the library meanwhile."""
        self.ask = ask
        self.while_reading = while_reading
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._pending: list[Text] = []

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the turn at its next event; the generator is closed in its own thread, which cancels the engine."""
        self._stopped.set()

    def take(self) -> tuple[str, str]:
        """All (answer, reasoning) text that came since the last call."""
        with self._lock:
            pending, self._pending = self._pending, []
        answer = "".join(part.text for part in pending if not part.reasoning)
        return answer, "".join(part.text for part in pending if part.reasoning)

    def draw(
        self, backend: Backend, ready: Callable[[], object], moved: Callable[[TurnEvent], object]
    ) -> tuple[Ending, Failure | None]:
        """Draw the turn to its end, in a worker thread; `ready` and `moved` must be safe to call from it."""
        try:
            if self.ask.session is None and self.ask.store:
                # Started here, not by the turn, so that a cancelled first turn leaves its session known.
                title = clipped(self.ask.question, TITLE_WIDTH)
                self.ask = replace(self.ask, session=backend.start_session(self.ask.scope[0], title))
            with closing(backend.turn(self.ask)) as events:
                for event in events:
                    if isinstance(event, Text):
                        if self._keep(event):
                            ready()
                    else:
                        moved(event)
                    if self.stopping and not isinstance(event, Completed):
                        return "cancelled", None
        except Exception as error:  # noqa: BLE001  the door of the turn's thread: everything is shown in the chat
            return "failed", failure_of(error)
        return "completed", None

    def _keep(self, text: Text) -> bool:
        """Add text to the buffer; True if the screen has to be told."""
        with self._lock:
            self._pending.append(text)
            return len(self._pending) == 1
