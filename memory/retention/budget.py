"""Which memories stay within a budget: by expected value per word, under a price that moves. Pure functions."""

import math

import numpy as np
from numpy.typing import NDArray

from memory.retention.features import Floats

EXPONENT = 0.7
"""Value is divided by cost ** EXPONENT. Plain probability (0) keeps long texts, full cost (1) trusts small
probabilities of short ones too much; between .5 and .8 the share of evidence kept hardly changes."""
_AIM = 0.9
"""Fill of the budget at which the price stands still."""
_PRESSURE_GAIN = 1.0
_REGRET_GAIN = 2.0


def density(probability: Floats, value: Floats, cost: Floats, exponent: float = EXPONENT) -> Floats:
    """Expected value per word [N], costs tempered by `exponent`."""
    worth: Floats = probability * value / np.maximum(cost, 1.0) ** exponent
    return worth


def keep(worth: Floats, cost: Floats, budget: float, rows: int | None = None) -> NDArray[np.bool_]:
    """Mask [N] of what stays: greedily the highest worth that still fits; ties go to the earlier.

    `budget` in the unit of `cost`, `rows` at most; a memory too large for what is left is passed over.
    """
    kept = np.zeros(len(worth), np.bool_)
    left, places = budget, len(worth) if rows is None else rows
    for index in np.argsort(-worth, kind="stable"):
        if not places:
            break
        if cost[index] <= left:
            kept[index] = True
            left -= cost[index]
            places -= 1
    return kept


def next_price(price: float, fill: float, regret: float) -> float:
    """The worth below which memories leave: it rises while the budget is nearly full and falls after regret.

    `fill`: used share of the budget. `regret`: share of recent questions that an evicted memory would have
    served better.
    """
    return price * math.exp(_PRESSURE_GAIN * (fill - _AIM) - _REGRET_GAIN * regret)
