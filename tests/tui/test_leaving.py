"""The chat is left while keys, timers and workers still come: that ends it, and nothing else."""

import pytest
from chat_drive import SMALL
from chat_fakes import FakeBackend
from textual.css.query import NoMatches

from tui.app import LociChat


async def test_a_part_that_is_missed_while_the_chat_is_left_is_no_crash(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        app.exit()
        app._handle_exception(NoMatches("No nodes match 'Composer'"))
    assert app.return_code == 0


async def test_a_part_that_is_missed_while_the_chat_goes_on_is_one(backend: FakeBackend) -> None:
    app = LociChat(backend)
    with pytest.raises(NoMatches):
        async with app.run_test(size=SMALL) as pilot:
            app.call_later(lambda: app.query_one("#no-such-part"))
            await pilot.pause()
    assert app.return_code == 1


@pytest.mark.parametrize("key", ["f1", "f2", "f3", "f5", "ctrl+l", "ctrl+p", "ctrl+n"])
async def test_a_key_that_comes_last_is_no_crash(backend: FakeBackend, key: str) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL):
        app.simulate_key(key)
        app.simulate_key("ctrl+q")
    assert app.return_code == 0
