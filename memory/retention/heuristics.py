"""Policies that do not learn, to be beaten. Each gives worth [N] from times of writing and access, in days.

An access is a recall by something that the user said later; writing counts as the first.
"""

from collections.abc import Sequence

import numpy as np

from memory.retention.features import Floats

_FSRS_DECAY = 0.1542
_FSRS_STABILITY = 2.3065
_FSRS_GROWTH = 1.8722
"""w20, w2 and w8 of FSRS-6 (open-spaced-repetition/fsrs4anki, default parameters); difficulty stays at its middle."""
_FSRS_SATURATION = 0.1666
_FSRS_SURPRISE = 0.796
_FSRS_DIFFICULTY = 5.0


def recency(written: Floats) -> Floats:
    """The later written, the more worth."""
    return written


def lru(accesses: Sequence[Floats]) -> Floats:
    """The later accessed, the more worth."""
    return np.array([times.max() for times in accesses])


def lfu(accesses: Sequence[Floats]) -> Floats:
    """The more often accessed, the more worth; ties by the later access."""
    latest = lru(accesses)
    return np.array([float(len(times)) for times in accesses]) + 1e-3 * latest / max(1.0, float(np.abs(latest).max()))


def generative_agents(accesses: Sequence[Floats], importance: Floats, now: float) -> Floats:
    """Recency .995 per hour since the last access plus importance, each scaled to [0, 1] (Park et al., UIST 2023).

    Their third term, relevance, needs a question; their importance is asked of a model, here it is passed in.
    """
    return _unit(0.995 ** (24.0 * (now - lru(accesses)))) + _unit(importance)


def act_r(accesses: Sequence[Floats], now: float, decay: float = 0.5) -> Floats:
    """Base-level activation ln sum t^-d (Anderson and Schooler, 1991), t in hours."""
    return np.array([float(np.log((np.maximum(24.0 * (now - times), 0.1) ** -decay).sum())) for times in accesses])


def fsrs(
    accesses: Sequence[Floats], now: float, stability: float = _FSRS_STABILITY, decay: float = _FSRS_DECAY
) -> Floats:
    """Retrievability by the curve and the stability rule of FSRS-6 after "good" reviews; R(S) = .9."""
    factor = 0.9 ** (-1.0 / decay) - 1.0
    worth = np.zeros(len(accesses))
    for index, times in enumerate(accesses):
        strength, last = stability, float(times[0])
        for time in times[1:]:
            recalled = (1.0 + factor * max(float(time) - last, 0.0) / strength) ** -decay
            gain = (
                np.exp(_FSRS_GROWTH)
                * (11.0 - _FSRS_DIFFICULTY)
                * strength**-_FSRS_SATURATION
                * (np.exp(_FSRS_SURPRISE * (1.0 - recalled)) - 1.0)
            )
            strength, last = strength * (1.0 + gain), float(time)
        worth[index] = (1.0 + factor * max(now - last, 0.0) / strength) ** -decay
    return worth


def _unit(x: Floats) -> Floats:
    span = float(x.max() - x.min()) if len(x) else 0.0
    scaled: Floats = (x - x.min()) / span if span else np.zeros(len(x))
    return scaled
