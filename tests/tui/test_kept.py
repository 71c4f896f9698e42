"""What the chat keeps: sessions and memories, listed, found, changed and taken back."""

from pathlib import Path

import pytest
from chat_drive import SMALL, WIDE, ask, notices, send, until, words
from chat_fakes import FakeBackend
from textual.widgets import Input, OptionList

from tui.app import LociChat
from tui.rows import PastRow, TurnRow
from tui.widgets.composer import Composer
from tui.widgets.conversation import PAGE, Conversation
from tui.widgets.dialogs import Confirm, SessionsScreen
from tui.widgets.turn import STOPPED


async def test_off_recalls_and_stores_nothing_until_it_is_given_again(backend: FakeBackend) -> None:
    app = LociChat(backend, incognito=True)
    async with app.run_test(size=WIDE) as pilot:
        for line in ("One?", "/off", "Two?"):
            await send(pilot, line)
            await until(pilot, lambda: app.state.run is None)
        assert "Memory on" in notices(app)
        assert [(one.use_memory, one.store) for one in backend.asked] == [(False, False), (True, True)]


async def test_the_memory_pane_groups_forgets_restores_and_pins(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await pilot.press("f3")
        pane = app.query_one("#memory-list", OptionList)
        await until(pilot, lambda: pane.option_count == 5)
        lines = [str(pane.get_option_at_index(index).prompt) for index in range(5)]
        assert lines[0] == "Recalled for this answer" and lines[3] == "All else that is known"
        assert "used in the answer" in lines[1] and "pinned" in lines[1]
        await pilot.press("down", "f")
        await until(pilot, lambda: backend.known[1].state == "tombstone")
        await until(pilot, lambda: "forgotten" in str(pane.get_option_at_index(2).prompt))
        await pilot.press("f")
        await until(pilot, lambda: backend.known[1].state == "active")
        await pilot.press("p")
        await until(pilot, lambda: backend.known[1].pinned)
        await pilot.press("w")
        await until(pilot, lambda: "said on 2026-03-07" in words(app, "#memory-reasons"))
        assert "+1.20  uses" in words(app, "#memory-reasons")
        await pilot.press("up")
        await until(pilot, lambda: "said on 2026-03-03" in words(app, "#memory-reasons"))
        await pilot.press("enter")
        assert not app.query_one("#memory-why").display


async def test_a_memory_is_corrected_in_place_and_every_change_can_be_undone(backend: FakeBackend) -> None:
    def states() -> dict[int, str]:
        return {row.id: row.state for row in backend.known}

    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await send(pilot, "/undo")
        assert "Nothing to undo" in notices(app)
        await pilot.press("f3")
        pane = app.query_one("#memory-list", OptionList)
        await until(pilot, lambda: pane.option_count == 4)
        await pilot.press("e")
        composer = app.query_one(Composer)
        await until(pilot, lambda: composer.text == f"/change 3 {backend.known[0].text}")
        await send(pilot, "/change 3 You look after the cranes.")
        await until(pilot, lambda: "Changed #3, now #20" in notices(app))
        await send(pilot, "/forget 7")
        await until(pilot, lambda: states()[7] == "tombstone" and len(app.state.undos) == 2)
        await pilot.press("alt+z")
        await until(pilot, lambda: states()[7] == "active")
        await send(pilot, "/undo")
        await until(pilot, lambda: (states()[20], states()[3]) == ("tombstone", "active"))
        await send(pilot, "/change 3")
        assert "Change which memory?" in notices(app)
        await pilot.press("alt+g")
        await until(pilot, lambda: "no answer to judge" in notices(app))


async def test_sessions_open_search_and_delete_after_a_question(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("f5")
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 2)
        app.screen.query_one(Input).value = "north"
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 1)
        await pilot.press("delete")
        assert isinstance(app.screen, Confirm)
        await pilot.press("enter")
        assert backend.deleted == [], "Enter alone deletes nothing"
        await pilot.press("delete", "y")
        await until(pilot, lambda: backend.deleted == [2])
        assert isinstance(app.screen, SessionsScreen)
        await until(pilot, lambda: "Tides" in str(app.screen.query_one(OptionList).get_option_at_index(0).prompt))
        await pilot.press("enter")
        await until(pilot, lambda: len(app.query_one(Conversation).views) == 2)
        await pilot.pause(0.05)
        questions = words(app, ".question")
        assert "How high is the spring tide?" in questions and "And the neap tide?" in questions
        assert STOPPED in words(app, ".remarks"), "an incomplete turn is shown as such"
        assert "44%" in words(app, "#gauge")
        await ask(pilot, "And next week?")
        assert backend.asked[-1].session == 5


