"""Is the model good enough to decide? Proper scores on held-out time, and the rule that it must win."""

from dataclasses import dataclass

import numpy as np

from memory.retention.features import Floats

_MARGIN = 0.01
"""Share of the log-loss that a model must win: less is noise."""
_LEAST = 50
"""Held-out labels, and at least 5 of each kind, below which nothing is decided."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Log-losses on held-out labels; `active` says whether the model may decide."""

    active: bool
    examples: int
    model: float
    constant: float
    incumbent: float
    reason: str


@dataclass(frozen=True, slots=True)
class Bin:
    """Memories of similar predictions: their mean prediction and how many were used."""

    predicted: float
    used: float
    count: int


def log_loss(p: Floats, used: Floats, weight: Floats | None = None) -> float:
    """Mean negative log-likelihood in nats."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return float(np.average(-(used * np.log(p) + (1 - used) * np.log1p(-p)), weights=weight))


def reliability(p: Floats, used: Floats, bins: int = 10) -> list[Bin]:
    """Predictions against outcomes in bins of equal count."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    return [Bin(float(p[part].mean()), float(used[part].mean()), len(part)) for part in parts]


def calibration_error(p: Floats, used: Floats, bins: int = 10) -> float:
    """Expected calibration error over bins of equal count (Naeini, Cooper and Hauskrecht, AAAI 2015)."""
    return sum(bin.count * abs(bin.predicted - bin.used) for bin in reliability(p, used, bins)) / max(1, len(p))


def judge(model: Floats, incumbent: Floats, constant: float, used: Floats, weight: Floats) -> Verdict:
    """Compare predictions [N] for labels that no training saw; `incumbent` are those of the heuristic in force."""
    enough = len(used) >= _LEAST and min(used.sum(), len(used) - used.sum()) >= 5
    if not enough:
        return Verdict(False, len(used), 0.0, 0.0, 0.0, "too few labels to judge")
    losses = [log_loss(p, used, weight) for p in (model, np.full(len(used), constant), incumbent)]
    bar = min(losses[1], losses[2]) * (1 - _MARGIN)
    won = losses[0] < bar
    reason = "better than the constant and the heuristic" if won else "not better than the constant and the heuristic"
    return Verdict(won, len(used), losses[0], losses[1], losses[2], reason)
