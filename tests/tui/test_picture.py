import re
from pathlib import Path
from xml.etree import ElementTree

import picture
import pytest
from chat_fakes import QUOTE
from film import CELL_WIDTH, Film, Shot
from rich.terminal_theme import MONOKAI


async def test_the_picture_shows_an_answer_beside_its_source_and_needs_no_network() -> None:
    drawn = (await picture.draw()).replace("&#160;", " ")
    assert QUOTE[:30] in drawn and "✓ verified" in drawn
    assert "url(http" not in drawn
    assert (Path(__file__).parents[2] / "docs/img/chat.svg").exists()


def test_the_pictures_of_the_tour_are_there_and_need_no_network() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pictures = re.findall(r"\((img/[^)]+)\)", (docs / "TOUR.md").read_text("utf-8"))
    assert len(pictures) == len(list((docs / "img/tour").iterdir())) + 1
    for name in pictures:
        drawn = (docs / name).read_text("utf-8")
        assert not any(words in drawn for words in ("url(http", "/tmp/")), name  # not compared: that takes minutes


SVG = "{http://www.w3.org/2000/svg}"


def test_the_film_of_the_tour_is_small_and_shows_its_steps() -> None:
    file = Path(__file__).parents[2] / "docs/img/session.svg"
    drawn = file.read_text("utf-8")
    assert file.stat().st_size < 500_000
    for words in ("How long is the north pier?", "✓ verified", "/add ~/tarnwick", "Remembered #1"):
        assert words in "".join(ElementTree.fromstring(drawn).itertext())


def test_a_film_draws_each_line_once_and_shows_each_screen_for_its_time() -> None:
    screens = ("one \x1b[1;31mred\x1b[0m\n\nsame", "two\n\nsame", "two\n\nsame")
    shots = [Shot(screen, 2.0, caption) for screen, caption in zip(screens, ("", "now", "now"), strict=True)]
    drawn = Film((10, 3), MONOKAI, "a & b").animated(shots)
    root = ElementTree.fromstring(drawn)
    lines = {f"#{line.get('id')}": "".join(line.itertext()) for line in root.iter(f"{SVG}g") if line.get("id")}
    assert sorted(lines.values()) == ["now", "one red", "same", "two"]
    uses = [(lines[use.get("href") or ""], float(use.get("y") or 0)) for use in root.iter(f"{SVG}use")]
    assert uses == [("one red", 0.0), ("same", 34.0), ("two", 68.0), ("same", 102.0), ("now", 119.0)]
    assert "0.00%{transform:translateY(0px)}33.33%{transform:translateY(-68px)}" in drawn and "6.0s" in drawn
    (red,) = (text for text in root.iter(f"{SVG}text") if text.text == "red")
    assert [float(red.get(name) or 0) for name in ("x", "textLength")] == pytest.approx(
        [4 * CELL_WIDTH, 3 * CELL_WIDTH]
    )
    assert re.search(rf"\.{red.get('class')}{{fill:{MONOKAI.ansi_colors[1].hex};font-weight:bold}}", drawn)
