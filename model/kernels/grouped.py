"""Several tokens through linear maps and experts whose weights are BF16 or block-scaled e4m3, used as they are stored.

Weights are widened to the activations' dtype in registers; a block's factor multiplies the partial product of its 128
columns. Experts read only the rows of tokens that chose them.

T tokens, K experts per token, D model width, F expert width.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.kernels.launch import shared_memory


@triton.jit
def _product(
    x, rows, real, x_row, weight, scale, n, limit, first_row, K: tl.constexpr, FP8: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """float32 [BM, BN]: the gathered rows of x times rows `n` of weight [*, K]."""
    total = tl.zeros([BM, BN], dtype=tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        a = tl.load(x + rows[:, None] * x_row + k[None, :], mask=real[:, None] & (k < K)[None, :], other=0.0)
        w = tl.load(weight + n[:, None] * K + k[None, :], mask=(n < limit)[:, None] & (k < K)[None, :], other=0.0)
        if FP8:
            part = tl.dot(a, tl.trans(w.to(a.dtype)), input_precision="ieee")
            total += part * tl.load(scale + (first_row // 128) * tl.cdiv(K, 128) + start // 128)
        else:
            total = tl.dot(a, tl.trans(w), acc=total, input_precision="ieee")
    return total


@triton.jit
def _linear(
    x, weight, scale, out, tokens, rows, x_row, K: tl.constexpr, FP8: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr,
):  # fmt: skip
    m = (tl.program_id(1) * BM + tl.arange(0, BM)).to(tl.int64)
    first = tl.program_id(0) * BN
    n = (first + tl.arange(0, BN)).to(tl.int64)
    total = _product(x, m, m < tokens, x_row, weight, scale, n, rows, first, K, FP8, BM, BN, BK)
    tl.store(
        out + m[:, None] * rows + n[None, :],
        total.to(out.dtype.element_ty),
        mask=(m < tokens)[:, None] & (n < rows)[None, :],
    )


class Tiles:
    """Block sizes for a number of rows that share a weight: memory bounds few rows, arithmetic many."""

    def __init__(self, rows: int) -> None:
        self.m = 16 if rows <= 16 else 32 if rows <= 32 else 64 if rows <= 256 else 128
        self.n = 32 if rows <= 32 else 64 if rows <= 256 else 128
        self.warps = 4 if rows <= 256 else 8
        self.stages = 4 if rows <= 64 else 3 if shared_memory() > 160 << 10 else 2


def linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x [T, K] @ weight [N, K]^T -> [T, N], weight e4m3 with `scale` per 128 x 128 block."""
    tokens, (rows, columns) = x.shape[0], weight.shape
    out = torch.empty(tokens, rows, dtype=x.dtype, device=x.device)
    tiles = Tiles(tokens)
    _linear[(triton.cdiv(rows, tiles.n), triton.cdiv(tokens, tiles.m))](
        x, weight, scale, out, tokens, rows, x.stride(0), K=columns, FP8=True, BM=tiles.m, BN=tiles.n, BK=128,
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    return out


@triton.jit
def _gate_up(
    x, weight, scale, rows, counts, act, width, D: tl.constexpr, F: tl.constexpr, K: tl.constexpr, FP8: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    first, expert, block = tl.program_id(0) * BN, tl.program_id(1), tl.program_id(2)
    count = tl.load(counts + expert)
    if block * BM < count:
        i = block * BM + tl.arange(0, BM)
        real = i < count
        pair = tl.load(rows + expert.to(tl.int64) * width + i, mask=real, other=0).to(tl.int64)
        n = first + tl.arange(0, BN)
        blocks: tl.constexpr = ((F + 127) // 128) * ((D + 127) // 128)
        mine = weight + expert.to(tl.int64) * (2 * F * D)
        scales = scale + expert * (2 * blocks) if FP8 else scale
        more = scales + blocks if FP8 else scale
        token = pair // K
        gate = tl.zeros([BM, BN], dtype=tl.float32)
        up = tl.zeros([BM, BN], dtype=tl.float32)
        for start in range(0, D, BK):
            k = start + tl.arange(0, BK)
            a = tl.load(x + token[:, None] * D + k[None, :], mask=real[:, None] & (k < D)[None, :], other=0.0)
            inside = (n < F)[:, None] & (k < D)[None, :]
            g = tl.load(mine + n[:, None] * D + k[None, :], mask=inside, other=0.0)
            u = tl.load(mine + F * D + n[:, None] * D + k[None, :], mask=inside, other=0.0)
            if FP8:
                at = (first // 128) * tl.cdiv(D, 128) + start // 128
                gate += tl.dot(a, tl.trans(g.to(a.dtype)), input_precision="ieee") * tl.load(scales + at)
                up += tl.dot(a, tl.trans(u.to(a.dtype)), input_precision="ieee") * tl.load(more + at)
            else:
                gate = tl.dot(a, tl.trans(g), acc=gate, input_precision="ieee")
                up = tl.dot(a, tl.trans(u), acc=up, input_precision="ieee")
        out = gate * tl.sigmoid(gate) * up
        tl.store(
            act + pair[:, None] * F + n[None, :], out.to(act.dtype.element_ty), mask=real[:, None] & (n < F)[None, :]
        )


@triton.jit
def _down(
    act, weight, scale, rows, counts, weights, out, width, D, F: tl.constexpr, FP8: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    first, expert, block = tl.program_id(0) * BN, tl.program_id(1), tl.program_id(2)
    count = tl.load(counts + expert)
    if block * BM < count:
        i = block * BM + tl.arange(0, BM)
        real = i < count
        pair = tl.load(rows + expert.to(tl.int64) * width + i, mask=real, other=0).to(tl.int64)
        n = first + tl.arange(0, BN)
        scales = scale + expert * (tl.cdiv(D, 128) * ((F + 127) // 128)) if FP8 else scale
        total = _product(
            act, pair, real, F, weight + expert.to(tl.int64) * D * F, scales, n, D, first, F, FP8, BM, BN, BK
        )
        total *= tl.load(weights + pair, mask=real, other=0.0)[:, None]
        tl.store(
            out + pair[:, None] * D + n[None, :], total.to(out.dtype.element_ty), mask=real[:, None] & (n < D)[None, :]
        )


@triton.jit
def _sum(parts, experts, base, out, first, local, D, K: tl.constexpr, BASE: tl.constexpr, BD: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    total = tl.zeros([BD], dtype=tl.float32)
    if BASE:
        total += tl.load(base + token * D + d, mask=d < D, other=0.0).to(tl.float32)
    for k in tl.static_range(K):
        expert = tl.load(experts + token * K + k) - first
        held = tl.where((expert >= 0) & (expert < local), D, 0)
        total += tl.load(parts + (token * K + k) * D + d, mask=d < held, other=0.0).to(tl.float32)
    tl.store(out + token * D + d, total.to(out.dtype.element_ty), mask=d < D)


def experts(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    assigned: tuple[Tensor, Tensor],
    gate_up: tuple[Tensor, Tensor | None],
    down: tuple[Tensor, Tensor | None],
    base: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """`base` plus the weighted sum of each token's experts: x [T, D] -> [T, D].

    `weights` float32 and `chosen` int32 [T, K]; `assigned` is `routing.assign` of the held experts, of which `first`
    is the number of the first one. `gate_up` [E, 2F, D] and `down` [E, D, F], each with block factors or None.
    """
    tokens, width = x.shape
    routed, _, inner = down[0].shape
    active = chosen.shape[1]
    rows, counts = assigned
    act = torch.empty(tokens * active, inner, dtype=x.dtype, device=x.device)
    parts = torch.empty(tokens * active, width, dtype=x.dtype, device=x.device)
    out = torch.empty_like(x)
    tiles = Tiles(max(tokens * active // max(routed, 1), 1))
    blocks = triton.cdiv(tokens, tiles.m)
    _gate_up[(triton.cdiv(inner, tiles.n), routed, blocks)](
        x, *gate_up, rows, counts, act, rows.shape[1], D=width, F=inner, K=active, FP8=gate_up[1] is not None,
        BM=tiles.m, BN=tiles.n, BK=128 if gate_up[1] is not None else 64, num_warps=tiles.warps,
        num_stages=tiles.stages,
    )  # fmt: skip
    _down[(triton.cdiv(width, tiles.n), routed, blocks)](
        act, *down, rows, counts, weights, parts, rows.shape[1], width, F=inner, FP8=down[1] is not None,
        BM=tiles.m, BN=tiles.n, BK=128 if down[1] is not None else 64, num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    _sum[(tokens, triton.cdiv(width, 1024))](
        parts, chosen, base, out, first, routed, width, K=active, BASE=base is not None, BD=1024, num_warps=4
    )  # fmt: skip
    return out


@triton.jit
def _gather_sum(parts, rows, weights, out, D, K: tl.constexpr, BD: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    total = tl.zeros([BD], dtype=tl.float32)
    for k in tl.static_range(K):
        row = tl.load(rows + token * K + k)
        inside = d < tl.where(row >= 0, D, 0)
        part = tl.load(parts + row * D + d, mask=inside, other=0.0).to(tl.float32)
        total += part * tl.load(weights + token * K + k)
    tl.store(out + token * D + d, total.to(out.dtype.element_ty), mask=d < D)


def gather_sum(parts: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows of `parts` [*, D] -> [T, D]: `rows` int64 (-1: none) and `weights` float32 [T, K]."""
    tokens, active = rows.shape
    width = parts.shape[1]
    out = torch.empty(tokens, width, dtype=parts.dtype, device=parts.device)
    _gather_sum[(tokens, triton.cdiv(width, 1024))](parts, rows, weights, out, width, K=active, BD=1024, num_warps=4)
    return out
