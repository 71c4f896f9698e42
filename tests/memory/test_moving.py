"""Vectors that follow use: how far they go, that they must win on later turns, and that all of it can be undone."""

from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa

from memory.moving import moved
from memory.schema import moved_vectors
from memory.schema import vectors as originals
from memory.store import MemoryStore
from memory.types import Memory, Recalled, Source
from retrieval.sqlite import reading
from tests.memory.conftest import NOW, word_embedding

TOPICS = 8


def test_a_vector_goes_towards_what_it_was_cited_for_and_away_from_the_rest_within_bounds() -> None:
    original, cited, vain = word_embedding(["red boat", "blue quay", "green tea"])
    assert moved(original, [], []) == pytest.approx(original)
    once, often = moved(original, [cited], []), moved(original, [cited] * 50, [])
    assert original @ cited < once @ cited < often @ cited
    assert moved(original, [], [vain] * 3) @ vain < original @ vain
    assert moved(original, [-original] * 50, [original] * 50) == pytest.approx(original)
    assert moved(original, [cited] * 50, [vain] * 50) @ original > 0.7
    assert np.linalg.norm(often) == pytest.approx(1.0)


def used(store: MemoryStore, turns: int, *, informative: bool = True) -> list[Memory]:
    """Memories that are asked for by words which they do not have; or which are cited at random."""
    rng = np.random.default_rng(3)
    texts = [f"topic{n} thing{n} stuff{n}" for n in range(TOPICS)]
    kept = [store.add(text, source=Source("command"), now=NOW) for text in texts]
    vectors = word_embedding(texts)
    session = store.start_session()
    for number in range(turns):
        topic = number % TOPICS
        question = f"alias{topic} nickname{topic}" if informative else f"word{number} other{number}"
        cosines = vectors @ word_embedding([question])[0]
        shown = [
            Recalled(one, float(c), float(c), None, {"meaning": float(c)}, {"meaning": float(c)})
            for one, c in zip(kept, cosines, strict=True)
        ]
        cited = [kept[topic if informative else int(rng.integers(TOPICS))].id]
        turn = store.begin_turn(session, question)
        store.observe(turn, question, recalled=shown, cited=cited, scope="main")
    return kept


def first(store: MemoryStore, topic: int) -> tuple[int, float]:
    [best, *_] = store.recall(f"alias{topic} nickname{topic}", scopes=["main"], limit=1) or [None]
    return (best.memory.id, best.dense or 0.0) if best is not None else (0, 0.0)


@pytest.fixture
def open_all(opener: Callable[..., MemoryStore]) -> Callable[..., MemoryStore]:
    return lambda **more: opener(min_similarity=-1.0, episodes=False, **more)


def test_what_wins_on_later_turns_is_recalled_by_and_the_originals_stay(open_all: Callable[..., MemoryStore]) -> None:
    store = open_all()
    kept = used(store, 80)
    with reading(store.engine) as connection:
        before = connection.execute(sa.select(originals).order_by(originals.c.memory)).all()
    was = first(store, 3)[1]
    done = store.move_vectors()
    assert done is not None and done.gain > 1.645 * done.error and done.moved == TOPICS
    assert first(store, 3)[0] == kept[3].id and first(store, 3)[1] > was + 0.2
    assert store.stats()["vectors"]["moved"] == TOPICS
    assert store.move_vectors() is None, "nothing is new"
    with reading(store.engine) as connection:
        assert connection.execute(sa.select(originals).order_by(originals.c.memory)).all() == before
    store.reset_vectors()
    assert first(store, 3)[1] < was + 0.01 and store.stats()["vectors"]["moved"] == 0


@pytest.mark.parametrize(("turns", "informative"), [(80, False), (40, True)])
def test_vectors_stay_where_nothing_is_won_or_too_little_known(
    open_all: Callable[..., MemoryStore], turns: int, informative: bool
) -> None:
    store = open_all()
    used(store, turns, informative=informative)
    done = store.move_vectors()
    assert done is not None and done.moved == 0


def test_a_setting_keeps_them_where_they_were(open_all: Callable[..., MemoryStore]) -> None:
    store = open_all()
    used(store, 80)
    assert store.move_vectors() is not None
    off = open_all(move_vectors=False)
    assert off.move_vectors() is None
    assert off.stats()["vectors"]["moved"] == 0


def in_force(store: MemoryStore) -> set[int]:
    with reading(store.engine) as connection:
        return set(connection.execute(sa.select(moved_vectors.c.memory)).scalars())


def test_deletion_puts_back_those_that_tell_of_what_is_deleted_and_no_others(
    open_all: Callable[..., MemoryStore],
) -> None:
    store = open_all()
    kept = used(store, 80)
    told = store.add("Quetzals nest in hollow trees", source=Source("command"), now=NOW)
    session = store.start_session()
    for question, shown in (("Is it true that quetzals nest in hollow trees?", kept[2]), ("Where?", kept[3])):
        turn = store.begin_turn(session, question)
        store.observe(turn, question, recalled=[Recalled(shown, 0.5, 0.5, None)], cited=[shown.id], scope="main")
    store.move_vectors()
    assert not any(row.get("table") == "moved_vectors" for row in store.export())
    everything = {one.id for one in kept}
    assert in_force(store) == everything
    assert told.id in store.purge(told.id, dry_run=True).memories and in_force(store) == everything
    store.purge(told.id)  # its words were in a question that moved one
    assert in_force(store) == everything - {kept[2].id}
    store.delete_session(session)
    assert in_force(store) == everything - {kept[2].id, kept[3].id}
    store.purge(kept[0].id)  # no question had its words
    assert in_force(store) == everything - {kept[2].id, kept[3].id, kept[0].id}
    assert first(store, 3)[1] < 0.3 < first(store, 4)[1]


def test_they_are_learned_anew_when_turns_are_gone(open_all: Callable[..., MemoryStore]) -> None:
    store = open_all()
    used(store, 10)
    store.move_vectors()
    for session in store.sessions():
        store.delete_session(session.id)
    done = store.move_vectors()
    assert done is not None and (done.turns, done.moved) == (0, 0)
    used(store, 80)
    done = store.move_vectors()
    assert done is not None and done.moved == TOPICS
