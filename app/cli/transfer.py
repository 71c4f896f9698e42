"""Progress of a transfer on stderr, in bytes and bytes per second: a bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.cli.door import note, progress

_LINE_EVERY = 5.0
"""Seconds between two lines where stderr is no terminal."""


@contextmanager
def transfer(label: str) -> Iterator[Callable[[int, int, int, str], None]]:
    """Call it with bytes that are there, bytes in all, bytes that came in this run, and the file that moved."""
    began = time.monotonic()
    shown = began - _LINE_EVERY
    with progress(label) as bar:

        def advance(there: int, total: int, fetched: int, name: str) -> None:
            nonlocal shown
            now = time.monotonic()
            rate = fetched / max(now - began, 1e-3)
            words = f"{there / 1e9:,.2f} of {total / 1e9:,.2f} GB, {rate / 1e6:,.1f} MB/s  {name}"
            if sys.stderr.isatty():
                bar(there, total, words)
            elif now - shown >= _LINE_EVERY:
                shown = now
                note(f"{label}: {words}")

        yield advance
