"""Text of pictures, recognised by the program `tesseract` where it is installed. Knows no formats of documents.

Tesseract decodes the pictures, which may be hostile, and so runs as a process of its own: it inherits the worker's
limit of memory, and ends with its time or with the worker.
"""

import locale
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from retrieval.errors import OcrMissing, UnreadableDocument

_PAGE_SECONDS = 60.0
"""For one picture; a dense page at 300 dots per inch takes about 3 s."""
_LANGUAGES = 4
"""Most languages that are looked for at once where none are set: each costs its time."""
_NOISE = 0.35
"""Certainty below which what was recognised is no text but the grain of a picture."""
_LIST_SECONDS = 20.0
_CODES = {
    "de": "deu", "en": "eng", "es": "spa", "fr": "fra", "it": "ita", "nl": "nld", "pt": "por", "ru": "rus", "sv": "swe",
    "da": "dan", "no": "nor", "nb": "nor", "fi": "fin", "pl": "pol", "cs": "ces", "tr": "tur", "el": "ell", "uk": "ukr",
    "ja": "jpn", "ko": "kor", "zh": "chi_sim", "ar": "ara", "he": "heb", "hi": "hin", "hu": "hun", "ro": "ron",
}  # fmt: skip
"""Tesseract's names of languages (ISO 639-2/T, mostly) by those of the locale (ISO 639-1)."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """One page of a picture; `number` counts from 1."""

    number: int
    paragraphs: tuple[str, ...]
    certainty: float
    """0 to 1: tesseract's own, a mean over the characters."""


@dataclass(slots=True)
class Scans:
    """How the pictures of one file are read, and how much time is left for them."""

    languages: str = ""
    """As tesseract names them, joined by `+`; empty: those installed, the user's own and English before others."""
    seconds: float = 900.0
    begun: Callable[[], None] = lambda: None
    """Called before the first picture, since a file with scans takes longer than others."""
    _deadline: float | None = field(default=None, init=False)
    _looked_for: str = field(default="", init=False)

    def recognise(self, picture: Path | bytes) -> list[Recognised]:
        """The pages of a picture (a TIFF may have several), without those that hold no text.

        :raises OcrMissing: there is no tesseract, or not with these languages.
        :raises UnreadableDocument: tesseract cannot read it, or not within the time that is left.
        """
        if self._deadline is None:
            self._looked_for = self.languages or _usual(_known_languages())
            self.begun()
            self._deadline = time.monotonic() + self.seconds
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise UnreadableDocument(f"Recognising its text took longer than {self.seconds:g} s.", _MORE_TIME)
        allowed = left if isinstance(picture, Path) else min(left, _PAGE_SECONDS)
        return list(_pages(_tesseract(picture, self._looked_for, allowed)))


_MORE_TIME = "Set retrieval.ocr_seconds higher."


def install_hint(*languages: str) -> str:
    """The command that installs tesseract, with languages, on a machine like this one."""
    if sys.platform == "darwin":
        return "Install it: `brew install tesseract" + (" tesseract-lang`." if languages else "`.")
    if shutil.which("dnf"):
        names = ["tesseract", *(f"tesseract-langpack-{name}" for name in languages)]
        return f"Install it: `sudo dnf install {' '.join(names)}`."
    if shutil.which("pacman"):
        return f"Install it: `sudo pacman -S {' '.join(['tesseract', *(f'tesseract-data-{n}' for n in languages)])}`."
    names = ["tesseract-ocr", *(f"tesseract-ocr-{name.replace('_', '-')}" for name in languages)]
    return f"Install it: `sudo apt install {' '.join(names)}`."


def installed(languages: str) -> str:
    """In words what would recognise pictures now, where `languages` are set: another program may find what this one
    does not."""
    try:
        version = _run(["--version"], None, _LIST_SECONDS).decode("utf-8", "replace").partition("\n")[0]
        # Blanks as in the metadata of a document, where this is kept and compared.
        return f"{' '.join(version.split())} with {' '.join(_known_languages())}, set: {languages or 'none'}"
    except UnreadableDocument:
        return "no tesseract"


