"""Weights of recall learned from use: which of the memories that a turn was shown its answer cited. Pure functions.

M terms of a score, P pairs. A turn gives pairs of a cited and an uncited memory; the loss is the logistic one on their
difference (RankNet, Burges et al., ICML 2005), every turn weighing the same, with an L2 pull to the prior. It is convex
in M = 6 weights, so a few Newton steps on all turns take milliseconds and need no state between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SHARPNESS = 10.0
"""Scores of rivals lie about .1 apart: this makes that a logit."""
_PULL = 3.0
"""Of the prior, in turns: on LoCoMo, half of the questions learned and half asked, recall@10 rises by .024 with 1, .027
with 3 and .018 with 10."""
_BOUND = 3.0
"""No weight leaves 0 to this many times its prior."""
_STEPS = 50
_CLOSE = 1e-6
_HELD_OUT = 0.3
LEAST = 20
"""Turns on which weights must prove themselves."""


@dataclass(frozen=True, slots=True)
class Use:
    """A turn: what was measured of the memories that it was shown, in the order shown, and which were cited."""

    measured: Floats  # [shown, M]
    cited: NDArray[np.bool_]  # [shown]

    @property
    def tells(self) -> bool:
        """Whether it has something to compare."""
        return bool(self.cited.any()) and not bool(self.cited.all())


@dataclass(frozen=True, slots=True)
class Judged:
    """Weights fitted to all turns, and what such weights gain on turns held out, later than those they learned from.

    `gain` is of NDCG over the memories shown, per turn, with its standard `error`.
    """

    weights: Floats  # [M]
    turns: int
    gain: float
    error: float

    @property
    def wins(self) -> bool:
        """Whether the gain is above zero with 95% confidence, one-sided."""
        return self.turns > 0 and self.gain > 1.645 * self.error and self.gain > 0


def judge(uses: Sequence[Use], prior: Floats) -> Judged:
    """Fit weights to `uses`, oldest first, and measure on the latest of them what fitting to the earlier ones gains."""
    telling = [use for use in uses if use.tells]
    held = int(len(telling) * _HELD_OUT)
    if held < LEAST:
        return Judged(prior, len(telling), 0.0, 0.0)
    early, late = telling[:-held], telling[-held:]
    learned = fit(early, prior)
    gains = np.array([ndcg(use.measured @ learned, use.cited) - ndcg(use.measured @ prior, use.cited) for use in late])
    return Judged(fit(telling, prior), len(telling), float(gains.mean()), float(gains.std() / np.sqrt(held)))


def fit(uses: Sequence[Use], prior: Floats) -> Floats:
    """The weights [M] that put cited memories before others, near `prior`, of its size and within their bounds."""
    pairs, shares = [], []
    for use in uses:
        differences = use.measured[use.cited][:, None] - use.measured[~use.cited][None]  # [cited, uncited, M]
        pairs.append(differences.reshape(-1, len(prior)))
        shares.append(np.full(len(pairs[-1]), 1 / max(len(pairs[-1]), 1)))
    x, share = np.concatenate(pairs), np.concatenate(shares)  # [P, M], [P]
    pull = _PULL / prior**2

    def loss(weights: Floats) -> float:
        wrong = np.logaddexp(0, -_SHARPNESS * x @ weights)  # [P]
        return float(share @ wrong + 0.5 * pull @ (weights - prior) ** 2)

    weights = prior.copy()
    for _ in range(_STEPS):
        wrong = np.exp(-np.logaddexp(0, _SHARPNESS * x @ weights))  # [P]
        slope = -_SHARPNESS * (share * wrong) @ x + pull * (weights - prior)
        bend = _SHARPNESS**2 * (x * (share * wrong * (1 - wrong))[:, None]).T @ x + np.diag(pull)
        step = np.linalg.solve(bend, slope)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > _CLOSE:
            step = step / 2
        weights = weights - step
        if np.abs(step).max() <= _CLOSE:
            break
    # Only the proportions rank: of the prior's size, a score means to the eye what it meant before.
    weights = np.maximum(weights, 0.0)
    weights *= prior.sum() / weights.sum()
    return np.minimum(weights, _BOUND * prior)


def ndcg(scores: Floats, cited: NDArray[np.bool_]) -> float:
    """Of memories [shown] in the order of their scores, those `cited` being relevant."""
    order = np.argsort(-scores, kind="stable")
    discounts = 1 / np.log2(np.arange(len(order)) + 2)
    return float(discounts[cited[order]].sum() / discounts[: cited.sum()].sum())
