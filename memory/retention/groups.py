"""Group-relative improvement of a scorer: sampled evictions are compared with each other by what questions then find.

As in GRPO (Shao et al., 2024, arXiv 2402.03300): of one store several sets are kept, drawn by perturbing the scorer's
log-worths (Gumbel top-k within the budget); each is rewarded by replaying the same questions, rewards are normalised
within the group, and a KL term holds the policy to the supervised scorer it began from. N memories, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from memory.retention.budget import EXPONENT, keep
from memory.retention.features import Floats
from memory.retention.scorer import Scorer, sigmoid

GROUP = 16
_STEPS = 60
_RATE = 0.5
_KL = 0.05
_STALE = 0.1
"""Reward lost if all that is kept holds no longer."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A store that was full, and what questions came to need afterwards."""

    features: Floats  # [N, F]
    cost: Floats  # [N]
    evidence: Sequence[NDArray[np.int64]]
    stale: NDArray[np.bool_]  # [N]


def reward(episode: Episode, kept: NDArray[np.bool_]) -> float:
    """Mean share of evidence kept, less the share of what is kept that holds no longer."""
    found = float(np.mean([kept[places].mean() for places in episode.evidence]))
    return found - _STALE * float(episode.stale[kept].mean() if kept.any() else 0.0)


def improve(scorer: Scorer, episodes: Sequence[Episode], budgets: Sequence[float], seed: int = 0) -> Scorer:
    """The scorer after policy ascent on `episodes`, each cut to shares `budgets` of its cost in turn."""
    rng = np.random.default_rng(seed)
    weights = scorer.weights.copy()
    inputs = [scorer.standardised(episode.features) for episode in episodes]
    for step in range(_STEPS):
        slope = np.zeros_like(weights)
        for z, episode in zip(inputs, episodes, strict=True):
            slope += _slope(z, episode, budgets[step % len(budgets)], weights, scorer, rng) / len(episodes)
        weights += _RATE * slope
    return replace(scorer, weights=weights)


def _slope(
    z: Floats, episode: Episode, share: float, weights: Floats, start: Scorer, rng: np.random.Generator
) -> Floats:
    """The ascent direction [F] of one store's group."""
    odds, first = z @ weights + start.bias, z @ start.weights + start.bias
    tempered = EXPONENT * np.log(np.maximum(episode.cost, 1.0))
    log_worth = np.log(sigmoid(odds)) - tempered
    budget = share * float(episode.cost.sum())
    drawn = [keep(log_worth + rng.gumbel(size=len(odds)), episode.cost, budget) for _ in range(GROUP)]
    rewards = np.array([reward(episode, kept) for kept in drawn])
    advantage = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
    # Each memory is kept about as a coin of its worth against the price at which the budget closes.
    price = np.quantile(log_worth, 1.0 - np.mean([kept.mean() for kept in drawn]))
    chance = sigmoid(log_worth - price)
    surprise = (np.array(drawn, np.float64) - chance) * (1.0 - sigmoid(odds))  # [GROUP, N], d log_worth / d odds
    ascent: Floats = (advantage[:, None] * surprise).mean(axis=0) @ z / len(odds)
    p = sigmoid(odds)
    held: Floats = (p * (1.0 - p) * (odds - first)) @ z / len(odds)  # slope of KL(policy || start)
    return ascent - _KL * held
