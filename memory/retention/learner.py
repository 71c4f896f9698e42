"""Learning from use as it happens: labels are gathered, and the few weights refitted near their prior.

Retrieved and needed is a positive, retrieved in vain a weak negative; what was not retrieved is unknown, and no label.
"""

from collections.abc import Sequence

import numpy as np

from memory.retention.features import Floats
from memory.retention.scorer import Scorer, fit

UNUSED_WEIGHT = 0.3
"""Of a memory that was shown in vain: the question may simply have needed another."""
STRENGTH = 10.0
"""Precision of the prior in online learning: lower than in training, because a prior from elsewhere is often wrong."""
WINDOW = 4000
"""The latest labels that a refit reads: it takes milliseconds, and old habits fade."""
_LEAST = 5
"""Positives before anything is learned."""


class Learner:
    """A scorer that follows its labels. Without a prior it knows nothing until the first labels came."""

    def __init__(self, prior: Scorer | None, names: Sequence[str], strength: float = STRENGTH) -> None:
        self.prior = prior
        self.scorer = prior
        self.strength = strength
        self._names = tuple(names)
        self._features: list[Floats] = []
        self._used: list[float] = []
        self._weight: list[float] = []

    def add(self, features: Floats, used: Floats, weight: Floats | None = None) -> None:
        """Take in labels [N] of 0 and 1 for features [N, F]; by default negatives weigh `UNUSED_WEIGHT`."""
        weight = np.where(used > 0, 1.0, UNUSED_WEIGHT) if weight is None else weight
        self._features = [*self._features, *features][-WINDOW:]
        self._used = [*self._used, *map(float, used)][-WINDOW:]
        self._weight = [*self._weight, *map(float, weight)][-WINDOW:]

    def learn(self) -> None:
        """Refit to the labels of the window."""
        if sum(self._used) < _LEAST or min(self._used) > 0:
            return
        examples = np.array(self._features), np.array(self._used), np.array(self._weight)
        self.scorer = fit(*examples, names=self._names, prior=self.prior, strength=self.strength)

    def probability(self, features: Floats) -> Floats:
        """[N]"""
        return np.full(len(features), 0.5) if self.scorer is None else self.scorer.probability(features)
