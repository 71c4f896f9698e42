"""The losses of a batch: of the next token, and of the predictors' tokens after it (DeepSeek-V3 report, section 2.2).

Logits are never held for all positions at once: the head is applied to a piece after the other, and each piece leaves
its loss and its gradients.

B rows, S tokens of a row, N = B * S, P positions of a piece, D hidden width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.deepseek import DeepseekForCausalLM
from model.train.tokenizer import BEGIN_ID

PIECE = 16_384
"""Positions whose logits exist at the same time: 0.5 GiB in bfloat16 for a vocabulary of 16,384."""

Piece = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""`piece`, or what a compiler made of it."""


class Losses(NamedTuple):
    """What one batch adds to its step."""

    text: Tensor
    """float32 []: weighted cross-entropies of the next tokens, summed"""
    drafts: Tensor
    """float32 []: the same of the predictors, their mean; 0 without predictors"""
    counts: Tensor | None
    """int64 [routed layers and predictors, E]: tokens that each expert received"""


def piece(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted cross-entropies in float32 and their gradients.

    hidden [P, D], head [V, D] in one dtype, targets and weights [P] -> the sum [], and gradients [P, D] and [V, D].
    """
    logits = (hidden @ head.T).float()  # [P, V]
    lse = logits.logsumexp(-1, keepdim=True)
    loss = ((lse - logits.gather(1, targets[:, None]))[:, 0] * weights).sum()
    right = torch.arange(len(head), device=head.device) == targets[:, None]
    slope = (((logits - lse).exp() - right.float()) * weights[:, None]).to(hidden.dtype)
    return loss, slope @ head, slope.T @ hidden


class _Entropy(torch.autograd.Function):
    """`piece` over all positions. The gradients are made on the way there: logits are not computed twice."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, each: Piece) -> Tensor:
        narrow = head.to(hidden.dtype)
        total = torch.zeros((), device=hidden.device)
        of_hidden, of_head = torch.empty_like(hidden), torch.zeros_like(head)
        for start in range(0, len(hidden), PIECE):
            own = slice(start, start + PIECE)
            loss, of_hidden[own], part = each(hidden[own], narrow, targets[own], weights[own])
            total += loss
            of_head += part
        ctx.save_for_backward(of_hidden, of_head)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        of_hidden, of_head = ctx.saved_tensors
        return of_hidden * gradient, of_head * gradient, None, None, None


def entropy(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, each: Piece = piece) -> Tensor:
    """Sum of weighted cross-entropies: hidden [B, S, D], head [V, D], targets and weights [B, S] -> float32 []."""
    summed: Tensor = _Entropy.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        hidden.flatten(0, 1), head, targets.flatten(), weights.flatten(), each
    )
    return summed


def losses(
    model: DeepseekForCausalLM,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    apart: bool = False,
    each: Piece = piece,
) -> Losses:
    """Both losses of a batch, weighted sums: inputs, targets and weights [B, S].

    :param apart: whether tokens see only their own document of a row.
    """
    mask = same_document(inputs) if apart else None
    hidden, load = model.hidden(inputs, mask=mask, load=True)
    text = entropy(hidden, model.lm_head.weight, targets, weights, each)
    counts = [] if load is None else [load.counts]
    drafts = torch.zeros((), device=inputs.device)
    for k in range(len(model.mtp)):
        # Predictor k reads the token k + 1 further on than its input, and is asked for the one after that.
        hidden, layer_load = model.predict(k, targets, hidden, mask, load=True)
        targets, weights = shifted(targets), shifted(weights)
        drafts = drafts + entropy(hidden, model.lm_head.weight, targets, weights, each) / len(model.mtp)
        if layer_load is not None:
            counts.append(layer_load.counts[None])
    return Losses(text, drafts, torch.cat(counts) if counts else None)


def shifted(values: Tensor) -> Tensor:
    """[B, S], each one position earlier; zeros come in at the end."""
    return torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)


def same_document(inputs: Tensor) -> Tensor:
    """bool [B, 1, S, S]: whether a query sees a key, both of one document and the key not later."""
    document = (inputs == BEGIN_ID).cumsum(1)
    return (document[:, :, None] == document[:, None, :]).tril()[:, None]