def _known_languages() -> list[str]:
    """The languages that the installed tesseract knows."""
    lines = _run(["--list-langs"], None, _LIST_SECONDS).decode("utf-8", "replace").split("\n")[1:]
    found = sorted(name for line in lines if (name := line.strip()) and name not in ("osd", "equ"))
    if not found:
        raise OcrMissing("It has to be read by OCR, and tesseract has no language.", install_hint("eng"))
    return found


def _usual(installed: list[str]) -> str:
    own = _CODES.get((locale.getlocale()[0] or os.environ.get("LANG", ""))[:2], "")
    first = [name for name in (own, "eng") if name in installed]
    return "+".join(list(dict.fromkeys([*first, *installed]))[:_LANGUAGES])


def _tesseract(picture: Path | bytes, languages: str, seconds: float) -> str:
    """What tesseract says of a picture, a table of words with their places (its TSV)."""
    source, data = (str(picture), None) if isinstance(picture, Path) else ("stdin", picture)
    return _run([source, "stdout", "-l", languages, "--dpi", "300", "tsv"], data, seconds).decode("utf-8", "replace")


def _run(arguments: list[str], data: bytes | None, seconds: float) -> bytes:
    program = shutil.which("tesseract")
    if program is None:
        raise OcrMissing("It is a picture, and the program that reads such, tesseract, is missing.", install_hint())
    try:
        done = subprocess.run(
            [program, *arguments],
            input=data or b"",
            capture_output=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise UnreadableDocument(f"Recognising its text took longer than {seconds:.3g} s.", _MORE_TIME) from error
    except OSError as error:
        raise UnreadableDocument(f"tesseract cannot be started: {error.strerror or error}.") from error
    complaints = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    if missing := [line.split("'")[1] for line in complaints if line.startswith("Failed loading language '")]:
        raise OcrMissing(f"tesseract lacks the language {missing[0]}.", install_hint(*missing))
    if done.returncode < 0:
        raise UnreadableDocument("tesseract broke down over it: it is too large, or made to harm.")
    if done.returncode:
        raise UnreadableDocument(f"tesseract cannot read it: {(complaints or ['no reason given'])[-1].rstrip('.')}.")
    return done.stdout


@dataclass(frozen=True, slots=True)
class _Word:
    page: int
    paragraph: tuple[int, int]
    line: int
    certainty: float
    text: str


def _pages(table: str) -> Iterator[Recognised]:
    for number, of_page in groupby(_words(table), key=lambda word: word.page):
        words = list(of_page)
        certainty = sum(word.certainty * len(word.text) for word in words) / sum(len(word.text) for word in words)
        parts = (_joined(list(part)) for _, part in groupby(words, key=lambda word: word.paragraph))
        paragraphs = tuple(part for part in parts if any(char.isalnum() for char in part))
        if paragraphs and certainty >= _NOISE:
            yield Recognised(number, paragraphs, certainty)


def _words(table: str) -> Iterator[_Word]:
    """The rows of level 5; the others are the lines, paragraphs, blocks and pages around them."""
    for row in table.split("\n"):
        cells = row.split("\t", 11)
        if len(cells) == 12 and cells[0] == "5" and (text := cells[11].strip()):
            try:
                page, block, paragraph, line = (int(cell) for cell in cells[1:5])
                certainty = float(cells[10]) / 100
            except ValueError:
                continue
            yield _Word(page, (block, paragraph), line, min(max(certainty, 0.0), 1.0), text)


def _joined(words: list[_Word]) -> str:
    """A paragraph on one line; a word that a hyphen parts at a line's end is whole again."""
    text = ""
    for _, of_line in groupby(words, key=lambda word: word.line):
        line = " ".join(word.text for word in of_line)
        if text[-2:-1].isalpha() and text[-1:] == "-" and line[:1].islower():
            text = text[:-1] + line
        else:
            text = f"{text} {line}" if text else line
    return text
