"""Whether a text that was handed over answers: what tokens and whole say decides, not the choice of a sentence."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.answer import Ask
from app.answerable import answerable, around
from app.assistant import Assistant
from app.settings_assistant import AssistantSettings
from app.shelf import Shelf
from tests.app.fakes_engine import FakeEngine, FakeLibrary

TEXT = "The pier was built in 1921. It is made of oak."


class Matching(FakeLibrary):
    """A library whose embedder compares tokens, with the same result for all texts."""

    def __init__(self, match: float) -> None:
        super().__init__()
        self.found, self.read = match, ""

    def match(self, question: str, texts: Sequence[str]) -> NDArray[np.float32] | None:
        self.read = texts[0]
        return np.full(len(texts), self.found, dtype=np.float32)


@pytest.mark.parametrize(("match", "abstained"), [(0.0, True), (1.0, False)])
def test_an_attachment_whose_tokens_do_not_match_is_not_answered_from(match: float, abstained: bool) -> None:
    library = Matching(match)
    assistant = Assistant(lambda: FakeEngine(capabilities=()), library, None, AssistantSettings())
    answer = assistant.ask(Ask("When was the pier built?", attachments=(("pier.txt", TEXT),), use_library=False))
    assert answer.abstained == abstained
    assert library.read == TEXT
    assert abstained or "1921" in answer.answer


def test_a_passage_is_read_with_what_stands_around_it_up_to_a_length() -> None:
    text = "".join(f"Sentence number {n} of a long text stands here. " for n in range(100))
    shelf = Shelf(FakeLibrary(), (("long.txt", text),))
    for passage in shelf.whole("a1"):
        read = around(text, passage)
        assert passage.text in read and read in text and len(read) <= 1100
    assert around(TEXT, Shelf(FakeLibrary(), (("pier.txt", TEXT),)).whole("a1")[0]) == TEXT


def test_how_sure_the_choice_is_counts_beside_the_text() -> None:
    shelf = Shelf(Matching(0.6), (("pier.txt", TEXT),))
    passage = shelf.whole("a1")[0]
    found = [answerable("When was the pier built?", passage, shelf, choice) for choice in (0.1, 0.5, 0.9)]
    assert found == sorted(found) and found[0] != found[2]  # type: ignore[type-var]  # the embedder has vectors