async def test_a_session_is_named_tagged_exported_and_the_past_comes_back(backend: FakeBackend) -> None:
    backend.earlier = PastRow(("Before?",), backend.stored[0])
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "Tides in the first week of May” ended within an answer" in notices(app))
        await pilot.press("up")
        assert app.query_one(Composer).text == "Before?"
        for command in ("/tag quay", "/export"):
            await send(pilot, command)
        assert "is stored yet" in notices(app) and "nothing to export" in notices(app)
        await send(pilot, "/continue")
        await until(pilot, lambda: app.state.talk.session == 5 and len(app.query_one(Conversation).views) == 2)
        await send(pilot, "/rename Spring tides")
        await until(pilot, lambda: "Spring tides" in words(app, "#session-title"))
        await send(pilot, "/tag quay, boat")
        await until(pilot, lambda: "#quay #boat" in notices(app))
        await pilot.press("f5")
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 2)
        assert "#quay #boat" in str(app.screen.query_one(OptionList).get_option_at_index(0).prompt).replace("  ", " ")
        await pilot.press("escape")
        await send(pilot, "/export /tmp/tides.html")
        await send(pilot, "/export")
        await until(pilot, lambda: len(backend.exported) == 2)
        assert backend.exported[0] == (5, 42, Path("/tmp/tides.html"))
        assert backend.exported[1][2].name == "loci-5-spring-tides.md"


async def test_the_chat_can_continue_a_session_from_the_start(backend: FakeBackend) -> None:
    app = LociChat(backend, session=5)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: len(app.query_one(Conversation).views) == 2)
        await until(pilot, lambda: "44%" in words(app, "#gauge"))
        assert app.state.talk.session == 5


async def test_a_long_session_opens_at_its_end_shows_earlier_turns_on_page_up_and_stays_short(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [TurnRow(n, f"Question {n}?", f"Answer {n}.", False, None) for n in range(1, 26)]
    monkeypatch.setattr(backend, "turns", lambda session: rows)
    app = LociChat(backend, session=5)
    async with app.run_test(size=SMALL) as pilot:
        conversation = app.query_one(Conversation)
        await until(pilot, lambda: len(conversation.views) == PAGE)
        assert conversation.views[0].question == f"Question {26 - PAGE}?" and f"{25 - PAGE} earlier turns" in words(
            app, "#earlier"
        )
        await pilot.pause(0.05)
        conversation.scroll_home(animate=False)
        await pilot.pause(0.05)
        await pilot.press("pageup")
        await until(
            pilot, lambda: [view.question for view in conversation.views] == [row.question for row in rows[-2 * PAGE :]]
        )
        await ask(pilot, "Question 26?")
        assert [view.question for view in conversation.views] == [f"Question {n}?" for n in range(26 - PAGE, 27)]
        assert f"{25 - PAGE} earlier turns" in words(app, "#earlier") and conversation.last_turn == 50
        before = f"Question {25 - PAGE}?"
        for _ in range(PAGE + 2):
            await pilot.press("alt+up")
        await until(pilot, lambda: conversation.chosen is not None and conversation.chosen.question == before)
        assert f"Answer {25 - PAGE}." in conversation.chosen.said  # type: ignore[union-attr]
