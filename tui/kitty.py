"""Pictures in kitty's graphics protocol: sent to the terminal under a number, shown where placeholders stand.

A placeholder is a character of its own whose colour names the picture and whose marks name its row. What is written
over it takes its place, as with any character. https://sw.kovidgoyal.net/kitty/graphics-protocol/#unicode-placeholders
"""

import zlib
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUMBER = 76
"""of the picture, one at a time; a colour of the 256"""
_PLACEHOLDER = "\U0010eeee"
_CHUNK = 4096
_MARKS = """
305 30d-30e 310 312 33d-33f 346 34a-34c 350-352 357 35b 363-36f 483-487 592-595 597-599 59c-5a1 5a8-5a9 5ab-5ac 5af
5c4 610-617 657-65b 65d-65e 6d6-6dc 6df-6e2 6e4 6e7-6e8 6eb-6ec 730 732-733 735-736 73a 73d 73f-741 743 745 747 749-74a
7eb-7f1 7f3 816-819 81b-823 825-827 829-82d 951 953-954 f82-f83 f86-f87 135d-135f 17dd 193a 1a17 1a75-1a7c 1b6b
1b6d-1b73 1cd0-1cd2 1cda-1cdb 1ce0 1dc0-1dc1 1dc3-1dc9 1dcb-1dcc 1dd1-1de6 1dfe 20d0-20d1 20d4-20d7 20db-20dc 20e1 20e7
20e9 20f0 2cef-2cf1 2de0-2dff a66f a67c-a67d a6f0-a6f1 a8e0-a8f1 aab0 aab2-aab3 aab7-aab8 aabe-aabf aac1 fe20-fe26 10a0f
10a38 1d185-1d189 1d1aa-1d1ad 1d242-1d244
"""
"""Combining characters that count rows and columns from 0, as the protocol lists them; in hexadecimal."""


def _marks() -> str:
    bounds = [[int(end, 16) for end in part.split("-")] for part in _MARKS.split()]
    return "".join(chr(code) for ends in bounds for code in range(ends[0], ends[-1] + 1))


MARKS = _marks()


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture over whole characters of the terminal."""

    columns: int
    rows: int
    sent: str
    """What gives the terminal the picture, under its number; it keeps it until it is told to forget."""

    def paint(self, x: int, y: int, top: int, lines: int) -> str:
        """What draws `lines` of its rows from `top` on at a place on the screen, from 0; the cursor stays."""
        rest = _PLACEHOLDER * (self.columns - 1)
        rows = "".join(
            f"\x1b[{y + line + 1};{x + 1}H{_PLACEHOLDER}{MARKS[top + line]}{MARKS[0]}{rest}"
            for line in range(min(lines, self.rows - top))
        )
        return f"\x1b7\x1b[0;38;5;{NUMBER}m{rows}\x1b[0m\x1b8"

    def forget(self) -> str:
        """Take the picture out of the terminal's memory."""
        return f"\x1b_Ga=d,d=I,i={NUMBER},q=2\x1b\\"


def placed(pixels: NDArray[np.uint8], cell: tuple[int, int]) -> Placed:
    """Encode [H, W, RGB] whose sides are whole characters of `cell` pixels; rows beyond the last mark are cut off."""
    pixels = pixels[: len(MARKS) * cell[1]]
    high, wide = pixels.shape[:2]
    columns, rows = wide // cell[0], high // cell[1]
    data = b64encode(zlib.compress(pixels.tobytes(), 1)).decode()
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    head = f"a=T,U=1,q=2,i={NUMBER},f=24,o=z,s={wide},v={high},c={columns},r={rows},"
    sent = "".join(
        f"\x1b_G{head if number == 0 else ''}m={int(number < len(chunks) - 1)};{chunk}\x1b\\"
        for number, chunk in enumerate(chunks)
    )
    return Placed(columns, rows, sent)
