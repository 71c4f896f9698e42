"""Pages of sources as pictures: drawn and encoded in a worker, for the terminal at hand."""

from typing import TYPE_CHECKING

from tui.failures import Failure
from tui.graphics import Graphics, cell_size
from tui.messages import PageWanted
from tui.panes import PaneActions
from tui.widgets.page import Drawn
from tui.widgets.side import SidePane

if TYPE_CHECKING:
    from retrieval.readers.page import PagePicture


class PageActions(PaneActions):
    """Draws what `PageWanted` asks for."""

    graphics: Graphics | None
    """What the terminal can draw."""

    def on_page_wanted(self, message: PageWanted) -> None:
        graphics, citation, columns = self.graphics, message.citation, message.columns
        if graphics is None or columns < 1:
            return
        cell = cell_size() or graphics.cell  # letters may have been made larger since
        source = self.query_one(SidePane).source

        def work() -> tuple[Drawn, int]:
            picture = self.backend.page(citation, columns * cell[0])
            return drawn(picture, columns, graphics.protocol, cell), (picture.marked or (0, 0))[0] // cell[1]

        def failed(failure: Failure) -> None:
            source.show_no_page(citation, f"{failure.message} {failure.mend}".strip())

        self.job("page", work, lambda done: source.show_page(citation, *done), failed)


def drawn(picture: "PagePicture", columns: int, protocol: str, cell: tuple[int, int]) -> Drawn:
    """A picture in the terminal's own format, filled up in white to whole characters."""
    import numpy as np  # 0.1 s, in the worker

    from tui.kitty import placed
    from tui.sixel import sixels

    rows = -(-picture.height // cell[1])
    pixels = np.full((rows * cell[1], columns * cell[0], 3), 255, np.uint8)
    across = min(picture.width, pixels.shape[1])
    page = np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)
    pixels[: picture.height, :across] = page[:, :across]
    return (sixels if protocol == "sixel" else placed)(pixels, cell)
