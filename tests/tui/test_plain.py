"""The chat without a screen: the same commands, in lines of words."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_fakes import QUESTION, FakeBackend, told

from app.answer import Ask, Started, Text, TurnEvent
from tui import plain, plain_commands
from tui.keymap import BY_SLASH, near
from tui.plain import PlainChat
from tui.words import STAGE_WORDS


class Talk:
    """A plain chat that is given lines, and what it said to each."""

    def __init__(
        self, backend: FakeBackend, session: int | None = None, incognito: bool = False, typed: bool = True
    ) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.chat = PlainChat(
            backend,
            ("main",),
            session,
            incognito=incognito,
            say=self.said.append,
            note=self.said.append,
            asked=self.asked.append,
            typed=typed,
        )

    def __call__(self, *lines: str) -> str:
        self.said.clear()
        waiting = iter(lines)

        def read() -> str:
            try:
                return next(waiting)
            except StopIteration:
                raise EOFError from None

        self.chat.run(read)
        return "\n".join(self.said)


def test_an_answer_its_sources_and_its_window_are_said_in_words(backend: FakeBackend) -> None:
    talk = Talk(backend)
    told = talk(QUESTION)
    assert "Searching the library." not in told and "every six months" in told
    assert "Source 1, verified: Yard handbook.pdf, page 12, Lifting gear: “The slipway crane" in told
    assert "Source 3, not found: Costs 2026.xlsx" in told and "Remembered as 12" in told
    assert not re.search("[✓✗~█░·]", told), "no sign stands for a word"
    assert talk.asked == [QUESTION]
    told = talk("/source 2", "/source 9", "/window")
    assert "The quote: The harbour engineer signs the log" in told and "has no source 9" in told
    assert "The window: 1,785 of 4,096 tokens, 44%." in told and "passages: 1,310" in told
    assert "Noted." in talk("/good") and backend.judged == [(41, "good", None)]


def test_what_was_stored_is_said_without_a_verdict_on_sources(backend: FakeBackend) -> None:
    backend.script = told
    said = Talk(backend)(QUESTION)
    assert said.startswith("I will remember: you row.") and "Remembered as 12" in said and "rounded" not in said


def test_branches_sessions_tags_and_export(backend: FakeBackend) -> None:
    talk = Talk(backend)
    talk("One?", "Two?", "/edit Two and a half?", "/again")
    assert [(one.question, one.after) for one in backend.asked] == [
        ("One?", 0), ("Two?", 50), ("Two and a half?", 50), ("Two and a half?", 50),
    ]  # fmt: skip
    assert backend.asked[-1].seed == 2 and backend.asked[-1].temperature > 0
    told = talk("/version")
    assert "Version 1 of 3." in told and "You asked: Two?" in told
    talk("/edit Three?")
    assert backend.asked[-1].after == 50
    assert "8: Mine, " in talk("/rename Mine") and "tagged quay boat" in talk("/tag quay, boat")
    told = talk("/export /tmp/mine.md", "/new", "/export", "/sessions tides", "/continue 5")
    assert backend.exported == [(8, 54, Path("/tmp/mine.md"))]
    assert "nothing to export" in told and "5: Tides in the first week of May" in told
    assert "Continuing “Tides" in told and "And the neap tide?" in told and "It was stopped there." in told
    talk("And then?")
    assert (backend.asked[-1].session, backend.asked[-1].after) == (5, 42)
    assert "no such session" in talk("/continue 99")
    assert "You asked: And the neap tide?" in Talk(backend, session=5)("/quit")


def test_memories_and_documents_are_changed_and_every_change_undone(backend: FakeBackend) -> None:
    talk = Talk(backend)
    talk(QUESTION)
    assert "3: You look after the lifting gear of the yard. (recalled for this answer, pinned, fact," in talk("/memory")
    talk("/forget 7", "/change 3 I look after cranes.", "/remember I row.", "/pin 9")
    assert [row.state for row in backend.known if row.id == 7] == ["tombstone"]
    assert "Nothing to undo." in talk("/undo", "/undo", "/undo", "/undo", "/undo", "/undo")
    assert {row.id: row.state for row in backend.known if row.id in (3, 7)} == {3: "active", 7: "active"}
    assert "likely to be used" in talk("/why #7")
    assert "d4: Yard handbook.pdf, 62 pages, 12 passages, /home" in talk("/library handbook")
    assert "no longer pinned" in talk("/pin d2") and "d3 yes takes it out" in talk("/remove d3")
    assert len(backend.shelved) == 4
    assert "Removed Tide" in talk("/remove d3 yes") and "no document d99" in talk("/remove d99")
    told = talk("/add ~/harbour", "/health")
    assert "2 added, 1 failed (9 passages)" in told and "changed since they were read: 2. Gone: 1." in told
    told = talk("/model", "/model large", "/model large yes")
    assert "812 MB RAM" in told and "/model large yes loads it." in told and "Answers from here on: Large" in told


def test_what_takes_long_is_said_once_and_nothing_else_of_what_a_turn_does(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "LONG", 0.2)
    written = backend.script

    def slow(ask: Ask) -> Iterator[TurnEvent]:
        yield Started("recall")
        for done in range(3):
            yield Started("retrieve", done, 3)
            time.sleep(0.15)
        yield from written(ask)

    backend.script = slow
    talk = Talk(backend)
    told = talk(QUESTION)
    assert [words for words in STAGE_WORDS.values() if words in told] == ["Searching the library"]
    assert told.count("Searching the library.") == 1 and told.index("Searching") < told.index("every six months")
    time.sleep(0.3)
    assert "\n".join(talk.said) == told, "the last stage ends with the turn"


def test_ctrl_c_stops_an_answer_and_errors_are_said(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(ask: Ask) -> Iterator[TurnEvent]:
        yield Started("answer")
        yield Text("The crane is ")
        raise KeyboardInterrupt

    talk = Talk(backend, incognito=True)
    backend.script = stopped
    told = talk("/off", "Why?", "/off")
    assert "The crane is \nStopped." in told and backend.asked[-1].store and talk.asked == []
    told = talk("/nonsense", "/theme", "/forget 99", "/rename", "/attach a.exe", "/good", "/change 7", "/why me")
    for words in (
        "/nonsense: there is no such command. /help lists all.",
        "needs the full screen",
        "no memory 99",
        "/rename TITLE",
        "cannot be read",
        "no answer",
        "/why ID tells",
    ):
        assert words in told
    monkeypatch.setattr(plain_commands, "edited", lambda text: f"{text} now?")
    backend.script = FakeBackend().script
    talk("/attach tide.txt", "/editor And", "/detach", "/edit")
    assert [(one.question, len(one.attachments)) for one in backend.asked[-2:]] == [
        ("And now?", 1),
        ("And now? now?", 0),
    ]
    assert "letters: 0 documents" in talk("/in letters") and backend.judged == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("/context", "Near it: /window, "),
        ("/Sources", "Near it: /source"),
        ("/delete", "Near it: /sessions"),
        ("/xyzzy", "command. /help lists all."),
        ("/themes", "command. /help lists all."),  # /theme is of the screen
    ],
)
def test_who_gives_no_command_is_told_those_near_it(backend: FakeBackend, given: str, named: str) -> None:
    told = Talk(backend)(given)
    assert named in told and told.endswith("/help lists all.") and backend.asked == []
    assert near("exit").startswith("Near it: /quit, ")


def test_an_editor_opens_at_a_terminal_alone_and_what_it_leaves_as_it_was_is_not_asked(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def left(text: str) -> str:
        opened.append(text)
        return text if len(opened) == 1 else " "

    monkeypatch.setattr(plain_commands, "edited", left)
    told = Talk(backend, typed=False)("One?", "/edit", "/editor", "Two?")
    assert opened == [] and told.count("An editor needs a terminal. Give a line with the question, or /edit TEXT.") == 2
    assert [one.question for one in backend.asked] == ["One?", "Two?"]
    told = Talk(backend)("Three?", "/edit", "/edit", "/editor")
    assert opened == ["Three?", "Three?", ""] and told.count("Nothing was asked") == 3
    assert [one.question for one in backend.asked] == ["One?", "Two?", "Three?"]


def test_all_commands_of_the_chat_but_those_of_its_screen_are_there(backend: FakeBackend) -> None:
    told = Talk(backend)("/help")
    missing = {name for name in BY_SLASH if f"/{name}" not in told}
    assert missing == {"copy", "theme", "history", "help"} - {"help"}
