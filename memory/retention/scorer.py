"""The retention model: a logistic regression whose few weights stay near a prior. Knows features by name only.

N examples, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memory.retention.features import Floats

CLIP = 3.0
"""Standard deviations beyond which a feature says no more: one odd text must not decide by one number."""
_STEPS = 30
_SMALLEST = 1e-3
"""Spread below which a feature is constant and gets no weight."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """P(used within the next sessions) = sigmoid(bias + weights · z), z the features standardised and clipped."""

    names: tuple[str, ...]
    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def standardised(self, features: Floats) -> Floats:
        """[N, F] as the weights see them."""
        z: Floats = np.clip((features - self.mean) / self.scale, -CLIP, CLIP)
        return z

    def log_odds(self, features: Floats) -> Floats:
        """[N]"""
        odds: Floats = self.standardised(features) @ self.weights + self.bias
        return odds

    def probability(self, features: Floats) -> Floats:
        """[N], calibrated as far as the training data were typical."""
        return sigmoid(self.log_odds(features))

    def contributions(self, features: Floats) -> dict[str, float]:
        """What each feature of one memory [F] adds to its log-odds, the weightiest first."""
        parts = self.standardised(features) * self.weights
        order = np.argsort(-np.abs(parts), kind="stable")
        return {self.names[index]: float(parts[index]) for index in order}

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "mean": np.round(self.mean, 6).tolist(),
            "scale": np.round(self.scale, 6).tolist(),
            "weights": np.round(self.weights, 6).tolist(),
            "bias": round(self.bias, 6),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Scorer":
        arrays = [np.array(row[key], np.float64) for key in ("mean", "scale", "weights")]
        return cls(tuple(row["names"]), arrays[0], arrays[1], arrays[2], float(row["bias"]))


def sigmoid(x: Floats) -> Floats:
    """Without overflow."""
    y: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return y


def fit(
    features: Floats,
    used: Floats,
    weight: Floats | None = None,
    *,
    names: Sequence[str],
    prior: Scorer | None = None,
    strength: float = 50.0,
) -> Scorer:
    """The scorer of highest posterior for examples [N, F] with labels [N] of 0 and 1, by Newton's method.

    The prior is Gaussian of precision `strength` around `prior`'s weights, or around none; with a prior its
    standardisation is kept, so that its weights mean the same. The bias is all but free.
    """
    weight = np.ones(len(used)) if weight is None else weight
    if prior is None:
        mean, spread = features.mean(axis=0), features.std(axis=0)
        scale = np.where(spread < _SMALLEST, 1e6, spread)
        rate = float(np.clip(np.average(used, weights=weight), 1e-3, 1 - 1e-3))
        start = Scorer(tuple(names), mean, scale, np.zeros(len(names)), float(np.log(rate / (1 - rate))))
    else:
        start = prior
    z = np.column_stack([start.standardised(features), np.ones(len(used))])  # [N, F + 1]
    centre = np.r_[start.weights, start.bias]
    precision = np.r_[np.full(len(names), strength), 1.0 if prior is not None else 1e-3]
    solution = centre.copy()
    for _ in range(_STEPS):
        p = sigmoid(z @ solution)
        slope = z.T @ (weight * (used - p)) - precision * (solution - centre)
        curvature = (z * (weight * p * (1 - p))[:, None]).T @ z + np.diag(precision)
        step = np.linalg.solve(curvature, slope)
        solution = solution + step * min(1.0, 5.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return Scorer(start.names, start.mean, start.scale, solution[:-1], float(solution[-1]))
