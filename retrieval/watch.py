"""Noticing that files changed, by looking again and again: it works on every file system, shared ones too."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval.documents import File
from retrieval.errors import NoSuchPath
from retrieval.unchanged import file_of
from retrieval.walk import walk

_Seen = frozenset[File]

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
    told: _Seen | None = _look(paths)
    before: _Seen | None = told
    yield True
    while True:
        begun = time.monotonic()
        try:
            now: _Seen | None = _look(paths)
        except NoSuchPath:
            now = None
        took = time.monotonic() - begun
        if now == before and now != told:
            told = now
            yield now is not None
        before = now
        time.sleep(max(_PAUSE, _IDLE * took))


def _look(paths: Sequence[Path]) -> _Seen:
    """Every file, as it is known without being read."""
    return frozenset(file for path in walk(paths) if (file := file_of(path)) is not None)
