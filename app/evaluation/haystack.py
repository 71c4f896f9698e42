"""Text that hides something: read from files or made, cut to a number of words, with sentences put between its own."""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from app.errors import BadInput

_MADE_SENTENCES = 20_000
"""About 280,000 words: more than 128K tokens in any vocabulary."""


@dataclass(frozen=True)
class Haystack:
    """Words that are read in a circle, so that a window of any length can start anywhere."""

    name: str
    words: tuple[str, ...]

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Its words of four to ten small letters, each once, sorted."""
        return tuple(sorted({one for one in self.words if 4 <= len(one) <= 10 and one.islower() and one.isalpha()}))

    def window(self, start: int, count: int, needles: Sequence[tuple[float, str]]) -> str:
        """`count` words from `start` on, with each needle at its depth (0 the beginning, 1 the end).

        A needle goes between two sentences, never into one: back from its place to the end of a sentence. Needles at
        one place keep their order.
        """
        total = len(self.words)
        words = [self.words[(start + number) % total] for number in range(count)]
        placed = [(_sentence_end(words, round(depth * count)), needle) for depth, needle in needles]
        parts: list[str] = []
        done = 0
        for place, needle in sorted(placed, key=lambda one: one[0]):
            parts += [*words[done:place], needle]
            done = place
        return " ".join([*parts, *words[done:]])


def read_haystack(path: Path | None) -> Haystack:
    """The text of a file, or of the `.txt` and `.md` files of a folder in the order of their names; made without one.

    :raises BadInput: there is no text there.
    """
    if path is None:
        return Haystack("made", tuple(_made()))
    files = sorted(one for one in path.rglob("*") if one.suffix in (".txt", ".md")) if path.is_dir() else [path]
    try:
        words = tuple(word for file in files for word in file.read_text("utf-8", errors="replace").split())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Give a text file, or a folder of them.") from None
    if not words:
        raise BadInput(f"{path} holds no text.", "Give a text file, or a folder with .txt or .md files.")
    return Haystack(path.name, words)


@lru_cache(1)
def wordings() -> dict[str, Any]:
    """The tables of `needles.toml`."""
    return tomllib.loads((resources.files("app.evaluation") / "needles.toml").read_text("utf-8"))


def _made() -> list[str]:
    """Sentences that say nothing of weight; the same ones each time."""
    drawn, parts = random.Random(0), wordings()["made"]
    sentences = (
        " ".join(drawn.choice(parts[part]) for part in ("who", "does", "what", "where", "when"))
        for _ in range(_MADE_SENTENCES)
    )
    return " ".join(f"{sentence}." for sentence in sentences).split()


def _sentence_end(words: Sequence[str], place: int) -> int:
    while 0 < place < len(words) and not words[place - 1].rstrip("\"')”’").endswith((".", "!", "?")):
        place -= 1
    return place
