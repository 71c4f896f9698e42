"""A first visit to the chat, by somebody who has only the screen and F1: `python tests/tui/tour.py docs/img/tour FILM`.

tmux drives a real `loci chat` over the sample library in a profile of its own. Each step types, waits for words on the
screen and draws it as SVG; a step whose words do not come ends the tour with what stands there instead. FILM is all of
it as one animated SVG, as it is typed, with waits cut short.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from film import Film, Shot
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import TerminalTheme

ROOT = Path(__file__).parents[2]
SIZE = (100, 30)
PATIENCE = 240.0
"""Seconds for the words of a step."""
STROKE = 0.12
"""Seconds between two strokes of keys."""
AFTER_A_KEY = 0.3
"""Seconds more after a key, or after all of a text."""
AFTER_ESCAPE = 2.0
"""Seconds that are not in the film."""
PATIENCE_OF_A_KEY = 40.0
"""Seconds until a key has changed the words on the screen."""
WAITED = 0.3
"""Seconds in the film for each screen between a key and what it is waited for, however long that took."""
THEME = TerminalTheme((18, 18, 18), (224, 224, 224), [(0, 0, 0)] * 8)


@dataclass(frozen=True)
class Step:
    name: str
    keys: tuple[str, ...]
    """As tmux names them; text otherwise, as it is."""
    sees: tuple[str, ...]
    drawn: bool = True
    caption: str = ""
    """In the film; empty where that of the step before still holds."""

    @property
    def looked_at(self) -> float:
        """Seconds in the film for what has come."""
        return 2.6 if self.drawn else 0.9


def steps(place: Path) -> list[Step]:
    return [
        Step(
            "first-screen",
            (),
            ("There are no documents in main yet", "Loci embedded"),
            caption="loci chat, for the first time",
        ),
        Step("help", ("F1",), ("Anywhere", "F2"), caption="F1: every key and command, those of the pane in use first"),
        Step(
            "added",
            ("Escape", "/add ~/tarnwick", "Enter"),
            ("added (", "documents"),
            caption="/add: a folder is read in the background",
        ),
        Step(
            "answer",
            ("How long is the north pier?", "Enter"),
            ("✓ verified", "confidence"),
            caption="A question, and where its answer stands",
        ),
        Step("source", ("F2",), ("stands in the source exactly",), caption="F2: the quote inside its document"),
        Step(
            "told",
            ("Escape", "/remember My boat is called Whimbrel.", "Enter"),
            ("Remembered #",),
            False,
            caption="/remember: something about you",
        ),
        Step("told-too", ("/remember I used to moor at berth 12.", "Enter"), ("Remembered #2",), False),
        Step(
            "memory",
            ("F3",),
            ("berth 12", "f forget"),
            caption="F3: what is known of you; p pins, f forgets until f restores",
        ),
        Step("pinned", ("Down", "p"), ("pinned",), False),
        Step("forgotten", ("Down", "f"), ("forgotten, f restores it", "pinned")),
        Step("library", ("Escape", "C-l"), ("Harbour Byelaws", "/ filter"), caption="Ctrl+L: the documents"),
        Step(
            "model",
            ("Escape", "/model ~/another", "Enter"),
            ("Load Loci embedded", "y loads it"),
            caption="/model: another one is planned, then loaded into the same chat",
        ),
        Step("switched", ("y",), ("Answers from here on",), False),
        Step(
            "new",
            ("C-n",),
            ("continues an earlier session",),
            False,
            caption="Ctrl+N: another session; F5 searches all that was said in any",
        ),
        Step("sessions", ("F5", "north pier"), ("north pier", "1 turn")),
        Step("reopened", ("Enter",), ("✓ verified", "How long is the north pier?"), False),
        Step("exported", ("/export ~/pier.md", "Enter"), ("Written",), caption="/export: the session as Markdown"),
    ]


class Tmux:
    """One tmux server of its own, with one pane."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")

    def __call__(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words], check=True, capture_output=True, text=True
        ).stdout

    def screen(self, colours: bool = False) -> str:
        return self("capture-pane", "-p", *(["-e", "-N"] if colours else []))

    def waits_for(self, words: tuple[str, ...], meanwhile: Callable[[], None]) -> None:
        end = time.monotonic() + PATIENCE
        while not all(word in self.screen() for word in words):
            meanwhile()
            if time.monotonic() > end:
                raise SystemExit(f"{words} did not come:\n{self.screen()}")
            time.sleep(0.2)


