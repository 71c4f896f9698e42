from pathlib import Path

import picture
from chat_fakes import QUOTE


async def test_the_picture_shows_an_answer_beside_its_source_and_needs_no_network() -> None:
    drawn = (await picture.draw()).replace("&#160;", " ")
    assert QUOTE[:30] in drawn and "✓ verified" in drawn
    assert "url(http" not in drawn
    assert (Path(__file__).parents[2] / "docs/img/chat.svg").exists()
