"""The pure parts of retention: features, scorer, gate, budget, heuristics. Cases small enough to check by hand."""

import numpy as np
import pytest

from memory.retention import features, heuristics
from memory.retention.budget import density, keep, next_price
from memory.retention.gate import calibration_error, judge, log_loss, reliability
from memory.retention.groups import Episode, improve, reward
from memory.retention.learner import Learner
from memory.retention.scorer import Scorer, fit


def content(text: str) -> dict[str, float]:
    return dict(zip(features.CONTENT, features.content(text), strict=True))


def test_a_fact_and_a_pleasantry_look_different() -> None:
    fact = content("Last week I adopted a dog named Rufus for $90.")
    chat = content("Wow, thanks! How are you?")
    for name in ("times", "names", "people", "amounts", "past", "first_person"):
        assert fact[name] > chat[name], name
    assert chat["pleasantries"] > fact["pleasantries"]
    assert chat["ends_in_question"] == 1
    assert chat["questions"] == 0.5


def test_features_of_a_text_without_a_word_are_finite() -> None:
    for text in ("?", "...", "数据", ""):
        assert np.isfinite(features.content(text)).all()


def test_novelty_falls_when_something_like_it_is_known() -> None:
    names = features.STORE
    new = dict(zip(names, features.against_store(3, 4, np.array([0.1]), 0.0), strict=True))
    old = dict(zip(names, features.against_store(0, 4, np.array([0.9, 0.2]), 0.0), strict=True))
    assert (new["novelty"], old["novelty"]) == pytest.approx((0.9, 0.1))
    assert new["new_words_share"] == 0.75


def test_neighbours_of_another_session_do_not_count() -> None:
    width = len(features.CONTENT) + len(features.STORE)
    written = np.zeros((3, width))
    written[:, features.CONTENT.index("ends_in_question")] = [1, 1, 0]
    found = features.in_context(written, np.array([1, 2, 2]))
    assert found[:, features.CONTEXT.index("answers_question")].tolist() == [0, 0, 1]
    assert found[:, features.CONTEXT.index("session_length")] == pytest.approx(np.log([1, 2, 2]))


def test_uses_fade_with_their_half_lives() -> None:
    names = features.HISTORY
    fresh = dict(zip(names, features.history([10.0], 2, 10.0), strict=True))
    week = dict(zip(names, features.history([3.0], 0, 10.0), strict=True))
    assert fresh["uses_week"] == pytest.approx(np.log(2))
    assert week["uses_week"] == pytest.approx(np.log(1.5))
    assert week["since_use"] == pytest.approx(np.log(8))
    assert fresh["unused"] == pytest.approx(np.log(3))


