import re
from pathlib import Path

import picture
from chat_fakes import QUOTE


async def test_the_picture_shows_an_answer_beside_its_source_and_needs_no_network() -> None:
    drawn = (await picture.draw()).replace("&#160;", " ")
    assert QUOTE[:30] in drawn and "✓ verified" in drawn
    assert "url(http" not in drawn
    assert (Path(__file__).parents[2] / "docs/img/chat.svg").exists()


def test_the_pictures_of_the_tour_are_there_and_need_no_network() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pictures = re.findall(r"\((img/[^)]+)\)", (docs / "TOUR.md").read_text("utf-8"))
    assert len(pictures) == len(list((docs / "img/tour").iterdir()))
    for name in pictures:
        drawn = (docs / name).read_text("utf-8")
        assert "url(http" not in drawn and "/tmp/" not in drawn
