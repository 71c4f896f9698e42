"""Documents in the chat: read in the background, browsed, filtered, looked at, pinned, removed, looked over."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chat_drive import SMALL, WIDE, ask, notices, send, until, words
from chat_fakes import MODEL, QUOTE, FakeBackend, answer
from textual.widgets import OptionList

from app.answer import Ask, Completed, Started, TurnEvent
from tui import library_actions
from tui.app import LociChat
from tui.rows import HealthRow
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.dialogs import Confirm
from tui.widgets.library import LibraryPane


async def test_files_are_read_one_after_another_while_the_conversation_goes_on_until_escape(
    backend: FakeBackend,
) -> None:
    backend.add_gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await send(pilot, "/add ~/harbour")
        await until(pilot, lambda: "0 of 3  file0.pdf" in notices(app))
        await until(pilot, lambda: "reading 0 of 3" in words(app, "#scope"))
        await ask(pilot)
        assert app.query_one(Conversation).views[0].answer is not None
        await send(pilot, "/add /tides")
        assert "Will be read next" in notices(app)
        backend.add_gate.set()
        await until(pilot, lambda: len(backend.added) == 2 and app.state.adding is None)
        assert backend.added[1] == ["/tides"]
        assert "2 added, 1 failed (9 passages)" in notices(app) and "The file is encrypted." in notices(app)
        await until(pilot, lambda: "18 documents" in words(app, "#scope"))
        assert "reading" not in words(app, "#scope")
        backend.add_gate.clear()
        for path in ("/harbour", "/never"):
            await send(pilot, f"/add {path}")
        await pilot.press("escape")
        backend.add_gate.set()
        await until(pilot, lambda: "Stopped reading /harbour" in notices(app))
        assert app.state.adding is None and len(backend.added) == 3, "what waited is not read either"


async def test_an_answer_that_found_nothing_while_files_were_read_says_so(backend: FakeBackend) -> None:
    def refused(ask: Ask) -> Iterator[TurnEvent]:
        yield Started("retrieve")
        yield Completed(replace(answer(ask), abstained=True, citations=()))

    backend.script, backend.add_gate = refused, threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await send(pilot, "/add ~/harbour")
        await until(pilot, lambda: app.state.adding is not None)
        await ask(pilot)
        assert "F7 asks again" in notices(app)
        backend.add_gate.set()
        await until(pilot, lambda: app.state.adding is None)
        await send(pilot, "/new")
        await ask(pilot)
        assert app.query_one(Conversation).views and "F7" not in notices(app)


async def test_the_library_is_browsed_filtered_looked_at_pinned_and_removed(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    paged: list[tuple[str, int]] = []
    monkeypatch.setattr(library_actions, "paged", lambda text, line: paged.append((text, line)))
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.press("ctrl+l")
        documents, pane = app.query_one("#library-list", OptionList), app.query_one(LibraryPane)
        await until(pilot, lambda: documents.option_count == 4)
        await until(pilot, lambda: "/home/mara/harbour/Costs 2026.xlsx" in words(app, "#library-text"))
        assert QUOTE[:30] in words(app, "#library-text"), "how its text begins"
        assert "d2 Duties.docx  4 pages · pinned" in str(documents.get_option_at_index(1).prompt)
        await pilot.press("slash", *"TABLES 26", "enter")
        await until(pilot, lambda: documents.option_count == 1)
        await until(pilot, lambda: "d3 · 9 passages · 12.6 KB" in words(app, "#library-text"))
        app.state.model = replace(MODEL, writes_prose=True)
        await pilot.press("p")
        await until(pilot, lambda: "Pinned Tide tables 2026.csv" in notices(app))
        await until(pilot, lambda: "The window has room for 1 of 2." in notices(app))
        await until(pilot, lambda: "pinned" in str(documents.get_option_at_index(0).prompt))
        await pilot.press("d")
        assert isinstance(app.screen, Confirm)
        await pilot.press("enter")
        assert len(backend.shelved) == 4, "Enter alone removes nothing"
        await pilot.press("delete", "y")
        await until(pilot, lambda: "Removed Tide tables 2026.csv" in notices(app))
        await until(pilot, lambda: "No document has these words" in str(documents.get_option_at_index(0).prompt))
        assert pane.chosen is None and words(app, "#library-text") == ""
        await send(pilot, "/library handbook")
        await until(pilot, lambda: pane.chosen is not None and pane.chosen.id == "d4")
        monkeypatch.setattr(app, "leave_terminal", lambda run: _ran(run))
        await pilot.press("enter")
        await until(pilot, lambda: paged != [])
        await pilot.press("a")
        await until(pilot, lambda: app.query_one(Composer).text == "/add ")
        await send(pilot, "/pin d4")
        await until(pilot, lambda: "Pinned Yard handbook.pdf (d4)" in notices(app))


async def test_health_names_what_is_amiss_and_reads_changed_files_again(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix == ".pdf")
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, "/health")
        await until(pilot, lambda: "2 files changed since" in words(app, "#library-text"))
        told = words(app, "#library-text")
        assert "1 file gone" in told and "/home/mara/harbour/old.txt" in told and "The database is sound." in told
        await pilot.pause(0.3)
        assert "2 files changed" in words(app, "#library-text"), "the text under the cursor does not take its place"
        await pilot.press("r")
        await until(pilot, lambda: backend.added == [["/home/mara/harbour/Yard handbook.pdf"]])
        monkeypatch.setattr(backend, "health", lambda scope: HealthRow((), ("The index lacks d3",), 0, 0, ()))
        await pilot.press("h")
        await until(pilot, lambda: "✗ The index lacks d3; loci doctor" in words(app, "#library-text"))
        assert "Every file is as it was read." in words(app, "#library-text")


async def _ran(run: Callable[[], None]) -> None:
    run()
