"""Containers that have no look of their own, drawn as one empty line many times over.

Every frame draws the lines of all widgets that it touches, those also that others stand on: in a conversation the
screen, the scroll, the turn and the answer, four times as many as there are to see. Textual renders, filters and
divides each one by itself; here a container has one line, divided once. (Textual's own `BLANK` looks otherwise
where a background lets through what is beneath, where there is a border, and under NO_COLOR.)
"""

from functools import lru_cache

from rich.style import Style
from textual.color import Color
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.filter import LineFilter
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget


def empty_lines(widget: Widget, crop: Region) -> list[Strip]:
    """What stands for `Widget.render_lines` in a container; one that a style gives a border is drawn by Textual."""
    if any(edge for edge, _ in widget.styles.border):
        return Widget.render_lines(widget, crop)
    _, background = widget.background_colors  # with what is beneath it
    return [_empty_line(crop.width, background, tuple(widget.get_line_filters()))] * crop.height


@lru_cache(64)
def _empty_line(width: int, background: Color, filters: tuple[LineFilter, ...]) -> Strip:
    line = Strip.blank(width, Style(bgcolor=background.rich_color))
    for one in filters:
        line = line.apply_filter(one, background)
    return line


# A mixin would not do: Textual's style sheets know a widget by the names of its first bases.


class BareScreen(Screen[None]):
    render_lines = empty_lines


class BareHorizontal(Horizontal):
    render_lines = empty_lines


class BareVertical(Vertical):
    render_lines = empty_lines


class BareScroll(VerticalScroll):
    render_lines = empty_lines
