"""The screens, drawn and compared. `pytest tests/tui --snapshot-update` accepts new ones: look at them first."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from chat_fakes import QUESTION, FakeBackend
from textual.pilot import Pilot
from textual.widgets import Input

from tui.app import LociChat
from tui.widgets.composer import Composer

Step = Callable[[Pilot[None]], Awaitable[None]]


async def settle(pilot: Pilot[None]) -> None:
    """Wait until no worker runs and the screen has stayed the same for three looks: a busy machine draws late."""
    pilot.app.query_one(Composer).cursor_blink = False
    looks: list[str] = []
    for _ in range(100):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause(0.03)
        for field in pilot.app.screen.query(Input):  # of a dialog that may just have opened
            field.cursor_blink = False
        looks.append(pilot.app.export_screenshot(title="look"))
        if len(looks) > 2 and looks[-3] == looks[-2] == looks[-1]:
            return


async def asked(pilot: Pilot[None]) -> None:
    await settle(pilot)
    pilot.app.query_one(Composer).put(QUESTION)
    await pilot.press("enter")
    await pilot.pause(0.1)
    await settle(pilot)


def keys(*pressed: str) -> Step:
    async def run(pilot: Pilot[None]) -> None:
        await asked(pilot)
        await pilot.press(*pressed)
        await settle(pilot)

    return run


SCREENS: dict[str, Step] = {
    "first_run": settle,
    "answer": asked,
    "source": keys("f2"),
    "memory": keys("f3"),
    "window": keys("f4"),
    "sessions": keys("f5"),
    "help": keys("f1"),
}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("screen", SCREENS)
def test_screen(snap_compare: Any, screen: str, size: tuple[int, int]) -> None:
    app = LociChat(FakeBackend(documents=0 if screen == "first_run" else 14))
    assert snap_compare(app, terminal_size=size, run_before=SCREENS[screen])


@pytest.mark.parametrize("theme", ["textual-light", "high-contrast", "colour-blind"])
def test_theme(snap_compare: Any, theme: str) -> None:
    app = LociChat(FakeBackend(), theme=theme)
    assert snap_compare(app, terminal_size=(160, 50), run_before=asked)
