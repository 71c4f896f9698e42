"""Pictures as sixels: bands of six rows of pixels, each band once for every colour in it.

A picture is encoded once, and any run of its bands can be shown. Format: DEC STD 070, chapter on sixel graphics.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BAND = 6
LEVELS = 6
"""of red, green and blue each: 216 colours, which every terminal with sixels has room for"""
_ZERO = 63
"""A column of a band is this character plus one bit for each row."""
_SHORT = 3
"""Repetitions that are not worth counting."""


@dataclass(frozen=True, slots=True)
class Sixels:
    """A picture over whole characters of the terminal."""

    columns: int
    rows: int
    cell: tuple[int, int]
    palette: str
    bands: tuple[str, ...]
    sent: str = ""
    """Nothing before it is painted: it is sent whole with each painting, since no terminal keeps it."""

    def paint(self, x: int, y: int, top: int, lines: int) -> str:
        """What draws `lines` of its rows from `top` on at a place on the screen, from 0; the cursor stays."""
        high = self.cell[1]
        first = round(top * high / BAND)
        shown = self.bands[first : first + lines * high // BAND]
        size = f'"1;1;{self.columns * self.cell[0]};{len(shown) * BAND}'
        return f"\x1b7\x1b[{y + 1};{x + 1}H\x1bP0;1q{size}{self.palette}{'-'.join(shown)}\x1b\\\x1b8"

    def forget(self) -> str:
        """Nothing: what is written over sixels takes their place."""
        return ""


def sixels(pixels: NDArray[np.uint8], cell: tuple[int, int]) -> Sixels:
    """Encode [H, W, RGB] whose sides are whole characters of `cell` pixels."""
    levels = (pixels.astype(np.uint16) * (LEVELS - 1) + 127) // 255
    colours = (levels @ np.array([LEVELS * LEVELS, LEVELS, 1], np.uint16)).astype(np.uint8)  # [H, W]
    high, wide = colours.shape
    palette = "".join(
        f"#{colour};2;" + ";".join(str(colour // LEVELS**power % LEVELS * 20) for power in (2, 1, 0))
        for colour in np.unique(colours).tolist()
    )
    bands = tuple(_band(colours[top : top + BAND]) for top in range(0, high, BAND))
    return Sixels(wide // cell[0], high // cell[1], cell, palette, bands)


def _band(colours: NDArray[np.uint8]) -> str:
    """One band, [6 or fewer, W]: each colour's columns over those of the colours before."""
    bits = (1 << np.arange(len(colours), dtype=np.uint8))[:, None]
    return "$".join(
        f"#{colour}{_counted(((colours == colour) * bits).sum(axis=0, dtype=np.uint8))}"
        for colour in np.unique(colours).tolist()
    )


def _counted(columns: NDArray[np.uint8]) -> str:
    """Columns as characters, repetitions counted, empty ones at the end left out."""
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] ^ 1))
    lengths = np.diff(starts, append=len(columns)).tolist()
    runs = list(zip(columns[starts].tolist(), lengths, strict=True))
    if runs[-1][0] == 0:
        runs.pop()
    return "".join(
        chr(_ZERO + bits) * length if length <= _SHORT else f"!{length}{chr(_ZERO + bits)}" for bits, length in runs
    )
