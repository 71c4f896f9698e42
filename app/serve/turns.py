"""Turns of a synchronous assistant for an asynchronous server: each in a thread, its events as they come."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext

from app.answer import Answer, Ask, Completed, TurnEvent

Turn = Callable[[Ask], Generator[TurnEvent, None, None]]


class Turns:
    """Asks `turn`; one at a time if `alone`, as an engine in this process demands. The resident queues by itself."""

    def __init__(self, turn: Turn, alone: bool) -> None:
        self._turn = turn
        self._free: AbstractContextManager[object] = threading.Lock() if alone else nullcontext()

    async def events(self, ask: Ask) -> AsyncGenerator[TurnEvent, None]:
        """The turn's events. Closing cancels at the next one: a thread cannot be stopped between two.

        :raises LociError: any of `app.errors.LociError`.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[TurnEvent | Exception | None] = asyncio.Queue()
        cancelled = threading.Event()

        def tell(item: TurnEvent | Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def run() -> None:
            try:
                with self._free, closing(self._turn(ask)) as events:
                    for event in () if cancelled.is_set() else events:
                        tell(event)
                        if cancelled.is_set():
                            return
            except Exception as error:  # noqa: BLE001  raised again where the events are read
                tell(error)
            else:
                tell(None)

        threading.Thread(target=run, name="turn", daemon=True).start()
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            cancelled.set()

    async def answer(self, ask: Ask) -> Answer:
        """The answer, without the events on the way."""
        async for event in self.events(ask):
            if isinstance(event, Completed):
                return event.answer
        raise AssertionError("a turn ends with Completed")
