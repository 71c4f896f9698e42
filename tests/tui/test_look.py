"""Themes that can be read, keys of one's own, and a screen without colours."""

from dataclasses import replace

import pytest
from chat_drive import SMALL, WIDE, ask, notices, send, until, words
from chat_fakes import AFTER, BEFORE, CITATIONS, FakeBackend
from textual.color import Color
from textual.content import Content
from textual.theme import Theme
from textual.widgets import Static

from tui.app import LociChat
from tui.rows import DocumentRow, MemoryRow
from tui.themes import THEMES
from tui.widgets.dialogs import _session as session_line
from tui.widgets.library import _line as library_line
from tui.widgets.memory import _line as memory_line
from tui.widgets.side import SidePane
from tui.widgets.source import LINES_ABOVE

DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
"""Linear RGB as it is seen without the middle cones (Machado, Oliveira and Fernandes 2009, severity 1)."""


def linear(color: Color) -> tuple[float, ...]:
    parts = (part / 255 for part in (color.r, color.g, color.b))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def contrast(one: Color, other: Color) -> float:
    """Of WCAG 2.2: 1 to 21."""
    light = [
        sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(c), strict=True))
        for c in (one, other)
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


def variables(theme: Theme) -> dict[str, str]:
    app = LociChat(FakeBackend(), theme=theme.name)
    return app.get_css_variables()


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_word_of_a_theme_of_ours_can_be_read(theme: Theme) -> None:
    least = 7.0 if theme.name == "high-contrast" else 4.5
    found = variables(theme)
    for ground in ("background", "surface"):
        for name in ("foreground", "text-success", "text-warning", "text-error", "text-accent"):
            got = contrast(Color.parse(found[name]), Color.parse(found[ground]))
            assert got >= least, f"{name} on {ground}: {got:.1f}"


def test_rows_of_lists_have_no_colours_of_their_own_which_the_cursor_would_hide() -> None:
    backend = FakeBackend()
    rows = [
        library_line(DocumentRow("d1", "x", "/x", "main", 3, 9, 4200, "2026", True)),
        memory_line(MemoryRow(3, "x", "fact", "active", True, "told"), None),
    ]
    rows.append(session_line(replace(backend.stored[0], tags=("tides",))))
    assert all("$" not in str(span.style) for row in rows for span in row.spans)


@pytest.mark.parametrize("theme", [theme for theme in THEMES if "blind" in theme.name], ids=lambda theme: theme.name)
def test_good_and_bad_stay_apart_for_eyes_without_green(theme: Theme) -> None:
    found = variables(theme)
    seen = [
        [
            sum(weight * part for weight, part in zip(row, linear(Color.parse(found[name])), strict=True))
            for row in DEUTERANOPIA
        ]
        for name in ("text-success", "text-error")
    ]
    assert max(abs(good - bad) for good, bad in zip(*seen, strict=True)) > 0.2


async def test_themes_and_keys_come_from_the_settings_and_a_choice_is_kept(backend: FakeBackend) -> None:
    keys = {"pane.memory": "ctrl+b", "source.next": "j", "no.action": "x"}
    app = LociChat(backend, theme="high-contrast", keys=keys)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: "The chat has not the action 'no.action'" in notices(app))
        assert app.theme == "high-contrast" and backend.themes == []
        await pilot.press("f3")
        assert app.state.talk is not None and "open" not in " ".join(app.query_one("#side").classes)
        await pilot.press("ctrl+b")
        assert "-open" in app.query_one("#side").classes
        await ask(pilot)
        await send(pilot, "/source 1")
        await until(pilot, lambda: "✓ verified" in words(app, "#source-head"))
        await pilot.press("j")
        await until(pilot, lambda: "~ repaired" in words(app, "#source-head"))
        await send(pilot, "/theme colour-blind-light")
        await until(pilot, lambda: backend.themes == ["colour-blind-light"])
        await send(pilot, "/theme mauve")
        assert "textual-light" in notices(app)


async def test_a_source_that_comes_before_its_pane_has_a_width_is_in_sight_nevertheless(backend: FakeBackend) -> None:
    app = LociChat(backend)
    async with app.run_test(size=SMALL) as pilot:
        await pilot.pause()
        side = app.query_one(SidePane)
        row = replace(backend.source(CITATIONS[0]), before=BEFORE * 20, after=AFTER * 40)
        side.open("source")
        side.source.show(row)
        passage, text = app.query_one("#passage"), app.query_one("#source-text", Static)

        def lines_before() -> int:
            return len(Content(row.before).wrap(max(text.content_size.width, 1)))

        await until(pilot, lambda: text.content_size.width > 0)
        await until(pilot, lambda: passage.scroll_y == lines_before() - LINES_ABOVE)
        side.source.show(replace(row, before="", after=""))
        await until(pilot, lambda: passage.max_scroll_y == 0)
        app._begin_batch()  # as a busy machine does: what waits for the screen comes before it is laid out
        side.source.show(row)
        await pilot.pause(0.1)
        app._end_batch()
        await until(pilot, lambda: passage.scroll_y == lines_before() - LINES_ABOVE)
        await pilot.resize_terminal(60, 24)
        await until(pilot, lambda: text.content_size.width < 60)
        await until(pilot, lambda: passage.scroll_y == lines_before() - LINES_ABOVE)


async def test_an_unknown_theme_is_said_and_the_chat_starts(backend: FakeBackend) -> None:
    app = LociChat(backend, theme="mauve")
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "has not the theme 'mauve'" in notices(app))


async def test_without_colours_all_is_still_told(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = LociChat(backend)
    async with app.run_test(size=WIDE) as pilot:
        await ask(pilot)
        await until(pilot, lambda: "✓ verified" in words(app, "#source-head"))
        drawn = app.screen._compositor.render_update(full=True)
        segments = [segment for line in drawn.strips for strip in line for segment in strip]  # type: ignore[union-attr]
        styles = [segment.style for segment in segments if segment.style]
        shades = [c.triplet for style in styles for c in (style.color, style.bgcolor) if c is not None and c.triplet]
        assert all(len(set(shade)) == 1 for shade in shades), "only greys"
        assert any(style.reverse for style in styles), "the quote is still marked"
