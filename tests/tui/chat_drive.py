"""How the tests drive the chat: type, send, wait, and read what stands on the screen."""

from collections.abc import Callable

import pytest
from chat_fakes import QUESTION
from textual.pilot import Pilot
from textual.widgets import Static

from tui.app import LociChat
from tui.widgets.composer import Composer
from tui.widgets.notice import Notice

WIDE, SMALL = (120, 40), (80, 24)


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    for _ in range(200):
        await pilot.pause(0.02)
        if holds():
            return
    pytest.fail("the screen never came to that")


async def send(pilot: Pilot[None], text: str) -> None:
    composer = pilot.app.query_one(Composer)
    composer.put(text)
    composer.focus()
    await pilot.press("enter")
    await pilot.pause()


async def ask(pilot: Pilot[None], text: str = QUESTION) -> None:
    await send(pilot, text)
    await until(pilot, lambda: pilot.app.state.run is None)  # type: ignore[attr-defined]
    await pilot.pause(0.05)


def words(app: LociChat, selector: str) -> str:
    return "\n".join(str(widget.render()) for widget in app.query(selector).results(Static))


def notices(app: LociChat) -> str:
    return "\n".join(str(notice.render()) for notice in app.query(Notice))