@contextmanager
def chat(place: Path) -> Iterator[Tmux]:
    """`loci chat` in a pane, with an empty profile."""
    tmux = Tmux(place)
    variables = {
        "HOME": str(place),
        "LOCI_HOME": str(place / "profile"),
        "LOCI_RESIDENT__ENABLED": "false",
        "COLORTERM": "truecolor",
        "TEXTUAL_ANIMATIONS": "none",
        "PYTHONPATH": str(ROOT),
    }
    command = shlex.join(["env", *(f"{name}={value}" for name, value in variables.items())])
    run = f"{command} {shlex.quote(sys.executable)} -m app.cli.main chat"
    tmux("new-session", "-d", "-x", str(SIZE[0]), "-y", str(SIZE[1]), "-c", str(place), run)
    try:
        yield tmux
    finally:
        tmux("kill-server")


def svg(screen: str, title: str) -> str:
    """A pane's text with its colours, as an SVG that refers to nothing on the network."""
    from picture import FONT_FACE

    console = Console(width=SIZE[0], record=True, file=StringIO(), color_system="truecolor")
    for line in AnsiDecoder().decode(screen.rstrip("\n")):  # one for all: a line goes on with the colours of the last
        console.print(line, no_wrap=True, overflow="crop")
    return FONT_FACE.sub("", console.export_svg(title=title, theme=THEME))


def strokes(key: str) -> list[list[str]]:
    """What tmux is to send of `key`, one after the other: a key that has a name, or text, two letters at a time."""
    if key[:2] == "C-" or key in NAMED:
        return [[key]]
    return [["-l", key[start : start + 2]] for start in range(0, len(key), 2)]


class Camera:
    """Types into a terminal and keeps what is seen of it, in the time that a person would take."""

    def __init__(self, tmux: Tmux) -> None:
        self.shots: list[Shot] = []
        self.caption = ""
        self._tmux = tmux
        self._words = ""

    def type(self, key: str) -> None:
        """Each stroke waits for what it does, and for longer after Escape, which makes another key of a letter that
        comes at once."""
        for stroke in strokes(key):
            before, end = self._tmux.screen(), time.monotonic() + PATIENCE_OF_A_KEY
            self._tmux("send-keys", *stroke)
            time.sleep(STROKE if key != "Escape" else AFTER_ESCAPE)
            while key not in MARKED and self._tmux.screen() == before and time.monotonic() < end:
                time.sleep(STROKE)
            self.shoot(STROKE)
        self.shoot(AFTER_A_KEY)

    def shoot(self, seconds: float) -> None:
        self.shots.append(Shot(self._tmux.screen(colours=True), seconds, self.caption))

    def shoot_change(self) -> None:
        if (now := self._tmux.screen()) != self._words:  # in its words: the cursor blinks
            self._words = now
            self.shoot(WAITED)


def tour(out: Path, film: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="loci-tour-") as folder:
        place = Path(folder)
        shutil.copytree(ROOT / "data/model", place / "another")
        shutil.copytree(ROOT / "data/sample/tarnwick", place / "tarnwick")
        with chat(place) as tmux:
            camera = Camera(tmux)
            for step in steps(place):
                camera.caption = step.caption or camera.caption
                for key in step.keys:
                    camera.type(key)
                tmux.waits_for(step.sees, camera.shoot_change)
                time.sleep(0.5)  # for what is drawn after the words
                camera.shoot(step.looked_at)
                if step.drawn:
                    (out / f"{step.name}.svg").write_text(svg(tmux.screen(colours=True), f"loci chat: {step.name}"))
                print(step.name, flush=True)
        if "north pier" not in (place / "pier.md").read_text("utf-8"):
            raise SystemExit("The export lacks the question.")
    film.write_text(Film(SIZE, THEME, "loci chat").animated(camera.shots))


NAMED = frozenset({"Enter", "Escape", "Up", "Down", "F1", "F2", "F3", "F5"})
MARKED = frozenset({"Up", "Down"})
"""Keys that change no word of the screen, only its colours."""

if __name__ == "__main__":
    tour(Path(sys.argv[1]), Path(sys.argv[2]))
