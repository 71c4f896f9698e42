"""A line of the conversation that neither side said: results of commands, errors, progress."""

from typing import Literal

from textual.content import Content
from textual.widgets import Static

Tone = Literal["plain", "good", "error"]
SIGNS: dict[Tone, str] = {"plain": "·", "good": "✓", "error": "✗"}


class Notice(Static):
    def __init__(self, title: str, text: str = "", tone: Tone = "plain") -> None:
        super().__init__(_content(title, text, tone), classes=f"notice -{tone}")

    def say(self, title: str, text: str = "", tone: Tone = "plain") -> None:
        """Replace what it says, as progress does."""
        self.set_classes(f"notice -{tone}")
        self.update(_content(title, text, tone))


def _content(title: str, text: str, tone: Tone) -> Content:
    parts: list[tuple[str, str]] = [(f"{SIGNS[tone]} ", "bold"), (title, "bold")]
    if text:
        parts.append((("\n" if "\n" in text or len(text) > 60 else "  ") + text, ""))
    return Content.assemble(*parts)
