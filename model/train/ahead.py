"""Micro-batches made ahead of the steps that read them, by processes of their own.

In a thread beside the training loop, rows with hidden facts cost that loop a third of its speed: both want Python's
lock (docs/LOG.md). A stream's batches depend on their position alone, so that any process may make any of them.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from model.errors import TrainingFailed
from model.train.batches import Batch, Stream

_PROCESSES = 2
_AHEAD = 6
"""Micro-batches in flight: 1 MB each at 65,536 tokens."""


class Ahead:
    """The stream that `opener` opens; positions are asked for in order, every `stride`-th."""

    def __init__(self, opener: Callable[[], Stream], stride: int) -> None:
        """`opener` is pickled, and called in each process."""
        context = multiprocessing.get_context("spawn")  # a fork would share the device's state with this process
        self._stride = stride
        self._pool = ProcessPoolExecutor(_PROCESSES, context, _begin, (opener,))
        self._coming: dict[int, Future[Batch]] = {}

    def batch(self, position: int) -> Batch:
        """:raises TrainingFailed: a process that makes them ended."""
        wanted = [position + number * self._stride for number in range(_AHEAD)]
        try:
            self._coming = {one: self._coming.get(one) or self._pool.submit(_make, one) for one in wanted}
            return self._coming.pop(position).result()
        except BrokenProcessPool as error:
            raise TrainingFailed(
                "A process that makes micro-batches ended; what went wrong stands above, or memory ran out.",
                "The same command goes on from the last checkpoint.",
            ) from error

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


_stream: Stream
"""Of this process."""


def _begin(opener: Callable[[], Stream]) -> None:
    global _stream
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the training process's, which then closes this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _stream = opener()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(position: int) -> Batch:
    return _stream.batch(position)
