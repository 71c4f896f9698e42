"""What the terminal can draw besides text, asked of it in one round trip before the chat takes the screen.

Every terminal answers the last of the three questions, so that nothing waits for those that it does not know. iTerm2,
WezTerm, foot, Konsole and xterm draw sixels; kitty and Ghostty have a protocol of their own.
"""

import fcntl
import os
import re
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_ASK_KITTY = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_ASK_CELL = "\x1b[16t"
_ASK_DEVICE = "\x1b[c"
_KITTY = re.compile(rb"\x1b_G[^\x1b]*\x1b\\")
_CELL = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_DEVICE = re.compile(rb"\x1b\[\?([\d;]*)c")
_KEY = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)")
"""An arrow or function key."""
_SIXEL = b"4"
"""Among the features of a device."""
_SILENT = frozenset({"", "dumb", "linux"})
"""Values of TERM of terminals that draw nothing, and would show the questions."""
_PATIENCE = 1.0
"""Seconds for the answer, which takes as long as the network between a terminal and this machine, or as this machine
when it is busy. An answer that comes later is taken for keys: 0.4 s was tried, and was not enough."""


@dataclass(frozen=True, slots=True)
class Graphics:
    """How the terminal draws."""

    protocol: Literal["sixel", "kitty"]
    cell: tuple[int, int]
    """Width and height of a character, in pixels."""


def ask_terminal(meanwhile: Callable[[], object] = lambda: None) -> tuple[Graphics | None, str]:
    """What the terminal on stdin and stderr can draw, and what its user has typed until then.

    The answer is waited for once `meanwhile` is done.
    """
    if os.environ.get("TERM", "") in _SILENT:
        return None, ""
    keys, screen = sys.stdin.fileno(), sys.stderr.fileno()
    try:
        before = termios.tcgetattr(keys)
        tty.setcbreak(keys, termios.TCSANOW)
    except termios.error:
        return None, ""
    try:
        os.write(screen, (_ASK_KITTY + _ASK_CELL + _ASK_DEVICE).encode())
        latest = time.monotonic() + _PATIENCE
        meanwhile()
        answer = _read_answer(keys, latest)
    finally:
        termios.tcsetattr(keys, termios.TCSANOW, before)
    return graphics_of(answer, cell_size()), typed_in(answer)


def graphics_of(answer: bytes, cell: tuple[int, int] | None) -> Graphics | None:
    """What an answer means; None where it does not tell of pictures, or nobody knows how large a character is."""
    if cell is None and (told := _CELL.search(answer)):
        cell = int(told[2]), int(told[1])
    if cell is None or min(cell) < 1:
        return None
    device = _DEVICE.search(answer)
    if device and _SIXEL in device[1].split(b";")[1:]:
        return Graphics("sixel", cell)
    if any(b";OK" in match for match in _KITTY.findall(answer)):
        return Graphics("kitty", cell)
    return None


def typed_in(answer: bytes) -> str:
    """What stands among the answers and is none: letters that were typed meanwhile."""
    for pattern in (_KITTY, _CELL, _DEVICE, _KEY):
        answer = pattern.sub(b"", answer)
    return "".join(char for char in answer.decode(errors="ignore") if char.isprintable())


def cell_size() -> tuple[int, int] | None:
    """Width and height of a character in pixels, as the system knows them now; None where it does not."""
    try:
        packed = fcntl.ioctl(sys.__stderr__ or 2, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    lines, columns, width, height = struct.unpack("HHHH", packed)
    return (width // columns, height // lines) if lines and columns and width and height else None


def _read_answer(keys: int, latest: float) -> bytes:
    answer = b""
    while not _DEVICE.search(answer) and select.select([keys], [], [], max(latest - time.monotonic(), 0.0))[0]:
        read = os.read(keys, 4096)
        if not read:
            break
        answer += read
    return answer
