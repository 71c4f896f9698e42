"""Whether a text that was handed over answers: what tokens and whole say decides, not the choice of a sentence."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.answer import Ask
from app.answerable import answerable, around
from app.assistant import Assistant
from app.sentences import Range
from app.settings_assistant import AssistantSettings
from app.shelf import Shelf
from tests.app.fakes_engine import FakeEngine, FakeLibrary

TEXT = "The pier was built in 1921. It is made of oak."


class Matching(FakeLibrary):
    """A library whose embedder compares tokens: words of the question that are `missing` find nothing like them."""

    def __init__(self, match: float, missing: Sequence[str] = ()) -> None:
        super().__init__()
        self.found, self.missing, self.read = match, missing, ""

    def match(self, question: str, parts: Sequence[Range], texts: Sequence[str]) -> NDArray[np.float32] | None:
        self.read = texts[0]
        found = [0.0 if question[a:b] in self.missing else self.found for a, b in parts]
        return np.array([found] * len(texts), dtype=np.float32)


@pytest.mark.parametrize(("match", "abstained"), [(-1.0, True), (1.0, False)])
def test_an_attachment_whose_tokens_do_not_match_is_not_answered_from(match: float, abstained: bool) -> None:
    library = Matching(match)
    assistant = Assistant(lambda: FakeEngine(capabilities=()), library, None, AssistantSettings())
    answer = assistant.ask(Ask("When was the pier built?", attachments=(("pier.txt", TEXT),), use_library=False))
    assert answer.abstained == abstained
    assert library.read == f"pier.txt\n{TEXT}"
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


def sure(question: str, text: str = TEXT, missing: Sequence[str] = ()) -> float:
    shelf = Shelf(Matching(0.6, missing), (("pier.txt", text),))
    found = answerable(question, shelf.whole("a1")[0], shelf, 0.5)
    assert found is not None
    return found


def test_a_telling_word_that_finds_nothing_like_it_makes_an_answer_unlikely() -> None:
    question = "When was the old pier built?"
    assert sure(question, missing=["old"]) < sure(question)
    assert sure(question, missing=["the"]) == sure(question)


def test_a_text_without_the_kind_of_thing_asked_for_is_unlikely_to_answer() -> None:
    dated, undated = "The pier of 1921 is made of oak.", "The pier of oaks is made of oak."
    # The fake embedder tells these texts apart, too, but by far less where both hold what is asked for.
    assert sure("When was it built?", dated) - sure("When was it built?", undated) > abs(
        sure("What was it built for?", dated) - sure("What was it built for?", undated)
    )
