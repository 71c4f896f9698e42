"""Noticing that files changed, by looking again and again: it works on every file system, shared ones too."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval.errors import NoSuchPath
from retrieval.walk import walk

_PAUSE = 2.0
"""Seconds between two looks, at the least."""
_IDLE = 20
"""A look may take one part in so many of the time."""


def changes(paths: Sequence[Path]) -> Iterator[bool]:
    """A value at once, then one whenever files under `paths` came, went or changed and were the same at two looks.

    What is still being written is left to settle. The value says whether all of `paths` are there; a folder that is
    away, as on a disk that was taken out, does not end it.

    :raises NoSuchPath: one of `paths` does not exist at the start.
    """
    told = before = _look(paths)
    yield True
    while True:
        begun = time.monotonic()
        try:
            now = _look(paths)
        except NoSuchPath:
            now = None
        took = time.monotonic() - begun
        if now == before and now != told:
            told = now
            yield now is not None
        before = now
        time.sleep(max(_PAUSE, _IDLE * took))


def _look(paths: Sequence[Path]) -> frozenset[tuple[str, int, int]] | None:
    """Path, bytes and time of change of every file."""
    found = []
    for path in walk(paths):
        try:
            state = os.stat(path)  # noqa: PTH116  of a link that was named, the file
        except OSError:
            continue
        found.append((str(path), state.st_size, state.st_mtime_ns))
    return frozenset(found)
