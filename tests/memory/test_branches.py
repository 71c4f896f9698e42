"""Questions that were edited or asked anew, titles and tags of sessions."""

from pathlib import Path

import numpy as np
import pytest

from memory.branches import Branches
from memory.errors import NoSuchSession
from memory.settings import MemorySettings
from memory.store import MemoryStore
from memory.types import Source


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return MemoryStore(tmp_path, MemorySettings(), lambda texts: np.ones((len(texts), 4), np.float32) / 2, "ones")


def test_a_turn_may_follow_any_other_and_none_is_lost(store: MemoryStore) -> None:
    session = store.start_session()
    first, second, third = (store.begin_turn(session, text) for text in ("One?", "Two?", "Three?"))
    other = store.begin_turn(session, "Two, otherwise?", after=first)
    last = store.begin_turn(session, "And then?")
    assert [turn.id for turn in store.branch(session)] == [first, other, last]
    assert [turn.id for turn in store.branch(session, third)] == [first, second, third]
    assert store.branch(session, 0) == []
    tree = store.branches(session)
    assert tree.versions(second) == tree.versions(other) == (second, other)
    assert (tree.latest(second), tree.latest(other), tree.latest(first)) == (third, last, last)
    back = store.begin_turn(session, "Four?", after=third)
    assert [turn.id for turn in store.branch(session)] == [first, second, third, back]
    anew = store.begin_turn(session, "One, otherwise?", after=0)
    assert store.branches(session).versions(first) == (first, anew)
    assert [turn.id for turn in store.turns(session)] == [first, second, third, other, last, back, anew]


def test_a_turn_follows_only_one_of_its_own_session(store: MemoryStore) -> None:
    elsewhere = store.begin_turn(store.start_session(), "Elsewhere?")
    session = store.start_session()
    for after in (elsewhere, 99):
        with pytest.raises(NoSuchSession):
            store.begin_turn(session, "Here?", after=after)
    assert store.turns(session) == []


def test_branches_are_exported_and_imported(store: MemoryStore, tmp_path: Path) -> None:
    session = store.start_session()
    store.change_session(session, tags=["boat"])
    for text, after in (("One?", None), ("Two?", None), ("One, otherwise?", 0)):
        store.begin_turn(session, text, after=after)
    (tmp_path / "other").mkdir()
    other = MemoryStore(tmp_path / "other", MemorySettings(), store.embed, "ones")
    for number in range(3):  # numbers given out already, so that all rows get others
        other.begin_turn(other.start_session(), f"Earlier {number}?")
    other.import_(store.export())
    (copy,) = [one for one in other.sessions() if one.turns == 3]
    assert copy.tags == ("boat",)
    questions = {turn.id: turn.question for turn in other.turns(copy.id)}
    assert [questions[turn] for turn in other.branches(copy.id).path()] == ["One, otherwise?"]
    assert [questions[turn] for turn in other.branches(copy.id).path(min(questions) + 1)] == ["One?", "Two?"]


def test_sessions_are_renamed_and_tagged_and_a_deletion_for_good_takes_both(store: MemoryStore) -> None:
    session = store.start_session("main", "Tides")
    assert store.change_session(session, title="  Spring tides ", tags=["#boat quay", "boat"]).tags == ("boat", "quay")
    assert store.change_session(session, tags=[]).tags == () and store.session(session).title == "Spring tides"
    store.change_session(session, title="Quetzalcoatl77 and more", tags=["Quetzalcoatl77", "quay"])
    store.purge(store.add("Quetzalcoatl77", source=Source("command")).id)
    assert "Quetzalcoatl" not in store.session(session).title and store.session(session).tags == ("quay",)
    with pytest.raises(NoSuchSession):
        store.change_session(99, title="None")


def test_the_words_of_a_partial_answer_are_found(store: MemoryStore) -> None:
    turn = store.begin_turn(store.start_session(), "Where?")
    store.update_turn(turn, "Behind the lighthouse, next")
    assert [hit.turn.id for hit in store.search_turns("lighthouse")] == [turn]
    with pytest.raises(NoSuchSession):
        store.update_turn(99, "Nowhere")


def test_a_tree_without_turns_has_an_empty_path() -> None:
    assert Branches({}).path() == ()
