"""Banks and their budgets, summaries of sessions, and the profile that a person reads and edits."""

from datetime import UTC, datetime, timedelta

import numpy as np

from memory.consolidation import telling
from memory.profile import edits, profile, written
from memory.store import MemoryStore
from memory.types import Memory, Source

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SAID = (
    "The sail of my boat is torn at the seam",
    "I ordered cloth for the sail of the boat",
    "The boat must be ready by the regatta",
    "My neighbour lent me a sewing machine for the sail",
    "I saw a heron on the way",
)


def told(store: MemoryStore, *said: str, now: datetime = NOW) -> tuple[int, list[Memory]]:
    session = store.start_session(now=now)
    source = Source("told", session)
    return session, [store.add(text, kind="episode", source=source, now=now) for text in said]


def test_a_session_at_rest_is_summed_up_once_in_its_own_words(store: MemoryStore) -> None:
    session, held = told(store, *SAID)
    assert store.consolidate(now=NOW + timedelta(minutes=5)) == []  # it may go on
    later = NOW + timedelta(hours=2)
    [summary] = store.consolidate(now=later)
    assert summary.source == Source("summary", session)
    assert all(part in SAID for part in summary.text.split("; "))
    assert summary.valid_from == held[0].valid_from
    assert store.why(summary.id)["sums_up"] == [memory.id for memory in held]
    assert store.consolidate(now=later) == []
    store.add("The regatta is off", kind="episode", source=Source("told", session), now=later)
    [fresh] = store.consolidate(now=later + timedelta(hours=2))
    assert (store.get(summary.id).state, store.get(summary.id).superseded_by) == ("archived", fresh.id)


def test_a_dry_run_tells_the_summary_and_writes_none(store: MemoryStore) -> None:
    told(store, *SAID)
    later = NOW + timedelta(hours=2)
    before = store.list()
    [would] = store.consolidate(now=later, dry_run=True)
    assert store.list() == before
    [summary] = store.consolidate(now=later)
    assert would.text == summary.text


def test_what_the_user_takes_back_leaves_the_summary_too(store: MemoryStore) -> None:
    _, held = told(store, *SAID)
    for number, take_back in enumerate(
        (store.forget, lambda key: store.edit(key, "I saw two gulls", NOW), store.purge)
    ):
        [summary] = store.consolidate(now=NOW + timedelta(hours=2))
        gone = held[-1 - number]
        assert gone.text in summary.text
        take_back(gone.id)
        assert all(gone.text not in memory.text for memory in store.list())
    assert store.recall("the sail of the boat", scopes=["main"], budget={"session": 1}) == []


def test_short_sessions_and_statements_of_no_session_are_left_alone(store: MemoryStore) -> None:
    told(store, *SAID[:3])
    for text in SAID:
        store.add(f"{text}, she said", source=Source("command"), now=NOW)
    assert store.consolidate(now=NOW + timedelta(days=1)) == []


def test_statements_that_tell_are_central_apart_and_fit() -> None:
    near = np.array([[1, 0], [0.99, 0.1], [0.6, 0.8], [-1, 0]], np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    first = telling(near, [150, 150, 150, 150])
    assert len(first) == 2  # what 400 characters hold
    assert 3 not in first
    assert set(first) != {0, 1}  # two that say the same
    assert telling(near, [500, 600, 450, 700]) == [2]


def test_each_bank_gives_no_more_than_its_budget(store: MemoryStore) -> None:
    told(store, *SAID)
    store.consolidate(now=NOW + timedelta(hours=2))
    fact = store.add("The sail of the boat is red", source=Source("command"), now=NOW)
    question = "the sail of the boat"
    found = store.recall(question, scopes=["main"], budget={"statement": 5, "episode": 1, "session": 1})
    kinds = [(item.memory.kind, item.memory.source.how) for item in found]
    assert sorted(kinds) == [("episode", "summary"), ("episode", "told"), ("fact", "command")]
    assert [item.memory.id for item in store.recall(question, scopes=["main"], budget={"statement": 5})] == [fact.id]
    assert len(store.recall(question, scopes=["main"])) > 3


def test_the_profile_is_short_and_holds_what_matters(store: MemoryStore) -> None:
    store.add("My office is in B12", source=Source("command"), now=NOW)
    moved = store.add("My office is in C3", source=Source("command"), now=NOW + timedelta(days=1))
    order = store.add("Always answer in English", kind="instruction", source=Source("command"), now=NOW)
    pinned = store.add("My dog is called Rex", source=Source("command"), now=NOW)
    store.pin(pinned.id)
    store.add("I walked to the shore", kind="episode", source=Source("command"), now=NOW)
    assert [memory.id for memory in store.profile()] == [pinned.id, order.id, moved.id]
    assert [memory.id for memory in profile(store.list(), words=9)] == [pinned.id, order.id]
    assert written(store.profile()[:1]).splitlines()[1:] == [f"{pinned.id}: My dog is called Rex"]
    assert written([]) == ""


def test_what_a_person_did_to_the_lines_is_told_apart(store: MemoryStore) -> None:
    texts = ("My dog is called Rex", "My office is in B12", "I like tea")
    ids = [store.add(text, source=Source("command"), now=NOW).id for text in texts]
    head, *lines = written(store.profile()).splitlines()
    store.add("My cat is Tom", source=Source("command"), now=NOW)  # after the profile was printed
    known = {memory.id: memory.text for memory in store.list()}
    untouched = edits(known, "\n".join([head, *lines]))
    assert (untouched.changed, untouched.removed, untouched.added) == ({}, (), ())
    text = f"{head}\n# mine\n{ids[0]}: My dog is called Max\n{ids[2]}:  I like tea \n\nI live in Rome\n99: none\n"
    found = edits(known, text)
    assert found.changed == {ids[0]: "My dog is called Max"}
    assert found.removed == (ids[1],)
    assert found.added == ("I live in Rome", "99: none")
    assert edits(known, "I live in Rome\n").removed == ()  # without its first line nothing is missing
