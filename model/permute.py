"""Rows to the experts that read them and back, with gradients.

A token is read by K experts: the plain gradient of `x[token]` adds K rows to one, in whatever order they come, and that
of a permuted row is added to zeros. Since it is known where each token's rows went, both are gathers here: they repeat
to the bit, and a compiler fuses them with what stands around them.

T tokens, K experts per token, D hidden width.
"""

from typing import Any

import torch
from torch import Tensor


def dispatch(x: Tensor, order: Tensor, rows: Tensor) -> Tensor:
    """Each token's vector for each of its experts, sorted by expert: x [T, D] -> [T*K, D].

    :param order: int64 [T*K], the choices (token * K + k) in the order of the experts.
    :param rows: int64 [T, K], its inverse: the row of each choice.
    """
    moved: Tensor = _Dispatch.apply(x, order, rows)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return moved


def combine(parts: Tensor, weights: Tensor, order: Tensor, rows: Tensor) -> Tensor:
    """Each token's weighted sum, in float32: parts [T*K, D], weights float32 [T, K] -> [T, D]."""
    summed: Tensor = _Combine.apply(parts, weights, order, rows)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return summed


class _Dispatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return x[order // rows.shape[1]]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return gradient[rows].float().sum(1).to(gradient.dtype), None, None


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Tensor, weights: Tensor, order: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(parts, weights, order, rows)
        return (parts[rows].float() * weights[..., None]).sum(1).to(parts.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        parts, weights, order, rows = ctx.saved_tensors
        spread = gradient[order // rows.shape[1]].float() * weights.flatten()[order, None]
        of_weights = (parts[rows].float() * gradient[:, None].float()).sum(-1)
        return spread.to(parts.dtype), of_weights, None, None
