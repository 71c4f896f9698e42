"""Attachments: large ones cost no more than what is looked at."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.outline import sections
from app.shelf import Shelf
from tests.app.fakes_engine import FakeLibrary


def test_of_a_large_attachment_the_best_by_words_are_compared_by_meaning() -> None:
    lines = [f"Line {number} tells of nets and ropes. " * 20 for number in range(1000)]
    lines[700] = "The skipper of the Curlew is Ana Brandt. " * 20
    alone: list[str] = []
    kept: list[str] = []

    class Indifferent(FakeLibrary):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            alone.extend(texts)
            return np.ones((len(texts), 2), np.float32)

        def embed_kept(self, texts: Sequence[str]) -> NDArray[np.float32]:
            kept.extend(texts)
            return np.ones((len(texts), 2), np.float32)

    text, question = "\n\n".join(lines), "Who is the skipper of the Curlew?"
    shelf = Shelf(Indifferent(), (("log.txt", text),))
    best = shelf.attached(question, 5)
    assert "Ana Brandt" in best[0].text and best[0].line == text.count("\n", 0, best[0].start) + 1
    assert len(best) == 5 and len(kept) < 300 < len(shelf.whole("a1"))
    assert alone == [question], "among many texts it would have another vector, by which the library is searched"


def test_an_attachment_is_cut_once_for_all_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[str] = []
    monkeypatch.setattr("app.shelf.sections", lambda text, longest: cut.append(text) or sections(text, longest))
    text = "# Boats\n\nThe ferry leaves at nine.\n\n# Birds\n\nGulls nest everywhere.\n"
    first, second = (Shelf(FakeLibrary(), (("trip.md", text),)).whole("a1") for _ in range(2))
    assert first == second == Shelf(FakeLibrary(), (("trip.md", text),)).whole("a1")
    assert cut == [text]
    other = Shelf(FakeLibrary(), (("trip.md", f"{text}\nOwls do not.\n"),)).whole("a1")
    assert other[-1].text.endswith("Owls do not.") and other[0].text_sha256 != first[0].text_sha256
