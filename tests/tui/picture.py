"""Draw README's picture of the chat, a scripted conversation: `python tests/tui/picture.py docs/img/chat.svg`."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from chat_fakes import CITATIONS, QUESTION, QUOTE, FakeBackend, answer

from app.answer import Ask, Completed, Packed, TurnEvent
from tui.app import LociChat
from tui.widgets.composer import Composer

SIZE = (116, 34)
FONT_FACE = re.compile(r"@font-face\s*{[^}]*}")


ANSWER = f"{QUOTE} [1]\n\nThe harbour engineer signs the log before the crane is used again. [2]"
SECOND = "The harbour engineer signs the log before the crane is used again."


def extractive(ask: Ask) -> Iterator[TurnEvent]:
    """An answer as the embedded model gives it: sentences of the documents, each with its source."""
    marks = [ANSWER.index(f"[{n}]") for n in (1, 2)]
    first = replace(CITATIONS[0], answer_start=marks[0], answer_end=marks[0] + 3)
    second = replace(CITATIONS[1], answer_start=marks[1], answer_end=marks[1] + 3, quote=SECOND, status="verified")
    whole = replace(answer(ask), answer=ANSWER, reasoning=None, citations=(first, second))
    yield Packed(whole.context)
    yield Completed(whole)


async def draw() -> str:
    """One answer with its first source beside it, as SVG that refers to nothing on the network."""
    backend = FakeBackend()
    backend.script = extractive
    app = LociChat(backend)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(0.1)
        app.query_one(Composer).put(QUESTION)
        await pilot.press("enter")
        await pilot.pause(0.2)
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        return FONT_FACE.sub("", app.export_screenshot(title="loci chat"))


def main(file: Path) -> None:
    os.environ.pop("NO_COLOR", None)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(asyncio.run(draw()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
