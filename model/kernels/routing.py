"""The choice of experts from router logits, without a host synchronisation, and each expert's own tokens.

The same rules as `model.moe.Router`, which is the plain form. T tokens, E experts, K experts per token, G groups.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.config import Config
from model.kernels.launch import overlap, wait


@triton.jit
def _choose(
    logits, bias, weights, experts, factor, G: tl.constexpr, SIZE: tl.constexpr, KEPT: tl.constexpr, K: tl.constexpr,
    SIGMOID: tl.constexpr, NORMALISE: tl.constexpr, PDL: tl.constexpr, GP: tl.constexpr, SP: tl.constexpr,
    KP: tl.constexpr,
):  # fmt: skip
    wait(PDL)
    token = tl.program_id(0)
    g, s = tl.arange(0, GP), tl.arange(0, SP)
    number = g[:, None] * SIZE + s[None, :]
    real = (g < G)[:, None] & (s < SIZE)[None, :]
    x = tl.load(logits + token * (G * SIZE) + number, mask=real, other=float("-inf"))
    if SIGMOID:
        scores = 1.0 / (1.0 + tl.exp(-x))
        choice = tl.where(real, scores + tl.load(bias + number, mask=real, other=0.0), float("-inf"))
    else:
        shares = tl.exp(x - tl.max(tl.max(x, axis=1), axis=0))
        scores = shares / tl.sum(tl.sum(shares, axis=1), axis=0)
        choice = tl.where(real, scores, float("-inf"))
    if G > 1:
        best = tl.max(choice, axis=1)
        if SIGMOID:
            first = tl.min(tl.where(choice == best[:, None], number, 1 << 30), axis=1)
            best += tl.max(tl.where(number == first[:, None], float("-inf"), choice), axis=1)
        best = tl.where(g < G, best, float("-inf"))
        kept = tl.zeros([GP], dtype=tl.int32)
        for _ in tl.static_range(KEPT):
            top = tl.max(best, axis=0)
            group = tl.min(tl.where(best == top, g, 1 << 30), axis=0)
            kept = tl.where(g == group, 1, kept)
            best = tl.where(g == group, float("-inf"), best)
        choice = tl.where((kept > 0)[:, None], choice, float("-inf"))
    k = tl.arange(0, KP)
    chosen = tl.zeros([KP], dtype=tl.int32)
    own = tl.zeros([KP], dtype=tl.float32)
    for j in tl.static_range(K):
        top = tl.max(tl.max(choice, axis=1), axis=0)
        pick = tl.min(tl.min(tl.where(choice == top, number, 1 << 30), axis=1), axis=0)
        hit = number == pick
        chosen = tl.where(k == j, pick, chosen)
        own = tl.where(k == j, tl.sum(tl.sum(tl.where(hit & real, scores, 0.0), axis=1), axis=0), own)
        choice = tl.where(hit, float("-inf"), choice)
    if NORMALISE:
        own = own / (tl.sum(own, axis=0) + 1e-20)
    tl.store(weights + token * K + k, own * factor, mask=k < K)
    tl.store(experts + token * K + k, chosen, mask=k < K)


def choose(logits: Tensor, bias: Tensor | None, config: Config) -> tuple[Tensor, Tensor]:
    """Weights float32 [T, K] and experts int32 [T, K] from logits float32 [T, E]."""
    tokens, experts = logits.shape
    chosen = config.num_experts_per_tok
    weights = torch.empty(tokens, chosen, dtype=torch.float32, device=logits.device)
    numbers = torch.empty(tokens, chosen, dtype=torch.int32, device=logits.device)
    groups = config.n_group
    _choose[(tokens,)](
        logits, bias, weights, numbers, config.routed_scaling_factor, G=groups, SIZE=experts // groups,
        KEPT=config.topk_group, K=chosen, SIGMOID=bias is not None, NORMALISE=config.norm_topk_prob,
        GP=triton.next_power_of_2(groups), SP=triton.next_power_of_2(experts // groups),
        KP=triton.next_power_of_2(chosen), num_warps=1, **overlap(),
    )  # fmt: skip
    return weights, numbers


@triton.jit
def _assign(experts, rows, counts, pairs, first, width, BLOCK: tl.constexpr):
    expert = tl.program_id(0)
    found = 0
    for start in range(0, pairs, BLOCK):
        pair = start + tl.arange(0, BLOCK)
        mine = (tl.load(experts + pair, mask=pair < pairs, other=-1) == expert + first).to(tl.int32)
        to = found + tl.cumsum(mine, axis=0) - 1
        tl.store(rows + expert.to(tl.int64) * width + to, pair, mask=mine > 0)
        found += tl.sum(mine, axis=0)
    tl.store(counts + expert, found)


def assign(experts: Tensor, first: int, local: int) -> tuple[Tensor, Tensor]:
    """Of each expert `first` ... `first + local - 1`, the pairs (token * K + k) that chose it and their number.

    int32 [local, T], of which the first count of each row are written, and int32 [local].
    """
    tokens = experts.shape[0]
    rows = torch.empty(local, tokens, dtype=torch.int32, device=experts.device)
    counts = torch.empty(local, dtype=torch.int32, device=experts.device)
    block = min(triton.next_power_of_2(experts.numel()), 2048)
    _assign[(local,)](experts, rows, counts, experts.numel(), first, tokens, BLOCK=block, num_warps=4)
    return rows, counts
