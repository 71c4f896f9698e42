"""What a turn leaves to be done for the memory once its answer is out. A question always goes first.

Knows nothing about threads: whoever has time does the next piece.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from app.reading import Wanted, reader
from model.open import EMBEDDED

if TYPE_CHECKING:
    from app.workspace import Workspace
    from memory.store import MemoryStore

PAUSE = 5.0
"""Seconds of silence before a model reads messages: it may lose what it holds of the conversation by that, which a
question that follows soon would need."""


def tidy(memory: "MemoryStore") -> Iterator[None]:
    """What takes no language model, piece by piece."""
    memory.tidy()
    yield
    memory.consolidate(limit=1)
    yield


def upkeep(workspace: "Workspace", wanted: Callable[[], bool]) -> Iterator[float]:
    """All of it, piece by piece; yields the seconds to wait before the next.

    `wanted` tells that somebody asks: a model leaves off reading then.
    """
    memory, model = workspace.memory, workspace.settings.model.reference
    for _ in tidy(memory):
        yield 0.0
    yield PAUSE
    memory.move_vectors()
    if model == EMBEDDED:  # it marks hardly anything that the rules do not
        return
    with suppress(Wanted):
        for _ in range(workspace.settings.memory.background_reads):
            yield PAUSE
            memory.read_turns(reader(workspace.engine(), wanted), calls=1)
