"""Questions edited and asked again, in branches of their session; answers copied."""

import threading
from dataclasses import replace

from chat_drive import SMALL, ask, notices, send, until, words
from chat_fakes import FakeBackend, answer_row
from chat_fakes import answer as fake_answer

from app.answer import Ask
from tui.app import LociChat
from tui.turn_actions import AGAIN
from tui.widgets.composer import Composer
from tui.widgets.conversation import Conversation


def questions(app: LociChat) -> list[str]:
    return [view.question for view in app.query_one(Conversation).views]


async def test_an_earlier_question_is_edited_in_a_branch_and_no_version_is_lost(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        for text in ("One?", "Two?", "Three?"):
            await ask(pilot, text)
        assert [one.after for one in backend.asked] == [None, 50, 51]
        # 1. Esc leaves it as it is
        await pilot.press("alt+up", "alt+up", "f6")
        composer = app.query_one(Composer)
        assert composer.text == "Two?" and "branch" in str(composer.border_title)
        await pilot.press("escape")
        assert composer.text == "" and questions(app) == ["One?", "Two?", "Three?"]
        # 2. another wording takes its place, and that of all after it
        await pilot.press("f6", "x", "enter")
        await until(pilot, lambda: app.state.run is None)
        assert questions(app) == ["One?", "Two?x"]
        assert (backend.asked[-1].after, backend.asked[-1].session) == (50, 8)
        await until(pilot, lambda: "‹2/2›" in words(app, ".versions"))
        await ask(pilot, "Four?")
        assert backend.asked[-1].after == 53, "the conversation goes on in its branch"
        # 3. what was is a key away, with all that it led to
        await pilot.press("alt+up", "alt+up", "f8")
        await until(pilot, lambda: questions(app) == ["One?", "Two?", "Three?"])
        await pilot.pause(0.05)
        assert "‹1/2›" in words(app, ".versions")
        chosen = app.query_one(Conversation).chosen
        assert chosen is not None and chosen.question == "Two?"
        await ask(pilot, "Five?")
        assert backend.asked[-1].after == 52, "after the branch on the screen, not after what was asked last"
        # 4. the first question can be edited, too
        await pilot.press("alt+up", "alt+up", "alt+up", "alt+up", "f6", "y", "enter")
        await until(pilot, lambda: app.state.run is None)
        assert questions(app) == ["One?y"] and backend.asked[-1].after == 0
        # 5. or asked otherwise at once
        await send(pilot, "/edit One and a half?")
        await until(pilot, lambda: app.state.run is None and questions(app) == ["One and a half?"])
        assert backend.asked[-1].after == 0


async def test_a_question_is_answered_again_otherwise(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await send(pilot, "/again")
        assert "no question yet" in notices(app)
        await ask(pilot, "One?")
        backend.gate = threading.Event()
        await pilot.press("f7")
        await pilot.press("f7")
        assert len(backend.asked) == 2, "one at a time"
        backend.gate.set()
        await until(pilot, lambda: app.state.run is None)
        again = backend.asked[-1]
        assert (again.question, again.after, again.temperature) == ("One?", 0, AGAIN) and again.seed == 1
        assert questions(app) == ["One?"]
        await send(pilot, "/version")
        await until(pilot, lambda: "‹1/2›" in words(app, ".versions"))


async def test_an_answer_or_a_block_of_it_is_copied(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await ask(pilot, "How?")
        view = app.query_one(Conversation).views[-1]
        written = replace(fake_answer(Ask("How?")), answer="So:\n\n```sh\nls -l\n```\n", citations=())
        view.answer = answer_row(written.to_json())
        await pilot.press("f9")
        assert app.clipboard == written.answer
        await send(pilot, "/copy 1")
        assert app.clipboard == "ls -l\n"
        await send(pilot, "/copy 2")
        assert "1 code block" in notices(app)
