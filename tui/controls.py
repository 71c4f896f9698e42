"""Control characters kept from the terminal, wherever on the screen their text stands."""

import re

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""C0, DEL and C1. The layout has counted them as no cells wide, so that a line without them is as long as it was."""


_IN_A_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""The same, but for tabs and ends of lines."""


def without_controls(text: str) -> str:
    """A text of several lines as a terminal may be given it."""
    return _IN_A_TEXT.sub("", text)


class WithoutControls(LineFilter):
    """Drops control characters from the text of segments; Textual's own control sequences are none of these."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(_CONTROLS.sub("", segment.text), segment.style, segment.control)
            if segment.control is None and _CONTROLS.search(segment.text)
            else segment
            for segment in segments
        ]
