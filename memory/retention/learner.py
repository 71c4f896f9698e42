"""Learning from use as it happens: labels are gathered, and the few weights refitted near their prior.

Retrieved and needed is a positive, retrieved in vain a negative; what was not retrieved is unknown, and no label.
"""

from collections.abc import Sequence

import numpy as np

from memory.retention.features import Floats
from memory.retention.gate import log_loss
from memory.retention.scorer import Scorer, fit

STRENGTH = 10.0
"""Precision of the prior in online learning: lower than in training, because a prior from elsewhere is often wrong."""
WINDOW = 4000
"""The latest labels that a refit reads: it takes milliseconds, and old habits fade."""
HELD_OUT = 0.3
"""The latest share of the labels, on which what was learned from the earlier ones is judged."""
_LEAST = 5
"""Positives before anything is learned."""


def learned(
    features: Floats, used: Floats, weight: Floats, names: Sequence[str], prior: Scorer | None
) -> tuple[Scorer, Scorer] | None:
    """What labels in order of time teach: the scorer of all, and the one of the earlier part alone, to be judged.

    It begins from the prior or from nothing, whichever foretells the later part better: a prior from elsewhere may
    mislead. None while there are too few labels.
    """
    cut = round(len(used) * (1 - HELD_OUT))
    early, late = slice(None, cut), slice(cut, None)
    if used.sum() < _LEAST or not 0 < used[early].sum() < cut:
        return None
    starts = [None] if prior is None else [prior, None]
    judged = [
        fit(features[early], used[early], weight[early], names=names, prior=start, strength=STRENGTH)
        for start in starts
    ]
    losses = [log_loss(scorer.probability(features[late]), used[late], weight[late]) for scorer in judged]
    best = int(np.argmin(losses))
    return fit(features, used, weight, names=names, prior=starts[best], strength=STRENGTH), judged[best]


class Learner:
    """A scorer that follows its labels. Without a prior it knows nothing until the first labels came."""

    def __init__(self, prior: Scorer | None, names: Sequence[str]) -> None:
        self.prior = prior
        self.scorer = prior
        self._names = tuple(names)
        self._features: list[Floats] = []
        self._used: list[float] = []

    def add(self, features: Floats, used: Floats) -> None:
        """Take in labels [N] of 0 and 1 for features [N, F]."""
        self._features = [*self._features, *features][-WINDOW:]
        self._used = [*self._used, *map(float, used)][-WINDOW:]

    def learn(self) -> None:
        """Refit to the labels of the window."""
        used = np.array(self._used)
        found = learned(np.array(self._features), used, np.ones(len(used)), self._names, self.prior)
        if found is not None:
            self.scorer = found[0]

    def probability(self, features: Floats) -> Floats:
        """[N]"""
        return np.full(len(features), 0.5) if self.scorer is None else self.scorer.probability(features)
