"""Python's full collections of garbage, at moments when nobody types.

A full collection walks all that the chat holds and stops it for as long as ten keys take; left to Python, text that
streams brings one with every second answer. Here it waits until the keys rest, and what was there before the first
answers, most of it, is walked no more.
"""

import gc

REST = 1.0
"""Seconds without a key after which a collection disturbs nobody."""
DUE = 10
"""Collections of the young that a full one follows; Python's own number."""
OVERDUE = 200
"""As many at which it is made even between two keys: some forty answers, or 20 MB."""
NEVER = 1_000_000
"""Collections of the young until Python makes a full one by itself."""


def due(young: int, rested: float, busy: bool) -> bool:
    """Whether to collect, `young` collections of the young after the last; `rested`: seconds since the last key;
    `busy` while an answer streams."""
    return young > OVERDUE or (young > DUE and rested > REST and not busy)


class Garbage:
    """Takes full collections out of Python's hands from `begin` until `end`, in the whole process."""

    def __init__(self) -> None:
        self._thresholds: tuple[int, int, int] | None = None
        self._settled = False

    def begin(self) -> None:
        """Once the prompt stands; without a collection, which nobody could wait for then.

        A program that wants the prompt soon disables the collector before; here it works again.
        """
        gc.enable()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*self._thresholds[:2], NEVER)
        gc.freeze()

    def tidy(self, rested: float, busy: bool) -> bool:
        """Collect if it is `due`; True if it was.

        The first time, what is left is walked no more either: modules and rows that the first answers loaded.
        """
        if self._thresholds is None or not due(gc.get_count()[2], rested, busy):
            return False
        gc.collect()
        if not self._settled:
            gc.freeze()
            self._settled = True
        return True

    def end(self) -> None:
        """Leave Python's collector as it was."""
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()
            self._thresholds = None
