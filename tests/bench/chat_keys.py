"""Keys typed into a chat in a pseudo-terminal, and how long until each is on the screen."""

import random
import time
from collections.abc import Callable, Iterable

import numpy as np

from tests.terminal import Terminal

LETTERS = "жздилфцчшэюя"
"""In no text of the chat, so that their sight means the key."""
EMPTY = b"sk your documents"
"""Stands in the input line where nothing does; the cursor is on its first letter."""
AGAIN = 0.4
"""Seconds without an empty line until a key is pressed again."""
TYPED_EVERY = 0.1
"""Mean seconds between two keys."""


def ask(chat: Terminal, question: str) -> None:
    """Send a question; one that comes before the screen has done with the last is sent again."""
    at = len(chat.seen)
    chat.type(question + LETTERS[0])  # once that is seen, no older sight of an empty line is taken for the sending
    chat.until(lambda: LETTERS[0].encode() in chat.seen[at:])
    chat.type("\x7f")
    while not empties(chat, "\r"):
        pass


def empties(chat: Terminal, key: str) -> bool:
    """Whether the input line is empty soon after a key."""
    chat.seen = b""
    chat.type(key)
    end = time.monotonic() + AGAIN
    while EMPTY not in chat.seen and time.monotonic() < end:
        chat.read(0.05)
    return EMPTY in chat.seen


def typed_until(over: Callable[[], bool], chat: Terminal, draw: random.Random) -> list[float]:
    """Type letters at random moments until `over`, then clear the line; the latency of each, in milliseconds."""
    late: list[float] = []
    while not over():
        due = time.monotonic() + draw.expovariate(1 / TYPED_EVERY)
        while (left := due - time.monotonic()) > 0 and not over():
            chat.read(min(0.01, left))
        if not over():
            late.append(_latency(chat, LETTERS[len(late) % len(LETTERS)]))
    while late and not empties(chat, "\x15"):  # Ctrl+U
        pass
    return late


def _latency(chat: Terminal, letter: str) -> float:
    """Milliseconds from the key to its sight."""
    at, begun = len(chat.seen), time.monotonic()
    chat.type(letter)
    while letter.encode() not in chat.seen[at:]:
        if time.monotonic() - begun > 10:
            raise SystemExit(f"the key {letter} was lost")
        chat.read(0.05)
    return 1000 * (time.monotonic() - begun)


def quantiles(milliseconds: Iterable[float]) -> dict[str, float]:
    every = list(milliseconds) or [0.0]
    marks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(float(np.quantile(every, at)), 1) for name, at in marks.items()} | {"count": len(every)}
