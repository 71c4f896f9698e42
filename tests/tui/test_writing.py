"""The input line: several lines, earlier questions, completion; and files that are asked about without being stored."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from chat_drive import SMALL, ask, notices, send, until
from chat_fakes import FakeBackend
from textual import events
from textual.widgets import OptionList

from tui.app import LociChat
from tui.rows import PastRow
from tui.widgets.composer import Composer, paths
from tui.widgets.history import HistoryScreen
from tui.widgets.turn import TurnView


async def test_the_input_line_takes_new_lines_recalls_questions_and_completes_commands(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        await pilot.press("a", "ctrl+j", "b", "shift+enter", "c")
        assert composer.text == "a\nb\nc"
        await pilot.press("enter")
        await until(pilot, lambda: app.state.run is None and len(backend.asked) == 1)
        assert backend.asked[0].question == "a\nb\nc" and composer.text == ""
        await ask(pilot, "second")
        await pilot.press("x", "up")
        assert composer.text == "second"
        await pilot.press("up")
        assert composer.text == "a\nb\nc"
        composer.move_cursor((2, 1))
        await pilot.press("down", "down")
        assert composer.text == "x", "the draft comes back"
        composer.put("/ses")
        await pilot.press("tab")
        assert composer.text == "/sessions "


async def test_what_is_typed_before_a_question_was_taken_stays(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        composer.put("First?")
        await composer.on_key(events.Key("enter", "\r"))
        composer.put("First?\nAnd s")
        await until(pilot, lambda: composer.text == "And s" and composer.past == ["First?"])


async def test_keys_that_come_at_once_are_done_in_their_order(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        app.query_one(Composer).put("When is it servicedx")
        for key in ("backspace", "question_mark", "home", "left", "delete", "w", "enter"):
            app.post_message(events.Key(key, {"question_mark": "?", "w": "w"}.get(key)))
        await until(pilot, lambda: len(backend.asked) == 1)
        assert backend.asked[0].question == "when is it serviced?"


async def test_keys_are_seen_to_while_an_answer_is_put_in_its_place(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, begun = asyncio.Event(), asyncio.Event()
    complete = TurnView.complete

    async def slow(view: TurnView, *answer: Any) -> None:
        begun.set()
        await held.wait()
        await complete(view, *answer)

    monkeypatch.setattr(TurnView, "complete", slow)
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        composer.put("When?")
        app.post_message(events.Key("enter", None))  # the pilot's own way waits until all is done
        await asyncio.wait_for(begun.wait(), 10)
        app.post_message(events.Key("x", "x"))
        async with asyncio.timeout(10):
            while composer.text != "x":
                await asyncio.sleep(0.01)
        held.set()
        await until(pilot, lambda: app.state.run is None and app.state.talk.answer is not None)


@pytest.mark.parametrize("longest", [0.1, 30.0])
async def test_text_that_streams_lets_a_key_be_drawn_first_but_not_for_ever(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, longest: float
) -> None:
    monkeypatch.setattr("tui.app.KEY_FIRST", 30.0)
    monkeypatch.setattr("tui.app.LONGEST", longest)
    backend.gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, "When?")
        await until(pilot, lambda: app.state.talk.view is not None)
        view = app.state.talk.view
        assert view is not None
        if longest < 1:
            await until(pilot, lambda: view.streamed != "")
        else:
            await pilot.pause(0.3)
            assert view.streamed == ""
        backend.gate.set()
        await until(pilot, lambda: view.answer is not None)
        assert "every six months" in view.streamed, "what waited is there with the answer"


async def test_earlier_questions_are_searched_and_taken_back(backend: FakeBackend) -> None:
    backend.earlier = PastRow(("Who has the keys?", "How high is the tide?", "Where are\nthe keys?"), None)
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        await until(pilot, lambda: len(composer.past) == 3)
        await pilot.press(*"keys", "ctrl+r")
        assert isinstance(app.screen, HistoryScreen), "what was typed is searched"
        found = app.screen.query_one(OptionList)
        await until(pilot, lambda: found.option_count == 2)
        assert str(found.get_option_at_index(0).prompt) == "Where are the keys?", "the latest first"
        await pilot.press("ctrl+r", "enter")
        await until(pilot, lambda: composer.text == "Who has the keys?")
        await send(pilot, "/history boat")
        await until(pilot, lambda: "No question" in str(app.screen.query_one(OptionList).get_option_at_index(0).prompt))
        await pilot.press("enter", "escape")
        assert composer.has_focus


async def test_a_file_is_attached_without_being_stored(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, "/attach ~/harbour/tides.pdf")
        await until(pilot, lambda: "tides.pdf (17 characters)" in str(app.query_one(Composer).border_title))
        await ask(pilot, "How is it?")
        assert backend.asked[-1].attachments == (("tides.pdf", "The tide is high."),) and backend.added == []
        await send(pilot, "/attach a.exe")
        await until(pilot, lambda: "a.exe cannot be read." in notices(app))


def test_a_path_goes_on_to_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tides-may.pdf", "tides-june.pdf", ".tides"):
        (tmp_path / name).touch()
    (tmp_path / "yard").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    tides = ["tides-june.pdf", "tides-may.pdf"]
    typed = {
        "t": tides,
        "tides-m": tides[1:],
        "y": ["yard/"],
        "yard/": [],
        "x": [],
        "~/y": ["~/yard/"],
        "": [*tides, "yard/"],
    }
    assert {part: paths(part) for part in typed} == typed
    assert paths(f"{tmp_path}/.") == [f"{tmp_path}/.tides"] and paths("nowhere/a") == []


async def test_tab_completes_what_a_command_takes_and_then_shows_the_choices(
    backend: FakeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tides").mkdir()
    (tmp_path / "tides" / "may.txt").touch()
    (tmp_path / "tides" / "march.txt").touch()
    monkeypatch.chdir(tmp_path)
    app = LociChat(backend)
    after = {
        "/add t": "/add tides/",
        "/attach ti": "/attach tides/",
        "/rename t": "/rename t",
        "/theme dr": "/theme dracula",
    }
    async with app.run_test(size=SMALL) as pilot:
        composer = app.query_one(Composer)
        for typed, then in after.items():
            composer.put(typed)
            await pilot.press("tab")
            assert composer.text == then
        composer.put("/add tides/")
        await pilot.press("tab")
        assert composer.text == "/add tides/ma" and "Read a file" in str(composer.border_subtitle)
        await pilot.press("tab")
        assert composer.text == "/add tides/ma" and composer.border_subtitle == "march.txt may.txt"
