"""What one forward pass reads and writes: a step of several sequences, or many branches of one.

T new tokens in the pass, N sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.cache import PAGE


@dataclass(frozen=True, slots=True)
class Step:
    """T new tokens of N sequences, one sequence after the other."""

    tokens: Tensor
    """int64 [T]"""
    positions: Tensor
    """int64 [T]"""
    slots: Tensor
    """int64 [T]: page * PAGE + offset of each new token"""
    tables: Tensor
    """int32 [N, width]: pages of each sequence, padded with 0"""
    lengths: Tensor
    """int32 [N]: tokens of each sequence, the new ones included"""
    new: tuple[int, ...]
    """new tokens of each sequence"""
    totals: tuple[int, ...]
    """`lengths` on the host"""
    pages: tuple[tuple[int, ...], ...]
    """`tables` on the host"""
    decoding: tuple[bool, ...]
    """whether each sequence's tokens are an answer's"""


class Reading(NamedTuple):
    """One sequence's part of a step: `tokens` that follow the `held` ones that `pages` hold already."""

    tokens: Sequence[int]
    held: int
    pages: Sequence[int]
    """enough for `held` and `tokens` together"""
    decoding: bool = False
    """the tokens are an answer's last one and what was drafted after it: they may attend to a part of the history"""


def make_step(readings: Sequence[Reading], device: torch.device) -> Step:
    """The step that reads all of `readings`."""
    totals = tuple(one.held + len(one.tokens) for one in readings)
    pages = tuple(tuple(one.pages[: -(-total // PAGE)]) for one, total in zip(readings, totals, strict=True))
    positions = [place for one, total in zip(readings, totals, strict=True) for place in range(one.held, total)]
    slots = [
        own[place // PAGE] * PAGE + place % PAGE
        for one, total, own in zip(readings, totals, pages, strict=True)
        for place in range(one.held, total)
    ]
    width = max(len(own) for own in pages)
    return Step(
        tokens=torch.tensor([token for one in readings for token in one.tokens], dtype=torch.int64, device=device),
        positions=torch.tensor(positions, dtype=torch.int64, device=device),
        slots=torch.tensor(slots, dtype=torch.int64, device=device),
        tables=torch.tensor([own + (0,) * (width - len(own)) for own in pages], dtype=torch.int32, device=device),
        lengths=torch.tensor(totals, dtype=torch.int32, device=device),
        new=tuple(len(one.tokens) for one in readings),
        totals=totals,
        pages=pages,
        decoding=tuple(one.decoding for one in readings),
    )


@dataclass(frozen=True, slots=True)
class Branches:
    """T tokens of N continuations of one history, one after the other; they see it and themselves, not one another.

    Nothing of them is written into the cache.
    """

    tokens: Tensor
    """int64 [T]"""
    positions: Tensor
    """int64 [T]"""
    rows: Tensor
    """int64 [N, longest]: where each continuation's tokens stand among the T, padded with 0"""
    cells: Tensor
    """int64 [T]: where each token stands in `rows`, flattened"""
    history: int
    pages: tuple[int, ...]


def make_branches(
    continuations: Sequence[Sequence[int]], history: int, pages: Sequence[int], device: torch.device
) -> Branches:
    """`continuations` (each of at least one token) of the first `history` tokens that `pages` hold."""
    lengths = torch.tensor([len(one) for one in continuations])
    offsets = torch.arange(int(lengths.max()))
    inside = offsets < lengths[:, None]  # [N, longest]
    first = lengths.cumsum(0) - lengths
    return Branches(
        tokens=torch.tensor([token for one in continuations for token in one], dtype=torch.int64, device=device),
        positions=(history + offsets.expand_as(inside)[inside]).to(device),
        rows=((first[:, None] + offsets) * inside).to(device),
        cells=inside.flatten().nonzero()[:, 0].to(device),
        history=history,
        pages=tuple(pages[: -(-history // PAGE)]),
    )
