"""A page as a picture, in the graphics of the terminal.

To Textual the widget is blank space, scrolled and covered as any; after each time that a part of it was drawn, the
picture is painted over what of it is seen. Text that comes to stand there takes the picture's place by itself.
"""

from typing import Protocol

from textual.errors import NoWidget
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget


class Drawn(Protocol):
    """A picture as a terminal draws it."""

    @property
    def columns(self) -> int: ...

    @property
    def rows(self) -> int: ...

    @property
    def sent(self) -> str:
        """What the terminal is given once, before it is painted."""
        ...

    def paint(self, x: int, y: int, top: int, lines: int) -> str:
        """What draws `lines` of its rows from `top` on at a place on the screen, from 0; the cursor stays."""
        ...

    def forget(self) -> str:
        """What frees the terminal's memory of it."""
        ...


class PagePicture(Widget):
    """As high as its picture; without one, nothing."""

    def __init__(self) -> None:
        super().__init__(id="page")
        self._drawn: Drawn | None = None
        self._waits = False
        self._sent = False

    def on_mount(self) -> None:
        self.app.app_resume_signal.subscribe(self, lambda _: self._lost())

    @property
    def drawn(self) -> Drawn | None:
        return self._drawn

    def show(self, drawn: Drawn | None) -> None:
        if self._drawn is not None:
            self._write(self._drawn.forget())
        self._drawn, self._sent = drawn, False
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._drawn.rows if self._drawn else 0

    def render(self) -> str:
        return ""

    def render_lines(self, crop: Region) -> list[Strip]:
        if not self._waits and self._drawn is not None:
            self._waits = True
            self.call_after_refresh(self._paint)
        return super().render_lines(crop)

    def _paint(self) -> None:
        self._waits = False
        try:
            place = self.screen.find_widget(self)
        except NoWidget:
            return
        seen, drawn = place.visible_region, self._drawn
        # A dialog over it must not be painted over, nor the border of a pane that has become narrower.
        if drawn is not None and seen and seen.width >= drawn.columns and self.app.screen is self.screen:
            if not self._sent:
                self._sent = True
                self._write(drawn.sent)
            self._write(drawn.paint(seen.x, seen.y, seen.y - place.region.y, seen.height))

    def _lost(self) -> None:
        """The terminal was another program's meanwhile, which may have taken its pictures away."""
        self._sent = False
        self.refresh()

    def on_unmount(self) -> None:
        if self._drawn is not None:
            self._write(self._drawn.forget())

    def _write(self, sequence: str) -> None:
        # Textual has no public way to write what is no text; its own clipboard goes this one.
        if sequence and (driver := self.app._driver) is not None:
            driver.write(sequence)
