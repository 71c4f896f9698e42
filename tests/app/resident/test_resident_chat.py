"""The full-screen chat over a resident that aborts."""

import time
from collections.abc import Callable

from textual.pilot import Pilot
from textual.widgets import Markdown

from app.resident.workspace import ResidentWorkspace
from tui.app import LociChat
from tui.widgets.composer import Composer
from tui.widgets.notice import Notice
from tui.workspace import WorkspaceBackend

Door = Callable[..., ResidentWorkspace]


async def ask(pilot: Pilot[None], app: LociChat, text: str) -> None:
    app.query_one(Composer).put(text)
    app.query_one(Composer).focus()
    await pilot.press("enter")
    await until(pilot, lambda: app.state.run is None)


async def until(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        await pilot.pause(0.02)


def notices(app: LociChat) -> str:
    return "\n".join(str(notice.render()) for notice in app.query(Notice))


async def test_an_abort_is_shown_and_the_chat_goes_on(door: Door) -> None:
    opened = door()
    app = LociChat(WorkspaceBackend(opened), ("main",), None)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.state.model)
        await ask(pilot, app, "write hello")
        session = app.state.talk.session
        began = time.monotonic()
        await ask(pilot, app, "write abort")
        assert time.monotonic() - began < 2
        assert "SIGABRT" in notices(app)
        await ask(pilot, app, "write more")
        assert [one.source for one in app.query("TurnView Markdown").results(Markdown)][-1] == "Yes."
        assert app.state.talk.session == session
    kept = [(turn.question, turn.complete) for turn in opened.memory.turns(session or 0)]
    assert kept == [("write hello", True), ("write abort", False), ("write more", True)]
