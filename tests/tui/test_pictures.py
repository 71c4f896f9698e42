"""Pages as pictures: what a terminal says of itself, what is sent to it, and when the chat sends it."""

import re
import sys
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from chat_drive import SMALL, WIDE, ask, until, words
from chat_fakes import CITATIONS, QUOTE, FakeBackend
from numpy.typing import NDArray

from retrieval.errors import UnreadableDocument
from tests.terminal import ROOT, Terminal
from tui.app import LociChat
from tui.graphics import Graphics, graphics_of, typed_in
from tui.kitty import MARKS, NUMBER, placed
from tui.sixel import BAND, sixels
from tui.widgets.page import PagePicture
from tui.widgets.side import SidePane
from tui.widgets.source import SourcePane

CELL = (10, 20)
SIXEL = Graphics("sixel", CELL)


@pytest.mark.parametrize(
    ("answer", "cell", "drawn"),
    [
        (b"\x1b[?62;1;4;22c", CELL, "sixel"),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[6;20;10t\x1b[?62;c", None, "kitty"),
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?65;4;6c", CELL, "sixel"),  # its own protocol lacks placeholders
        (b"\x1b_Gi=31;EBADF\x1b\\\x1b[?62;c", CELL, None),
        (b"\x1b[?4;1c", CELL, None),  # the first number is the kind of the device
        (b"\x1b[?62;4c", None, None),  # nobody knows how large a character is
        (b"\x1b[6;0;0t\x1b[?62;4c", None, None),
        (b"", CELL, None),
    ],
)
def test_what_a_terminal_draws_is_told_from_its_answers(
    answer: bytes, cell: tuple[int, int] | None, drawn: str | None
) -> None:
    assert graphics_of(answer, cell) == (Graphics(drawn, CELL) if drawn else None)  # type: ignore[arg-type]


def test_what_is_typed_before_the_chat_stands_is_kept() -> None:
    assert typed_in(b"wh\x1b_Gi=31;OK\x1b\\o \x1b[6;20;10tis\x1b[?62;4c\x1b[A\x1bOP ca\xc3\xafn\r") == "who is caïn"


def page(high: int, wide: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (high, wide, 3), np.uint8)


def sixels_shown(sequence: str) -> NDArray[np.uint8]:
    """What a terminal makes of sixels, in levels of a hundred; rows and columns that no colour reaches are 255."""
    match = re.fullmatch(r"\x1b7\x1b\[(\d+);(\d+)H\x1bP0;1q\"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\\x1b8", sequence)
    assert match is not None
    wide, high = int(match[3]), int(match[4])
    shown = np.full((high, wide, 3), 255, np.uint8)
    palette: dict[str, list[int]] = {}
    colour, x, top = "", 0, 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([?-~])|([$-])", match[5]):
        if token[1]:
            palette[token[1]] = [int(token[n]) for n in (2, 3, 4)]
        elif token[5]:
            colour = token[5]
        elif token[9]:
            x, top = 0, top + BAND * (token[9] == "-")
        else:
            count, bits = int(token[6] or 1), ord(token[7] or token[8]) - 63
            for row in range(BAND):
                if bits >> row & 1:
                    shown[top + row, x : x + count] = palette[colour]
            x += count
    return shown


def test_sixels_are_the_picture() -> None:
    picture = page(60, 30)
    picture[20:50, 5:25] = 255  # runs that are counted
    encoded = sixels(picture, CELL)
    assert (encoded.columns, encoded.rows) == (3, 3)
    shown = sixels_shown(encoded.paint(4, 7, 0, 3))
    assert shown.shape == (60, 30, 3)
    assert np.abs(shown / 100 - picture / 255).max() <= 0.1 + 1e-6, "half a level"
    part = sixels_shown(encoded.paint(0, 0, 1, 2))
    assert part.shape[0] <= 40 and (part == shown[18 : 18 + len(part)]).all()
    assert encoded.paint(4, 7, 0, 3).startswith("\x1b7\x1b[8;5H\x1bP")


def test_kitty_gets_the_picture_and_a_place_for_each_of_its_rows() -> None:
    picture = page(80, 90)
    encoded = placed(picture, CELL)
    sequence = encoded.paint(4, 7, 1, 2)
    parts = re.findall(r"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", encoded.sent)
    assert all(len(data) <= 4096 for _, data in parts) and len(parts) > 1
    assert [control.rpartition("m=")[2] for control, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    told = dict(pair.split("=") for pair in parts[0][0].split(","))
    assert {"a": "T", "U": "1", "f": "24", "s": "90", "v": "80", "c": "9", "r": "4"}.items() <= told.items()
    assert zlib.decompress(b64decode("".join(data for _, data in parts))) == picture.tobytes()
    rows = re.findall("\x1b\\[(\\d+);(\\d+)H(\U0010eeee[^\x1b]*)", sequence)
    assert [(row[0], row[1], row[2][1], len(row[2])) for row in rows] == [
        ("8", "5", MARKS[1], 11),
        ("9", "5", MARKS[2], 11),
    ]
    assert f"\x1b[0;38;5;{NUMBER}m" in sequence and "\x1b_G" not in sequence and len(MARKS) == len(set(MARKS)) == 297


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pictures write to the terminal."""
    sequences: list[str] = []
    monkeypatch.setattr(PagePicture, "_write", lambda self, sequence: sequences.append(sequence))
    monkeypatch.setattr("tui.page_actions.cell_size", lambda: None)  # that of the terminal the tests run in
    return sequences


async def test_the_page_of_a_pdf_is_a_picture_where_the_terminal_can_and_i_turns_it_over(
    backend: FakeBackend, written: list[str]
) -> None:
    app = LociChat(backend, graphics=SIXEL)
    async with app.run_test(size=WIDE) as pilot:
        pane, picture = app.query_one(SourcePane), app.query_one(PagePicture)
        await ask(pilot)
        await until(pilot, lambda: picture.drawn is not None and pane.query_one("#passage").scroll_y > 10)
        await until(pilot, lambda: any("\x1bP" in one for one in written))
        assert backend.drawn == [(1, pane.columns * 10)] and "i picture" in words(app, "#side-hint")
        place = app.screen.find_widget(picture)
        assert picture.size.width == pane.columns and not app.query_one("#source-text").display
        top = place.visible_region
        assert f"\x1b[{top.y + 1};{top.x + 1}H" in written[-1]
        before = len(written)
        await pilot.press("f2", "home")
        await until(pilot, lambda: app.screen.find_widget(picture).region.y == top.y and len(written) > before)
        await pilot.press("i")
        await until(pilot, lambda: app.query_one("#source-text").display)
        assert QUOTE in words(app, "#source-text") and not picture.display
        await pilot.press("n")
        await until(pilot, lambda: "Duties.docx" in words(app, "#source-head"))
        await pilot.press("p")
        await until(pilot, lambda: "Yard handbook.pdf" in words(app, "#source-head"))
        assert len(backend.drawn) == 1, "the text is wanted now"
        await pilot.press("i")
        await until(pilot, lambda: picture.display)
        assert len(backend.drawn) == 2
        await pilot.press("n")
        await until(pilot, lambda: "Duties.docx" in words(app, "#source-head"))
        assert not picture.display and len(backend.drawn) == 2, "no page of a PDF"


async def test_a_dialog_is_not_painted_over(backend: FakeBackend, written: list[str]) -> None:
    app = LociChat(backend, graphics=SIXEL)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: bool(written))
        await pilot.press("f1")
        await pilot.pause(0.1)
        before = len(written)
        app.query_one(PagePicture).refresh()
        await pilot.pause(0.1)
        assert len(written) == before
        await pilot.press("escape")
        await until(pilot, lambda: len(written) > before)


async def test_a_narrower_pane_gets_a_narrower_picture(backend: FakeBackend, written: list[str]) -> None:
    app = LociChat(backend, graphics=Graphics("kitty", CELL))
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: bool(written))
        await pilot.resize_terminal(104, 40)
        await until(pilot, lambda: len(backend.drawn) > 1)
        narrow = app.query_one(SourcePane).columns
        assert backend.drawn[-1] == (1, narrow * 10) and backend.drawn[0][1] > narrow * 10
        await until(pilot, lambda: any(f"c={narrow}," in one for one in written))


async def test_a_terminal_that_keeps_pictures_gets_each_once(backend: FakeBackend, written: list[str]) -> None:
    app = LociChat(backend, graphics=Graphics("kitty", CELL))

    def given() -> list[str]:
        return [one for one in written if one.startswith("\x1b_Ga=T")]

    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: bool(given()))
        before = len(written)
        for key in ("f2", "home", "end"):
            await pilot.press(key)
        await until(pilot, lambda: len(written) > before)
        assert len(given()) == 1, "painted again where it was scrolled to"
        app.app_resume_signal.publish(app)
        await until(pilot, lambda: len(given()) == 2)
        await pilot.press("i")
        await until(pilot, lambda: written[-1].startswith("\x1b_Ga=d,"))


async def test_a_page_is_drawn_though_its_source_came_before_the_pane_had_a_width(
    backend: FakeBackend, written: list[str]
) -> None:
    app = LociChat(backend, graphics=SIXEL)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        side = app.query_one(SidePane)
        side.open("source")
        side.source.among(CITATIONS)
        side.source.show(backend.source(CITATIONS[0]))
        assert side.source.columns < 1
        await until(pilot, lambda: bool(written))


async def test_a_page_that_cannot_be_drawn_leaves_the_text_and_says_why(
    backend: FakeBackend, written: list[str]
) -> None:
    backend.page_error = UnreadableDocument("Yard handbook.pdf was changed since it was read.", "Read it again.")
    app = LociChat(backend, graphics=SIXEL)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "! Yard handbook.pdf was changed" in words(app, "#source-head"))
        assert QUOTE in words(app, "#source-text") and app.query_one("#source-text").display and not written


async def test_without_pictures_there_is_text_and_i_says_so(backend: FakeBackend, written: list[str]) -> None:
    app = LociChat(backend, typed="What is")
    async with app.run_test(size=SMALL) as pilot:
        assert app.query_one("#composer").text == "What is"  # type: ignore[attr-defined]
        await ask(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: QUOTE in words(app, "#source-text"))
        assert "picture" not in words(app, "#side-hint")
        await pilot.press("i")
        assert any("draws no pictures" in note.message for note in app._notifications)
        assert app.query_one("#source-text").display and not backend.drawn and not written


CHAT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from chat_fakes import FakeBackend
from tui.app import LociChat
from tui.graphics import ask_terminal
graphics, typed = ask_terminal()
LociChat(FakeBackend(), graphics=graphics, typed=typed).run()
"""


def test_a_terminal_that_does_not_answer_is_asked_while_other_work_is_done(tmp_path: Path) -> None:
    program = """
import time
from tui.graphics import ask_terminal
begun = time.monotonic()
ask_terminal(lambda: time.sleep(1.2))
print("both at once:", time.monotonic() - begun < 2.1)
"""
    chat = Terminal(tmp_path, ("-c", program), environment={"PYTHONPATH": str(ROOT)}, device="")
    try:
        chat.sees("both at once: True")
    finally:
        chat.close()


@pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals elsewhere tell no pixels")
@pytest.mark.parametrize(
    ("device", "begins"),
    [("\x1b[?62;4c", '\x1bP0;1q"1;1;'), ("\x1b_Gi=31;OK\x1b\\\x1b[?62;c", "\x1b_Ga=T,U=1,"), ("\x1b[?1;2c", "")],
    ids=["sixel", "kitty", "neither"],
)
def test_a_real_terminal_is_asked_and_gets_what_it_can_draw(tmp_path: Path, device: str, begins: str) -> None:
    chat = Terminal(
        tmp_path,
        ("-c", CHAT),
        size=(120, 40),
        environment={"PYTHONPATH": str(ROOT)},
        device=f"typed ahead{device}",
        pixels=(1200, 800),
    )
    try:
        chat.sees("typed ahead")
        chat.type("\r")
        chat.sees(begins or QUOTE.split()[-1])
        chat.type("\x11")
        assert chat.end() == 0
        assert b"Traceback" not in chat.seen
        assert bool(begins) == (b"\x1bP" in chat.seen or b"\x1b_Ga=T" in chat.seen)
    finally:
        chat.close()
