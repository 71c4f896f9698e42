"""The screens in two sizes and three themes, drawn and compared, one chat for each pair.

`pytest tests/tui --snapshot-update` accepts new ones: look at them first.
"""

from collections.abc import Sequence

import pytest
from chat_drive import ask, until
from chat_fakes import FakeBackend
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from textual.pilot import Pilot
from textual.widgets import Input

from tui.app import LociChat
from tui.widgets.composer import Composer

SCREENS: dict[str, Sequence[str]] = {
    "answer": (),
    "source": ("f2",),
    "memory": ("f3",),
    "window": ("f4",),
    "library": ("ctrl+l",),
    "sessions": ("f5",),
    "help": ("escape", "f1"),
}
"""Keys that lead from each to the next."""
THEMES = ("textual-dark", "textual-light", "high-contrast")


async def settled(pilot: Pilot[None]) -> None:
    """Wait until no worker runs and the screen has stayed the same for three looks: a busy machine draws late."""
    app = pilot.app
    looks: list[object] = []
    for _ in range(100):
        await app.workers.wait_for_complete()
        await pilot.pause(0.05)
        for field in (app.screen_stack[0].query_one(Composer), *app.screen.query(Input)):
            field.cursor_blink = False
        looks.append([strip.text for strip in app.screen._compositor.render_strips()])
        if len(looks) > 2 and looks[-3] == looks[-2] == looks[-1]:
            return


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("theme", THEMES)
async def test_screens(snapshot: SnapshotAssertion, theme: str, size: tuple[int, int]) -> None:
    drawn = snapshot.use_extension(SVGImageExtension)
    first = LociChat(FakeBackend(documents=0), theme=theme)
    async with first.run_test(size=size) as pilot:
        await until(pilot, lambda: first.state.library is not None)
        await settled(pilot)
        assert first.export_screenshot(title="first_run") == drawn(name="first_run")
    app = LociChat(FakeBackend(), theme=theme)
    async with app.run_test(size=size) as pilot:
        await ask(pilot)
        for name, keys in SCREENS.items():
            await pilot.press(*keys)
            await settled(pilot)
            assert app.export_screenshot(title=name) == drawn(name=name), name
