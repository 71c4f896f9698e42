"""Orders in the order of their arrival, each lane one at a time; what happens on the way goes to the door that waits.

A door has one order under way for each of its connections, so first come, first served gives every door its turn:
between two rows of a batch there is room for a question. Knows nothing about what an order is.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from queue import SimpleQueue

from app.errors import ResidentEnded
from app.resident.failures import pack_error
from app.resident.wire import Frame


class Order:
    """One order, from its acceptance to its last frame."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.frames: SimpleQueue[Frame] = SimpleQueue()
        """What is to be sent to the door."""
        self.cancelled = False


class Lane:
    """A thread that does orders one after the other. Native libraries tie some of their state to a thread."""

    def __init__(
        self,
        name: str,
        do: Callable[[Order], Generator[Frame, None, None]],
        rest: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`rest` is called while nothing waits, after an order: it does a piece of work of its own, and returns the
        seconds until the next; None: there is none."""
        self._do = do
        self._rest = rest
        self._waiting: deque[Order] = deque()
        self._changed = threading.Condition()
        self._current: Order | None = None
        self._closing = False
        self._last: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, order: Order) -> bool:
        """Have it done; False if the lane takes nothing more."""
        with self._changed:
            if self._closing:
                return False
            ahead = len(self._waiting) + (self._current is not None)
            if ahead:
                order.frames.put({"waiting": ahead})
            self._waiting.append(order)
            self._changed.notify()
            return True

    def tell(self, frame: Frame) -> None:
        """Send a frame to every door that waits here."""
        with self._changed:
            for order in (self._current, *self._waiting):
                if order is not None:
                    order.frames.put(frame)

    @property
    def wanted(self) -> bool:
        """Whether a door waits, or the end: what is done meanwhile should leave off."""
        return bool(self._waiting) or self._closing

    def __len__(self) -> int:
        """Orders under way and waiting."""
        with self._changed:
            return len(self._waiting) + (self._current is not None)

    def cancel(self) -> None:
        """Give up what is under way and what waits."""
        with self._changed:
            for order in (self._current, *self._waiting):
                if order is not None:
                    order.cancelled = True
                    order.frames.put({"failed": pack_error(ResidentEnded("It was told to stop.", "Ask again."))})

    def finish(self, last: Callable[[], None]) -> None:
        """Do what was added, then `last`, in the lane's thread; returns when it is done."""
        with self._changed:
            self._last, self._closing = last, True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        pause: float | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing, pause)
                if not self._waiting and self._closing:
                    break
                self._current = order = self._waiting.popleft() if self._waiting else None
            if order is None:
                pause = self._rested()
                continue
            if not order.cancelled:
                self._serve(order)
            with self._changed:
                self._current = None
            pause = 0.0
        self._last()

    def _rested(self) -> float | None:
        try:
            return self._rest()
        except Exception as error:  # noqa: BLE001  nobody waits for it, and the next order begins it anew
            print(f"After an answer: {type(error).__name__}", file=sys.stderr)
            return None

    def _serve(self, order: Order) -> None:
        try:
            frames = self._do(order)
            for frame in frames:
                order.frames.put(frame)
                if order.cancelled:
                    frames.close()
                    return
        except Exception as error:  # noqa: BLE001  the door of every order: the error is the door's, the resident goes on
            order.frames.put({"failed": pack_error(error)})
