"""Screens of a terminal as one animated SVG, which needs no player, no script and nothing from a network.

All screens stand below one another in a strip that moves behind a window. Lines that are alike are drawn once and
referred to, so that a key typed costs a line and not a screen. `still` gives one of the screens, for those who look.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

CELL_WIDTH, CELL_HEIGHT, LETTERS = 8.4, 17.0, 14.0
"""Pixels."""
EDGE, BAR = 12.0, 30.0
"""Pixels around the screen, and of the bar over it."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A screen and for how long it is looked at."""

    screen: str
    """Lines with ANSI sequences."""
    seconds: float
    caption: str = ""
    """What is being done, under it."""


def joined(shots: Sequence[Shot]) -> list[Shot]:
    """Screens that stay the same as one."""
    found: list[Shot] = []
    for shot in shots:
        if found and (found[-1].screen, found[-1].caption) == (shot.screen, shot.caption):
            found[-1] = replace(shot, seconds=found[-1].seconds + shot.seconds)
        else:
            found.append(shot)
    return found


class Film:
    """The strip, drawn line by line."""

    def __init__(self, size: tuple[int, int], theme: TerminalTheme, title: str) -> None:
        self._columns, self._rows = size
        self._theme = theme
        self._title = title
        self._console = Console(width=size[0], color_system="truecolor", legacy_windows=False)
        self._styles: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        """Drawn lines, by their ids."""

    def animated(self, shots: Sequence[Shot]) -> str:
        """All of them, over and over."""
        shots = joined(shots)
        whole = sum(shot.seconds for shot in shots)
        height, begun, moves = (self._rows + 1) * CELL_HEIGHT, 0.0, []
        for number, shot in enumerate(shots):
            moves.append(f"{100 * begun / whole:.2f}%{{transform:translateY({-number * height:g}px)}}")
            begun += shot.seconds
        strip = "".join(self._screen(shot, number) for number, shot in enumerate(shots))
        return self._framed(
            f'<g class="strip">{strip}</g>',
            f"@keyframes go{{{''.join(moves)}}}.strip{{animation:go {whole:.1f}s step-end infinite}}",
        )

    def still(self, shot: Shot) -> str:
        """One of them."""
        return self._framed(self._screen(shot, 0), "")

    def _framed(self, screens: str, motion: str) -> str:
        wide, high = self._columns * CELL_WIDTH, (self._rows + 1) * CELL_HEIGHT
        ground, letters = self._theme.background_color.hex, self._theme.foreground_color.hex
        rules = "".join(f".{name}{{{rule}}}" for rule, name in self._styles.items())
        lines = "".join(f'<g id="{name}">{drawn}</g>' for drawn, name in self._lines.items())
        dots = "".join(
            f'<circle cx="{18 + 20 * number}" cy="{BAR / 2 + 3:g}" r="6" fill="{colour}"/>'
            for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide + 2 * EDGE:g} {high + EDGE + BAR:g}" '
            f'role="img" xml:space="preserve"><title>{escape(self._title)}</title>'
            f'<style>text{{font:{LETTERS:g}px "Fira Code","DejaVu Sans Mono",Menlo,Consolas,monospace;fill:{letters}}}'
            f"{rules}{motion}</style>"
            f"<defs>{lines}</defs>"
            f'<rect width="100%" height="100%" rx="8" fill="{ground}" stroke="#555"/>{dots}'
            f'<text x="50%" y="{BAR / 2 + 8:g}" text-anchor="middle">{escape(self._title)}</text>'
            f'<svg x="{EDGE:g}" y="{BAR:g}" width="{wide:g}" height="{high:g}">{screens}</svg></svg>\n'
        )

    def _screen(self, shot: Shot, number: int) -> str:
        top = number * (self._rows + 1) * CELL_HEIGHT
        decoder = AnsiDecoder()  # one for all its lines: each goes on with the colours of the last
        lines = [*decoder.decode(shot.screen.rstrip("\n"))][: self._rows]
        rows = [self._drawn(list(self._console.render(line, self._console.options))) for line in lines]
        rows += [""] * (self._rows - len(rows)) + [self._drawn([Segment(shot.caption, Style(italic=True))])]
        return "".join(
            f'<use href="#{self._line(drawn)}" y="{top + row * CELL_HEIGHT:g}"/>'
            for row, drawn in enumerate(rows)
            if drawn
        )

    def _line(self, drawn: str) -> str:
        return self._lines.setdefault(drawn, f"l{len(self._lines)}")

    def _drawn(self, segments: Sequence[Segment]) -> str:
        """A line, its upper edge at 0: grounds, then letters."""
        grounds, letters, column = "", "", 0
        for text, style, _ in segments:
            text = text.rstrip("\n")
            width = cell_len(text)
            ink, ground, more = self._looks(style or Style.null())
            at, across = f"{column * CELL_WIDTH:g}", f"{width * CELL_WIDTH:g}"
            if ground:
                grounds += f'<rect x="{at}" width="{across}" height="{CELL_HEIGHT + 0.4:g}" fill="{ground}"/>'
            if text.strip():
                name = self._styles.setdefault(f"fill:{ink}{more}", f"s{len(self._styles)}")
                letters += (
                    f'<text class="{name}" x="{at}" y="{LETTERS - 1:g}" textLength="{across}" '
                    f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
                )
            column += width
        return grounds + letters

    def _looks(self, style: Style) -> tuple[str, str, str]:
        """Colours of letters and ground (none for the screen's own), and CSS for the rest."""
        theme = self._theme
        ink = style.color.get_truecolor(theme) if style.color and not style.color.is_default else theme.foreground_color
        ground = (
            style.bgcolor.get_truecolor(theme, foreground=False)
            if style.bgcolor and not style.bgcolor.is_default
            else None
        )
        if style.reverse:
            ink, ground = ground or theme.background_color, ink
        more = ";font-weight:bold" * bool(style.bold) + ";font-style:italic" * bool(style.italic)
        more += ";text-decoration:underline" * bool(style.underline) + ";opacity:.6" * bool(style.dim)
        return ink.hex, "" if ground in (None, theme.background_color) else ground.hex, more  # type: ignore[union-attr]
