"""Work in several threads, results in order, with bounded memory. Knows nothing about what the work is."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 4
"""Items for each worker that are begun or wait behind a slow one: what is held in memory, and asked again after a
kill."""


def in_order(items: Iterable[Item], work: Callable[[Item], Result], workers: int) -> Generator[Result, None, None]:
    """The results of `work`, in the order of `items`, from so many threads; what it raises is raised at its place.

    A closed generator begins nothing more; what is under way is left to itself, in threads that end with the process.
    """
    orders: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()
    pending: deque[Future[Result]] = deque()

    def labour() -> None:
        while (order := orders.get()) is not None:
            try:
                order[0].set_result(work(order[1]))
            except BaseException as error:  # noqa: BLE001  raised again where the result is taken
                order[0].set_exception(error)

    try:
        for number in range(workers):
            threading.Thread(target=labour, name=f"row-{number}", daemon=True).start()
        for item in items:
            pending.append(Future())
            orders.put((pending[-1], item))
            while pending and (pending[0].done() or len(pending) >= _AHEAD * workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        while not orders.empty():
            with suppress(Empty):  # a worker was faster
                orders.get_nowait()
        for _ in range(workers):
            orders.put(None)
