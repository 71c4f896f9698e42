"""Weights learned from use: what the fit finds, what the gate lets through, and what recall then does."""

import json

import numpy as np
import pytest
import sqlalchemy as sa

from memory import tuning
from memory.ranking import WEIGHTS
from memory.schema import exposures, rankings, turns
from memory.store import MemoryStore
from memory.types import Source
from memory.weighing import Use, fit, judge
from retrieval.sqlite import reading, writing

AT = "2026-01-01T00:00:00.000Z"
PRIOR = np.array([1.0, 0.5, 0.1])


def uses(count: int, truth: list[float], seed: int = 0, noise: float = 0.02) -> list[Use]:
    """Turns shown eight memories, of which the one that is best by `truth` was cited."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        measured = rng.uniform(0, 1, (8, 3))
        score = measured @ np.array(truth) + noise * rng.standard_normal(8)
        found.append(Use(measured, score == score.max()))
    return found


def test_the_fit_finds_what_the_citations_follow_and_stays_in_bounds() -> None:
    learned = fit(uses(200, [0.2, 1.0, 0.0]), PRIOR)
    assert learned[1] > learned[0]
    assert np.all(learned >= 0)
    assert np.all(learned <= 3 * PRIOR)


def test_few_turns_stay_near_the_prior() -> None:
    few, many = (np.abs(fit(uses(count, [0.2, 1.0, 0.0]), PRIOR) - PRIOR).max() for count in (2, 200))
    assert few < 0.3 * many


def test_no_weights_of_the_same_size_explain_the_citations_better() -> None:
    given = uses(30, [0.9, 0.6, 0.1], noise=0.1)
    learned = fit(given, PRIOR)

    def loss(weights: np.ndarray) -> float:  # of the directions alone, at the best of many sizes, pair by pair
        total = []
        for size in np.linspace(0.4, 3, 14):
            sized = size * weights
            pull = 1.5 * float((((sized - PRIOR) / PRIOR) ** 2).sum())
            for use in given:
                pairs = [10 * (c - u) @ sized for c in use.measured[use.cited] for u in use.measured[~use.cited]]
                pull += float(np.mean(np.log1p(np.exp(-np.array(pairs)))))
            total.append(pull)
        return min(total)

    best = loss(learned)
    for step in np.eye(3) * 0.05:
        assert best < loss(learned + step) + 0.02
        assert best < loss(learned - step) + 0.02


def test_the_gate_lets_through_what_wins_later_and_nothing_else() -> None:
    assert judge(uses(120, [0.2, 1.0, 0.0]), PRIOR).wins
    assert not judge(uses(120, PRIOR.tolist()), PRIOR).wins
    assert not judge(uses(40, [0.2, 1.0, 0.0]), PRIOR).wins  # too few to prove it
    turned = uses(80, [0.2, 1.0, 0.0]) + uses(40, [1.0, 0.0, 0.0], seed=1)
    assert not judge(turned, PRIOR).wins  # what was learned no longer holds
    nothing = [Use(np.zeros((3, 3)), np.array([False] * 3)), Use(np.zeros((2, 3)), np.array([True] * 2))]
    assert judge(nothing, PRIOR).turns == 0


def used(store: MemoryStore, count: int, follows: str) -> None:
    """Turns that were shown three memories and cited the one with most of the term `follows`; then learning."""
    rng = np.random.default_rng(len(follows))
    held = [store.add(f"My number {word} is {n}", source=Source("command")) for n, word in enumerate(("a", "b", "c"))]
    session = store.start_session()
    with writing(store.engine) as connection:
        for _ in range(count):
            row = {
                "session": session,
                "asked_at": AT,
                "question": "",
                "answer": "",
                "answer_json": "",
                "complete": True,
            }
            turn = connection.execute(sa.insert(turns).values(row).returning(turns.c.id)).scalar_one()
            measured = [dict(zip(WEIGHTS, rng.uniform(0, 1, len(WEIGHTS)).tolist(), strict=True)) for _ in held]
            best = max(measured, key=lambda values: values[follows])
            for rank, (memory, values) in enumerate(zip(held, measured, strict=True), 1):
                shown = {"memory": memory.id, "turn": turn, "at": AT, "rank": rank, "cited": values is best}
                connection.execute(sa.insert(exposures).values(shown | {"measured": json.dumps(values)}))
        tuning.learn(connection, AT)


def test_recall_uses_learned_weights_while_they_win_and_steps_back_after(store: MemoryStore) -> None:
    used(store, 30, "words")
    with reading(store.engine) as connection:
        assert tuning.weights(connection) == WEIGHTS  # not enough turns to prove anything
    used(store, 70, "words")
    with reading(store.engine) as connection:
        learned = tuning.weights(connection)
    assert learned["words"] / learned["meaning"] > 2 * WEIGHTS["words"] / WEIGHTS["meaning"]
    assert store.stats()["ranking"]["learned"] is True
    [found, *_] = store.recall("number a", scopes=["main"])
    assert found.parts["words"] == pytest.approx(learned["words"] * found.measured["words"])
    with writing(store.engine) as connection:  # the user changes: now memories are cited that resemble
        for row in connection.execute(sa.select(exposures).where(exposures.c.turn > 60)).all():
            cited = json.loads(row.measured)["meaning"] > 0.7
            connection.execute(sa.update(exposures).where(exposures.c.id == row.id).values(cited=cited))
        connection.execute(sa.update(rankings).values(turns=0))
        tuning.learn(connection, AT)
        assert tuning.weights(connection) == WEIGHTS
        assert connection.execute(sa.select(sa.func.count()).select_from(rankings)).scalar_one() > 1
