"""Passages cut to the room there is: the sentences that the question asks for stay, and every part is its source's."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.packing import fitted
from retrieval.types import Locator, Passage


def passage(text: str, score: float, start: int = 0, document: str = "d1") -> Passage:
    return Passage(start, document, "a.md", "a", None, 7, start, start + len(text), Locator(), text, "", "main", score)


def count(one: Passage) -> int:
    return 5 + len(one.text) // 4


FILL = "The quay was mended in spring.\nNobody came to the fair that year."
BEST = passage(f"{FILL}\nThe ferry costs four pounds for a bicycle. {FILL}", 0.9)
NEXT = passage(f"A bicycle needs a lamp on board. {FILL} {FILL}", 0.8, 1000)
LAST = passage(f"{FILL} {FILL} {FILL}", 0.1, 2000, "d2")
QUESTION = "What does the ferry cost for a bicycle?"


def test_where_half_fits_passages_stay_whole() -> None:
    total = sum(map(count, (BEST, NEXT, LAST)))
    assert fitted(QUESTION, [BEST, NEXT, LAST], count, total // 2 + 1) == [BEST, NEXT, LAST]


def test_in_little_room_the_sentences_asked_for_stay_and_the_least_passages_go() -> None:
    first, second, third = fitted(QUESTION, [BEST, NEXT, LAST], count, 34)
    assert first is not None and first.text == "The ferry costs four pounds for a bicycle."
    assert (first.start, first.line) == (BEST.text.index("The ferry"), 9)
    assert second is not None and second.text == "A bicycle needs a lamp on board."
    assert third is None
    assert fitted(QUESTION, [BEST, NEXT, LAST], count, 0) == [None, None, None]
    assert fitted(QUESTION, [], count, 0) == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=300), st.floats(0, 2)), max_size=6), st.text(max_size=40), st.integers(-5, 150)
)
def test_what_is_cut_fits_and_is_a_slice_of_its_passage(found: list[tuple[str, float]], asked: str, room: int) -> None:
    passages = [passage(text, score, 10) for text, score in found]
    kept = fitted(asked, passages, count, room)
    assert len(kept) == len(passages)
    taken = sum(count(one) for one in kept if one is not None)
    assert taken <= max(room, 0) or (kept == passages and taken <= 2 * room)
    for one, part in zip(passages, kept, strict=True):
        if part is not None:
            assert part.text == one.text[part.start - one.start : part.end - one.start]