def examples(count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first decides, by known odds, and the second is noise."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((count, 2))
    return x, (rng.random(count) < 1 / (1 + np.exp(-(2 * x[:, 0] - 1)))).astype(float)


def test_the_scorer_finds_the_odds_and_no_other_weights_are_better() -> None:
    x, y = examples()
    found = fit(x, y, names=("signal", "noise"), strength=4.0)

    def loss(weights: np.ndarray, bias: float) -> float:
        other = Scorer(found.names, found.mean, found.scale, weights, bias)
        return len(y) * log_loss(other.probability(x), y) + 2.0 * float((weights**2).sum())

    least = loss(found.weights, found.bias)
    for step in (0.01, -0.01):
        assert loss(found.weights + np.array([step, 0]), found.bias) > least
        assert loss(found.weights + np.array([0, step]), found.bias) > least
        assert loss(found.weights, found.bias + step) > least
    assert found.weights[0] == pytest.approx(2, abs=0.4)
    assert calibration_error(found.probability(x), y) < 0.05


def test_a_strong_prior_holds_and_labels_move_a_weak_one() -> None:
    x, y = examples()
    prior = Scorer(("signal", "noise"), np.zeros(2), np.ones(2), np.array([-1.0, 0.0]), 0.0)
    held = fit(x, y, names=prior.names, prior=prior, strength=1e6)
    moved = fit(x, y, names=prior.names, prior=prior, strength=1.0)
    assert held.weights == pytest.approx(prior.weights, abs=1e-2)
    assert moved.weights[0] > 1


def test_contributions_add_up_to_the_odds_and_survive_json() -> None:
    x, y = examples()
    scorer = fit(x, y, names=("signal", "noise"))
    again = Scorer.from_json(scorer.to_json())
    parts = again.contributions(x[0])
    assert next(iter(parts)) == "signal"
    assert sum(parts.values()) + again.bias == pytest.approx(scorer.log_odds(x[:1])[0], abs=1e-4)


def test_a_constant_feature_gets_no_weight() -> None:
    x, y = examples()
    scorer = fit(np.column_stack([x, np.ones(len(x))]), y, names=("signal", "noise", "constant"))
    assert abs(scorer.weights[2]) < 1e-6
    assert np.isfinite(scorer.probability(np.array([[0.0, 0.0, 5.0]]))).all()


def test_the_learner_waits_for_labels_and_then_follows_them() -> None:
    x, y = examples()
    learner = Learner(None, ("signal", "noise"))
    assert learner.probability(x[:2]).tolist() == [0.5, 0.5]
    learner.add(x[:3], np.zeros(3))
    learner.learn()
    assert learner.scorer is None
    learner.add(x, y)
    learner.learn()
    assert learner.probability(np.array([[2.0, 0.0]]))[0] > learner.probability(np.array([[-2.0, 0.0]]))[0] + 0.5


def test_groups_raise_what_questions_need_and_stale_memories_cost() -> None:
    rng = np.random.default_rng(5)
    z = rng.standard_normal((60, 2))
    needed = np.flatnonzero(z[:, 0] > 1.0)
    episode = Episode(z, np.ones(60), [needed], np.zeros(60, np.bool_))
    start = Scorer(("signal", "noise"), np.zeros(2), np.ones(2), np.zeros(2), -1.0)
    better = improve(start, [episode], [0.2])
    assert better.weights[0] > 2 * abs(better.weights[1])
    kept = keep(better.probability(z), episode.cost, 12.0)
    assert reward(episode, kept) > reward(episode, keep(start.probability(z), episode.cost, 12.0))
    stale = Episode(z, np.ones(60), [needed], np.ones(60, np.bool_))
    assert reward(stale, kept) == pytest.approx(reward(episode, kept) - 0.1)


def test_scores_of_predictions_by_hand() -> None:
    p, y = np.array([0.25, 0.25, 0.75, 0.75]), np.array([0.0, 1.0, 1.0, 1.0])
    assert log_loss(p, y) == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert calibration_error(p, y, bins=2) == pytest.approx(0.25)
    assert [(bin.predicted, bin.used, bin.count) for bin in reliability(p, y, 2)] == [(0.25, 0.5, 2), (0.75, 1.0, 2)]


def test_the_gate_opens_only_for_what_beats_both() -> None:
    x, y = examples()
    good = fit(x, y, names=("signal", "noise")).probability(x)
    flat, ones = np.full(len(y), y.mean()), np.ones(len(y))
    assert judge(good, flat, float(y.mean()), y, ones).active
    assert not judge(flat, flat, float(y.mean()), y, ones).active
    assert not judge(flat, good, float(y.mean()), y, ones).active
    assert judge(good[:20], flat[:20], 0.5, y[:20], ones[:20]).reason == "too few labels to judge"


def test_the_budget_keeps_the_densest_and_passes_over_what_does_not_fit() -> None:
    worth, cost = np.array([3.0, 5.0, 1.0, 2.0]), np.array([4.0, 5.0, 1.0, 9.0])
    assert keep(worth, cost, 6.0).tolist() == [False, True, True, False]
    assert keep(worth, cost, 100.0, rows=2).tolist() == [True, True, False, False]
    assert keep(np.ones(3), np.ones(3), 2.0).tolist() == [True, True, False]


def test_half_the_price_of_probability_per_word() -> None:
    p, one, words = np.array([0.5, 0.5]), np.ones(2), np.array([1.0, 16.0])
    assert density(p, one, words, 0.0).tolist() == [0.5, 0.5]
    assert density(p, one, words, 0.5).tolist() == [0.5, 0.125]


def test_the_price_rises_with_pressure_and_falls_with_regret() -> None:
    assert next_price(1.0, 1.2, 0.0) > 1.0 > next_price(1.0, 0.5, 0.0)
    assert next_price(1.0, 1.0, 0.5) < next_price(1.0, 1.0, 0.0)


def test_heuristics_order_as_their_formulas_say() -> None:
    old, used, twice = np.array([0.0]), np.array([0.0, 8.0]), np.array([0.0, 1.0, 8.0])
    accesses = [old, used, twice]
    assert np.argsort(heuristics.lru(accesses)).tolist()[0] == 0
    assert np.argsort(heuristics.lfu(accesses)).tolist() == [0, 1, 2]
    assert np.argsort(heuristics.act_r(accesses, 10.0)).tolist() == [0, 1, 2]
    assert heuristics.act_r([old], 1.0)[0] == pytest.approx(np.log(24**-0.5))
    importance = np.array([1.0, 0.0, 0.0])
    assert heuristics.generative_agents([old, old, used], importance, 10.0).argmax() in (0, 2)


def test_fsrs_gives_nine_tenths_after_one_stability_and_more_after_review() -> None:
    assert heuristics.fsrs([np.array([0.0])], 2.3065)[0] == pytest.approx(0.9)
    once, reviewed = heuristics.fsrs([np.array([0.0]), np.array([0.0, 3.0])], 30.0)
    assert reviewed > once
