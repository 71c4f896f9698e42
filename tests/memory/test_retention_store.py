"""Retention in a real store: labels after turns, a gated model with versions, forgetting within a budget, ghosts."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from memory.errors import NoSuchModel
from memory.retention import model, rows
from memory.retention.features import NAMES
from memory.retention.scorer import Scorer
from memory.schema import retention_features, retention_labels
from memory.store import MemoryStore
from memory.types import Source
from retrieval.sqlite import reading, writing
from tests.memory.conftest import NOW, word_embedding

DAY = timedelta(days=1)
COMMAND = Source("command")


def causes(store: MemoryStore) -> dict[str, int]:
    with reading(store.engine) as connection:
        counted = sa.select(retention_labels.c.cause, sa.func.count()).group_by(retention_labels.c.cause)
        return dict(connection.execute(counted).tuples().all())


def take_turn(store: MemoryStore, question: str, cited: list[int] | None = None, day: int = 0) -> int:
    session = store.start_session("main")
    turn = store.begin_turn(session, question)
    found = store.recall(question, scopes=["main"], now=NOW + day * DAY)
    store.observe(turn, question, recalled=found, cited=cited or [], scope="main", now=NOW + day * DAY)
    store.finish_turn(turn, "said", "", True)
    return turn


def test_a_turn_labels_what_was_cited_and_what_was_shown_in_vain(store: MemoryStore) -> None:
    boat = store.add("The boat Whimbrel lies at the northern quay", source=COMMAND, now=NOW)
    store.add("The boat Tern lies at the southern quay", source=COMMAND, now=NOW)
    take_turn(store, "Where does the boat Whimbrel lie?", [boat.id])
    assert causes(store) == {"cited": 1, "unused": 1}


def test_features_of_a_label_are_those_of_before_the_use(store: MemoryStore) -> None:
    boat = store.add("The boat Whimbrel lies at the northern quay", source=COMMAND, now=NOW)
    uses = []
    for day in (0, 1):
        take_turn(store, "Where does the boat Whimbrel lie?", [boat.id], day)
    with reading(store.engine) as connection:
        for row in connection.execute(sa.select(retention_labels).where(retention_labels.c.cause == "cited")):
            uses.append(rows.unpack([row.features])[0][NAMES.index("uses")])
    assert uses == pytest.approx([0.0, np.log(2)])


def test_feedback_labels_too(store: MemoryStore) -> None:
    office = store.add("My office is in B12", source=COMMAND, now=NOW)
    turn = take_turn(store, "Where is my office?", [office.id])
    store.feedback(turn, "good", now=NOW)
    store.feedback(turn, "correct", "My office is in C3", now=NOW)
    assert causes(store)["good"] == causes(store)["corrected"] == 1
    store.observe(turn, "My office is in C3", recalled=[], cited=[], scope="main", now=NOW + DAY)
    assert causes(store)["confirmed"] == 1


def with_labels(store: MemoryStore, count: int = 200, informative: bool = True) -> None:
    """Memories of which the ones with a number are used, or any at random."""
    rng = np.random.default_rng(1)
    used = []
    for number in range(count):
        useful = number % 3 == 0
        text = f"word{number} thing{number} costs ${number} today" if useful else f"yeah word{number} thanks cool"
        memory = store.add(text, source=COMMAND, now=NOW)
        used.append((memory.id, useful if informative else bool(rng.random() < 0.3)))
    with writing(store.engine) as connection:
        rows.catch_up(connection, store.embedder_id)
        for key, was_used in used:
            model.label(connection, [key], "cited" if was_used else "unused", "2026-11-23T12:00:00.000Z")


def test_a_model_that_beats_constant_and_recency_decides(store: MemoryStore) -> None:
    with_labels(store)
    made = store.train(NOW)
    assert made is not None and made.active, made
    figures = store.stats()["retention"]
    assert figures["model"] == made.id
    assert figures["verdict"]["model"] < min(figures["verdict"]["constant"], figures["verdict"]["incumbent"])
    assert figures["calibration"]["error"] < 0.1
    assert sum(part["count"] for part in figures["calibration"]["bins"]) == 200
    assert figures["curve"][0]["memories"] == 200


def test_a_model_that_knows_nothing_steps_back(store: MemoryStore) -> None:
    with_labels(store, informative=False)
    made = store.train(NOW)
    assert made is not None and not made.active
    assert store.stats()["retention"]["model"] is None


def test_versions_can_be_gone_back_to_and_old_ones_go(store: MemoryStore) -> None:
    with_labels(store)
    made = [store.train(NOW) for _ in range(model.VERSIONS + 2)]
    first, last = made[0], made[-1]
    assert first is not None and last is not None
    assert store.roll_back(last.id - 1).active
    assert store.stats()["retention"]["model"] == last.id - 1
    assert len(store.stats()["retention"]["versions"]) == model.VERSIONS
    with pytest.raises(NoSuchModel):
        store.roll_back(first.id)


def test_why_tells_the_features_and_the_history(store: MemoryStore) -> None:
    with_labels(store)
    store.train(NOW)
    told = store.why(1)["retention"]
    assert told["probability"] > 0.5
    assert told["decided_by"].startswith("model")
    assert told["labels"] == {"cited": 1}
    assert max(told["contributions"].values()) > 0


def test_a_pass_keeps_within_the_budget_and_keeps_what_is_pinned(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_rows=10, budget_tokens=None)
    for number in range(20):
        store.add(f"thing{number} of word{number}", source=COMMAND, now=NOW + number * DAY)
    store.pin(1)
    told = store.shrink(dry_run=True, now=NOW + 30 * DAY)
    assert len(store.list()) == 20
    done = store.shrink(now=NOW + 30 * DAY)
    assert [one.id for one in done.evicted] == [one.id for one in told.evicted]
    left = {memory.id for memory in store.list()}
    assert len(left) <= 10 and 1 in left and 20 in left
    assert {memory.state for memory in store.list(states=("archived",))} == {"archived"}
    assert not store.shrink(now=NOW + 30 * DAY).evicted


def test_a_pass_never_empties_a_store_whose_memories_are_all_old(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_rows=10, budget_tokens=None)
    for number in range(12):
        store.add(f"thing{number} of word{number}", source=COMMAND, now=NOW)
    store.shrink(now=NOW + 2000 * DAY)
    assert 8 <= len(store.list()) <= 10


def test_a_budget_of_tokens_counts_a_quarter_of_the_characters(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_tokens=100, budget_rows=None)
    for number in range(20):
        store.add(f"word{number:02} thing{number:02} other{number:02} more{number:02}!", source=COMMAND, now=NOW)
    done = store.shrink(now=NOW)
    assert done.fill == pytest.approx(20 * 30 / 4 / 100)
    assert done.tokens <= 100 and done.kept == len(store.list())


def test_the_model_chooses_what_leaves(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_rows=80, budget_tokens=None)
    with_labels(store)
    store.train(NOW)
    store.shrink(now=NOW)
    assert sum("costs" in memory.text for memory in store.list()) >= 0.9 * 67


def test_a_question_that_hits_a_ghost_brings_it_back(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_rows=5, budget_tokens=None)
    old = store.add("The boat Whimbrel lies at the northern quay", source=COMMAND, now=NOW)
    for number in range(10):
        store.add(f"thing{number} of word{number}", source=COMMAND, now=NOW + number * DAY)
    store.shrink(now=NOW + 20 * DAY)
    assert store.get(old.id).state == "archived"
    assert not store.recall("boat Whimbrel northern quay", scopes=["other"])
    found = store.recall("boat Whimbrel northern quay", scopes=["main"])
    assert found[0].memory.id == old.id
    assert store.why(old.id)["retention"]["evictions"][0]["restored_at"] is not None
    assert store.shrink(dry_run=True, now=NOW + 20 * DAY).regret > 0


def test_a_purge_takes_features_labels_and_the_ghost(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_rows=2, budget_tokens=None)
    old = store.add("The boat Whimbrel lies at the northern quay", source=COMMAND, now=NOW)
    take_turn(store, "Where does the boat Whimbrel lie?", [old.id])
    for number in range(4):
        store.add(f"thing{number} of word{number}", source=COMMAND, now=NOW + DAY)
    store.shrink(now=NOW + 60 * DAY)
    store.recall("thing", scopes=["main"])
    store.purge(old.id)
    assert not store.recall("boat Whimbrel northern quay", scopes=["main"])
    assert causes(store) == {}
    with reading(store.engine) as connection:
        kept = sa.select(retention_features.c.memory).where(retention_features.c.memory == old.id)
        assert connection.execute(kept).first() is None


def test_over_budget_a_pass_waits_until_the_turn_has_ended(opener: Callable[..., MemoryStore]) -> None:
    store = opener(budget_rows=5, budget_tokens=None)
    for number in range(10):
        store.add(f"thing{number} of word{number}", source=COMMAND, now=NOW + number * DAY)
    take_turn(store, "What of thing9?", day=11)
    assert len(store.list()) == 10
    done = store.tidy(NOW + 11 * DAY)
    assert done is not None and len(store.list()) == done.kept <= 5
    assert store.tidy(NOW + 11 * DAY) is None


def test_new_labels_are_learned_from_once(store: MemoryStore) -> None:
    with_labels(store)
    for _ in range(2):
        store.tidy(NOW)
        assert len(store.stats()["retention"]["versions"]) == 1
    take_turn(store, "What of thing9?")
    store.tidy(NOW)
    assert len(store.stats()["retention"]["versions"]) == 2


def test_the_shipped_prior_knows_every_feature() -> None:
    assert model.shipped_prior().names == NAMES


def test_a_first_model_learns_what_questions_ask_for() -> None:
    import json

    from memory.errors import BadExamples
    from memory.retention.prior import train_prior

    lines = []
    for number in range(30):
        fact = f"On {number + 1} May Anna Berg paid $90 for boat {number}."
        context = f"It was so. {fact} They were glad of it."
        start = context.index("Anna")
        lines.append(json.dumps({"context": context, "question": "Who?", "start": start, "end": start + 9}))
    scorer = train_prior(lines, word_embedding, 100)
    assert isinstance(scorer, Scorer)
    assert scorer.weights[NAMES.index("amounts")] > 0
    assert train_prior(lines, word_embedding, 10).bias == pytest.approx(scorer.bias, abs=1.0)
    for bad in ("{", "[]", '{"context": "A. B. C."}', '{"context": "A. B. C.", "start": 0, "end": 0}'):
        with pytest.raises(BadExamples):
            train_prior([bad], word_embedding, 10)
