"""The chat driven by keys, over a fake backend."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from chat_drive import SMALL, WIDE, ask, notices, send, until, words
from chat_fakes import QUESTION, QUOTE, FakeBackend, told
from textual.widgets import Markdown, OptionList, Static

from app.answer import Ask, Started, Text, TurnEvent
from retrieval.errors import EmbedderMismatch
from tui.app import LociChat
from tui.keymap import ACTIONS, BY_SLASH
from tui.palette import OFFERED, Actions
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation
from tui.widgets.dialogs import Confirm, HelpScreen
from tui.widgets.side import SidePane
from tui.widgets.sources import Sources
from tui.widgets.turn import STOPPED, TurnView


async def test_a_question_streams_an_answer_that_is_replaced_by_the_checked_one(backend: FakeBackend) -> None:
    backend.gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await send(pilot, QUESTION)
        await until(pilot, lambda: "The slipway crane" in app.query_one("TurnView Markdown", Markdown).source)
        assert "[1]" not in app.query_one("TurnView Markdown", Markdown).source
        assert "Answering" in words(app, ".stage")
        backend.gate.set()
        await until(pilot, lambda: app.state.run is None)
        shown = app.query_one("TurnView Markdown", Markdown).source
        assert "October [[1]](cite:1)" in shown and "[[3]](cite:3)" in shown
        assert words(app, ".stage") == ""
        assert "confidence 87%" in words(app, ".remarks") and "tokens/s" not in words(app, ".remarks")  # it was chosen
        assert "Remembered #12" in words(app, ".remarks")
        assert backend.asked[0].question == QUESTION


async def test_escape_stops_the_answer_keeps_what_came_and_closes_the_turn(backend: FakeBackend) -> None:
    backend.gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, QUESTION)
        await until(pilot, lambda: "The slipway" in app.query_one("TurnView Markdown", Markdown).source)
        await pilot.press("escape")
        assert "Stopping" in words(app, ".stage")
        backend.gate.set()
        await until(pilot, lambda: app.state.run is None)
        partial = app.query_one("TurnView Markdown", Markdown).source
        assert partial.startswith("The slipway") and "next service" not in partial
        assert STOPPED in words(app, ".remarks")
        assert backend.closed == 1
        backend.gate = None
        await ask(pilot, "And now?")
        assert [asked.session for asked in backend.asked] == [8, 8], "the stopped first turn's session goes on"


async def test_a_second_question_waits_for_the_first(backend: FakeBackend) -> None:
    backend.gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, "One?")
        await send(pilot, "Two?")
        assert app.query_one(Composer).text == "Two?", "what was typed is not lost"
        backend.gate.set()
        await until(pilot, lambda: app.state.run is None)
        assert len(backend.asked) == 1


async def test_what_was_stored_is_said_without_a_verdict_on_sources(backend: FakeBackend) -> None:
    backend.script = told
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        assert "Remembered #12" in words(app, ".remarks") and "rounded" not in words(app, ".remarks")


async def test_a_very_fast_stream_is_drawn_in_few_updates(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(_: Ask) -> Iterator[TurnEvent]:
        yield Started("answer")
        for number in range(3000):
            yield Text(f"{number} ")

    drawn = []
    appended = Markdown.append
    monkeypatch.setattr(Markdown, "append", lambda self, text: (drawn.append(text), appended(self, text))[1])
    backend.script = script
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot)
        assert app.query_one("TurnView Markdown", Markdown).source.split() == [str(n) for n in range(3000)]
        assert len(drawn) < 300


async def test_f2_shows_the_source_with_the_quote_highlighted_and_steps_through_them(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot)
        assert app.query_one(SidePane).showing is None, "no room beside the answer at 80 columns"
        await pilot.press("f2")
        await until(pilot, lambda: QUOTE in words(app, "#source-text"))
        head = words(app, "#source-head")
        assert "✓ verified" in head and "page 12, Lifting gear" in head and "Yard handbook.pdf" in head
        passage = app.query_one("#source-text", Static).content
        highlighted = [str(passage)[span.start : span.end] for span in passage.spans if "reverse" in str(span.style)]
        assert highlighted == [QUOTE]
        assert not app.query_one(Conversation).display, "on a small terminal the pane takes the conversation's place"
        await pilot.press("n")
        await until(pilot, lambda: "~ repaired" in words(app, "#source-head"))
        await pilot.press("3")
        await until(pilot, lambda: "✗ not found" in words(app, "#source-head"))
        assert "sheet Yard, cells B4:C4" in words(app, "#source-head")
        await pilot.press("escape")
        assert app.query_one(SidePane).showing is None and app.query_one(Conversation).display
        assert app.focused is app.query_one(Composer)


async def test_f2_without_a_source_says_so_and_leaves_the_keys_to_the_input_line(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("f2", "n", "p")
        await until(pilot, lambda: app.query_one(Composer).text == "np")
        assert app.query_one(SidePane).showing is None and app.focused is app.query_one(Composer)
        assert [toast.message for toast in app._notifications] == ["No source yet."]


async def test_on_a_wide_terminal_the_first_source_stands_beside_the_answer_until_it_is_closed(
    backend: FakeBackend,
) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: QUOTE in words(app, "#source-text"))
        assert app.query_one(Conversation).display and app.focused is app.query_one(Composer)
        await pilot.press("escape")
        assert app.query_one(SidePane).showing is None
        await ask(pilot)
        assert app.query_one(SidePane).showing is None
        await send(pilot, "/source 3")
        await until(pilot, lambda: "✗ not found" in words(app, "#source-head"))
        await send(pilot, "/source 9")
        await until(pilot, lambda: "no source 9" in notices(app))


async def test_enter_in_the_list_of_citations_opens_that_source(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        listed = app.query_one(Sources)
        assert [citation.n for citation in listed.citations] == [1, 2, 3]
        listed.focus()
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Duties.docx" in words(app, "#source-head"))


async def test_a_click_on_a_mark_opens_its_source(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        answer = app.query_one("TurnView Markdown", Markdown)
        answer.post_message(Markdown.LinkClicked(answer, "cite:2"))
        await until(pilot, lambda: "Duties.docx" in words(app, "#source-head"))


async def test_the_window_meter_shows_every_part_and_what_was_left_out(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot)
        assert "44% of 4.1K" in words(app, "#gauge")
        await pilot.press("f4")
        shown = words(app, "#meter")
        for part in ("system", "memories", "passages", "documents", "history", "question", "free"):
            assert part in shown
        assert "1,785 of 4,096 tokens" in shown and "1,310  32%" in shown and "2,311  56%" in shown
        assert "Tide tables 2026.csv" in shown and "does not fit the window: 6,120 tokens" in shown
        assert "Pinned (1)\n· Duties.docx" in shown
        assert "812 MB RAM" in words(app, "#model-line")


async def test_the_palette_offers_every_action(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        provider = Actions(app.screen)
        discovered = [hit.text async for hit in provider.discover()]
        assert discovered == [action.title for action in ACTIONS if action.id != "palette"]
        for action in OFFERED:
            assert callable(getattr(app, f"action_{action.run}"))
            assert action.title in [hit.text async for hit in provider.search(action.title)]
        await pilot.press("ctrl+p")
        await until(pilot, lambda: app.screen.__class__.__name__ == "CommandPalette")
        await pilot.press(*"remember", "enter", "enter")
        await until(pilot, lambda: app.query_one(Composer).text == "/remember ")


def test_ids_keys_and_commands_are_unique() -> None:
    for values in ([a.id for a in ACTIONS], [a.keys for a in ACTIONS if a.keys], [a.slash for a in ACTIONS if a.slash]):
        assert len(values) == len(set(values))
    assert all(action.tooltip for action in ACTIONS)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EmbedderMismatch("The library was made with A.", "Run loci library reindex."), "Run loci library reindex."),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
async def test_an_error_in_a_turn_becomes_a_message_and_the_chat_goes_on(
    backend: FakeBackend, error: Exception, said: str
) -> None:
    def script(_: Ask) -> Iterator[TurnEvent]:
        yield Text("It is ")
        raise error

    whole, backend.script = backend.script, script
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot)
        assert said in notices(app)
        assert app.query_one("TurnView Markdown", Markdown).source.startswith("It is")
        backend.script = whole
        await ask(pilot)
        assert app.query_one(Conversation).views[-1].answer is not None


async def test_a_load_is_shown_as_it_goes_on(backend: FakeBackend) -> None:
    backend.model_gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: words(app, "#model-line") == "Loading the model: 1.0/4.0 GB, 900 MB/s")
        backend.model_gate.set()
        await until(pilot, lambda: "Loading" not in words(app, "#model-line"))


async def test_a_model_that_cannot_load_is_said_and_the_rest_works(backend: FakeBackend) -> None:
    backend.model_error = EmbedderMismatch("No such model.", "Run loci model list.")
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "No such model." in notices(app))
        assert "No model" in words(app, "#model-line")
        await pilot.press("f5")
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count == 2)


async def test_another_model_is_planned_asked_for_and_loaded_in_the_same_chat(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot)
        await send(pilot, "/model /models/huge.gguf")
        await until(pilot, lambda: "huge.gguf" in notices(app))
        assert not isinstance(app.screen, Confirm), "what does not fit is not offered"
        for key in ("enter", "y"):
            await send(pilot, "/model /models/large.gguf")
            await until(pilot, lambda: isinstance(app.screen, Confirm))
            assert "4.1 GiB of 8.0 GiB" in str(app.screen.query_one(Static).render())
            await pilot.press(key)
        await until(pilot, lambda: "Large" in words(app, "#model-line"))
        assert len(app.query_one(Conversation).views) == 1 and not app.query_one(Composer).border_title
        await send(pilot, "/model /models/broken.gguf")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: "The file is damaged." in notices(app))
        assert "Large" in words(app, "#model-line"), "the one before goes on"
        await until(pilot, lambda: backend.loads == 2)  # behind the prompt, where it had made room for the broken one
        assert "Large" in words(app, "#model-line")


async def test_slash_commands(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await send(pilot, "/good")
        assert "no answer to judge" in notices(app)
        await ask(pilot)
        await send(pilot, "/good")
        await send(pilot, "/correct In May.")
        await until(pilot, lambda: backend.judged == [(41, "good", None), (41, "correct", "In May.")])
        await send(pilot, "/remember I live on the quay.")
        await until(pilot, lambda: "Remembered #10" in notices(app))
        await send(pilot, "/forget 10")
        await until(pilot, lambda: "Forgot #10" in notices(app))
        await send(pilot, "/forget 99")
        await until(pilot, lambda: "There is no memory 99." in notices(app))
        await send(pilot, "/model")
        await until(pilot, lambda: "deepseek_v3" in notices(app))
        await send(pilot, "/nonsense")
        assert "No such command" in notices(app)
        await send(pilot, "/context")
        assert "/context: there is no such command. Near it: /window, /continue." in notices(app)
        await send(pilot, "/bad ")
        await send(pilot, "/in letters")
        assert app.state.talk.scope == ("letters",) and app.query_one(Conversation).views == []
        await until(pilot, lambda: "no documents in letters" in words(app, "#welcome"))
        await send(pilot, "/help")
        assert isinstance(app.screen, HelpScreen)
        help_text = "\n".join(str(static.render()) for static in app.screen.query(Static))
        assert all(f"/{slash}" in help_text for slash in BY_SLASH)
        await pilot.press("escape")
        await send(pilot, "/quit")
    assert app.return_code == 0


async def test_a_path_at_the_start_of_a_question_is_no_command(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot, "/etc/hosts holds what?")
        assert backend.asked[0].question == "/etc/hosts holds what?"


async def test_help_names_the_keys_of_the_pane_in_use(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.press("f3", "f1")
        help_text = "\n".join(str(static.render()) for static in app.screen.query(Static))
        assert "Here: Memory" in help_text and "Forget or restore" in help_text


async def test_an_empty_library_says_what_to_do() -> None:
    app = LociChat(FakeBackend(documents=0))
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "/add ~/Documents" in words(app, "#welcome"))


async def test_a_new_session_leaves_the_running_turn_behind(backend: FakeBackend) -> None:
    backend.gate = threading.Event()
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, QUESTION)
        await pilot.press("ctrl+n")
        backend.gate.set()
        await until(pilot, lambda: app.state.run is None)
        assert app.query_one(Conversation).views == [] and app.state.talk.session is None
        assert backend.closed == 1


def test_importing_the_chat_loads_neither_torch_nor_a_store() -> None:
    heavy = "{'torch', 'faiss', 'sqlalchemy', 'sentence_transformers', 'llama_cpp', 'numpy'}"
    code = f"import sys, tui.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_control_characters_in_names_and_questions_do_not_reach_the_terminal(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot, "Where\x1b[2J is\x9b31m it\x07?")
        drawn = app.screen._compositor.render_update(full=True)
        assert not set("\x1b\x9b\x07") & set(
            "".join(segment.text for line in drawn.strips for segment in line)  # type: ignore[union-attr]
        )


async def test_a_turn_whose_parts_are_taken_away_meanwhile_ends_quietly(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        settle, taken = TurnView._settle, []

        async def settle_and_lose(turn: TurnView, text: str) -> None:
            await settle(turn, text)
            await turn.remove_children()
            taken.append(turn)

        monkeypatch.setattr(TurnView, "_settle", settle_and_lose)
        await ask(pilot)
        assert len(taken) == 1
        await taken[0].stream("more", "and why")
        await taken[0].end("cancelled")
        assert taken[0].answer is not None and taken[0].streamed.endswith("more")
