"""The context window: what takes how many of its tokens, and what was left out and why."""

from dataclasses import asdict
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from app.answer import Window
from tui.words import PARTS, percent, short, used_tokens

FULL, EMPTY = "█", "░"


class WindowPane(VerticalScroll):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.close_side", "Close", show=False, id="window.close")
    ]

    def __init__(self) -> None:
        super().__init__(id="window")

    def compose(self) -> ComposeResult:
        yield Static(NOTHING, id="meter")

    def show(self, window: Window | None, pinned: tuple[str, ...] = ()) -> None:
        """`pinned`: titles of documents that every question is given."""
        shown = meter(window) if window else NOTHING
        self.query_one("#meter", Static).update(Content("\n\n").join([shown.rstrip(), _pinned(pinned)]))


NOTHING = Content.assemble(
    ("The window is empty.\n\n", "bold"),
    "After a question, this shows what was put into the model's context and what was not.",
)


def _pinned(titles: tuple[str, ...]) -> Content:
    if not titles:
        return Content.styled("No document is pinned; Ctrl+L shows them, p there pins one.", "$foreground-muted")
    lines = "\n".join(f"· {title}" for title in titles)
    note = "\nGiven whole to every question, before all other documents, as far as the window has room."
    return Content.assemble((f"Pinned ({len(titles)})\n", "bold"), lines, (note, "$foreground-muted"))


def bar(part: int, whole: int, width: int) -> str:
    """At least one cell for what is there, so that a small part is seen."""
    cells = min(width, max(round(width * part / max(whole, 1)), 1 if part else 0))
    return FULL * cells + EMPTY * (width - cells)


def gauge(window: Window) -> str:
    """The meter in one line, `window █░░░ 23% of 4.1K`; empty where an answer came about without a window, or was cut
    off before it was known."""
    if not window.window:
        return ""
    used = used_tokens(window)
    return f"window {bar(used, window.window, 4)} {percent(used, window.window)} of {short(window.window)}"


def meter(window: Window) -> Content:
    """Every part with tokens, percent and bar; then what was left out. Sums of rows need no model, so no window."""
    if not window.window:
        return Content.assemble(("Context window", "bold"), "  not used for this answer\n", left_out(window))
    used = asdict(window.used)
    rows = [(name, used[name]) for name in PARTS]
    rows.append(("free", max(window.window - used_tokens(window), 0)))
    parts: list[tuple[str, str]] = [
        ("Context window", "bold"),
        (f"  {used_tokens(window):,} of {window.window:,} tokens\n\n", ""),
    ]
    for name, tokens in rows:
        style = "$foreground-muted" if name == "free" else "$text-accent"
        parts += [
            (f"{name:<10}", "bold"),
            (f"{tokens:>9,} {percent(tokens, window.window):>4}  ", ""),
            (bar(tokens, window.window, 14) + "\n", style),
        ]
    return Content.assemble(*parts, left_out(window))


def left_out(window: Window) -> Content:
    """What was left out and why."""
    if not window.left_out:
        return Content.styled("\nNothing was left out.", "$foreground-muted")
    parts: list[tuple[str, str]] = [(f"\nLeft out ({len(window.left_out)})\n", "bold")]
    for item in window.left_out:
        parts += [(f"· {item.what}\n", ""), (f"  {item.why}\n", "$foreground-muted")]
    return Content.assemble(*parts)
