"""When the chat has Python collect its garbage."""

import gc
from collections.abc import Iterator

import pytest

from tui.garbage import DUE, NEVER, OVERDUE, REST, Garbage, due


@pytest.fixture
def garbage() -> Iterator[Garbage]:
    taken = Garbage()
    yield taken
    taken.end()


def test_garbage_waits_for_rest_between_two_answers_and_is_not_put_off_for_ever() -> None:
    assert due(DUE + 1, REST + 1, busy=False)
    assert not due(DUE, REST + 1, busy=False), "nothing worth it has gathered"
    assert not due(DUE + 1, REST / 2, busy=False), "a key was pressed just now"
    assert not due(DUE + 1, REST + 1, busy=True), "an answer streams"
    assert due(OVERDUE + 1, 0.0, busy=True)


def test_full_collections_are_the_chats_own_until_it_ends(garbage: Garbage) -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    garbage.begin()
    assert gc.get_threshold() == (*before[:2], NEVER)
    assert gc.get_freeze_count() > frozen, "what was there is walked no more"
    garbage.end()
    assert gc.get_threshold() == before and gc.get_freeze_count() == 0


def test_a_start_without_collections_ends_where_the_prompt_stands(garbage: Garbage) -> None:
    gc.disable()
    try:
        garbage.begin()
        assert gc.isenabled()
    finally:
        gc.enable()


def test_rings_that_nothing_holds_are_collected_at_rest(garbage: Garbage) -> None:
    garbage.begin()
    ring: list[object] = []
    ring.append(ring)
    ring.append(Gone())
    while gc.get_count()[2] <= DUE:
        gc.collect(1)  # it grows old meanwhile
    del ring
    assert Gone.left == 1 and not garbage.tidy(REST / 2, busy=False)
    assert garbage.tidy(REST + 1, busy=False) and Gone.left == 0


def test_a_chat_that_never_began_leaves_the_collector_alone(garbage: Garbage) -> None:
    before = gc.get_threshold()
    while gc.get_count()[2] <= DUE:
        gc.collect(1)
    assert not garbage.tidy(REST + 1, busy=False) and gc.get_threshold() == before


class Gone:
    """Counts those of its kind that are not collected."""

    left = 0

    def __init__(self) -> None:
        Gone.left += 1

    def __del__(self) -> None:
        Gone.left -= 1
