from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.filter import LineFilter, Monochrome
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import Static

from tui.widgets.bare import BareVertical


class Two(App[None]):
    """A container of Textual's and a bare one, styled alike."""

    def __init__(self, look: str, filters: Sequence[LineFilter]) -> None:
        super().__init__()
        self.CSS = f"Vertical {{ height: 4; padding: 0 1; {look} }} Static {{ background: blue; }}"
        self.of_lines = filters

    def compose(self) -> ComposeResult:
        yield Vertical(Static("textual"))
        yield BareVertical(Static("bare"))

    def get_line_filters(self) -> Sequence[LineFilter]:
        return self.of_lines


def cells(strips: list[Strip]) -> list[list[tuple[str, str]]]:
    """Of each line, each cell with its background."""
    return [
        [(letter, str(part.style and part.style.bgcolor)) for part in strip for letter in part.text] for strip in strips
    ]


@pytest.mark.parametrize("filters", [[], [Monochrome()]], ids=["colour", "no colour"])
@pytest.mark.parametrize(
    "look", ["", "background: red;", "background: red 50%;", "background: red; border-left: outer green;"]
)
async def test_a_bare_container_looks_as_textual_draws_it(look: str, filters: list[LineFilter]) -> None:
    app = Two(look, filters)
    async with app.run_test(size=(20, 10)) as pilot:
        await pilot.pause()
        theirs, ours = app.query(Vertical)
        crop = Region(0, 1, 12, 2)
        assert cells(ours.render_lines(crop)) == cells(theirs.render_lines(crop))
        app.screen.styles.background = "yellow"
        await pilot.pause()
        assert cells(ours.render_lines(crop)) == cells(theirs.render_lines(crop))
