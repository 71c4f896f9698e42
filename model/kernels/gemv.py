"""A few tokens through linear maps: matrix-vector products that read each weight at the speed of memory.

Each token has programs of its own. Those that need the same tile of a weight run at the same time, so that memory is
read once and the others find it in the L2 cache; experts are rarely shared by so few tokens.

The root mean square norm before a map is folded in (its factor is applied to the sum), and so is the residual after
it. Weights are BF16, F16 or F32, or e4m3 with one factor per 128 x 128 block (DeepSeek-V3 report, section 3.3), which
is folded into the vector.

T tokens; N rows, K columns; D model width, F expert width, E experts, A experts per token.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.kernels.launch import overlap, wait

MOST = 4
"""Tokens up to which this is faster than tiles that share what they read (model/kernels/grouped.py)."""

Weight = tuple[Tensor, Tensor | None]
"""A matrix and the factors of its blocks, if it is e4m3."""


@triton.jit
def _tile(weight, row, rows, start, K: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    n, k = row + tl.arange(0, BN), start + tl.arange(0, BK)
    return tl.load(weight + n[:, None] * K + k[None, :], mask=(n < rows)[:, None] & (k < K)[None, :], other=0.0)


@triton.jit
def _vector(x, gain, scale, row, start, K: tl.constexpr, NORM: tl.constexpr, FP8: tl.constexpr, BK: tl.constexpr):
    """x [BK] times gain and factors, and the squares of x."""
    k = start + tl.arange(0, BK)
    x = tl.load(x + k, mask=k < K, other=0.0).to(tl.float32)
    squares = x * x
    if NORM:
        x *= tl.load(gain + k, mask=k < K, other=0.0).to(tl.float32)
    if FP8:
        # One load for the 16 columns of a thread: they share a block.
        block = (start + tl.arange(0, BK // 16) * 16) // 128
        factors = tl.load(scale + (row // 128) * tl.cdiv(K, 128) + block, mask=block < tl.cdiv(K, 128), other=0.0)
        x *= tl.reshape(tl.broadcast_to(factors[:, None], [BK // 16, 16]), [BK])
    return x, squares


@triton.jit
def _products(
    first, x, gain, weight, scale, row, rows, K: tl.constexpr, NORM: tl.constexpr, FP8: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr,
):  # fmt: skip
    """[BN]: x times the rows of `weight` from `row` on, of which `first` is the first tile; the sum of squares of x.

    The next tile is on its way while one is used.
    """
    total = tl.zeros([BN, BK], dtype=tl.float32)
    squares = tl.zeros([BK], dtype=tl.float32)
    w = first
    for start in tl.range(0, K - BK, BK):
        following = _tile(weight, row, rows, start + BK, K, BN, BK)
        v, more = _vector(x, gain, scale, row, start, K, NORM, FP8, BK)
        squares += more
        total += w.to(tl.float32) * v[None, :]
        w = following
    LAST: tl.constexpr = (K + BK - 1) // BK * BK - BK
    v, more = _vector(x, gain, scale, row, LAST, K, NORM, FP8, BK)
    total += w.to(tl.float32) * v[None, :]
    return tl.sum(total, axis=1), tl.sum(squares + more, axis=0)


@triton.jit
def _rows(
    x, gain, weight, scale, residual, out, row, rows, offset, eps, K: tl.constexpr, NORM: tl.constexpr,
    RESIDUAL: tl.constexpr, FP8: tl.constexpr, PDL: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    first = _tile(weight, row, rows, 0, K, BN, BK)
    wait(PDL)
    total, squares = _products(first, x, gain, weight, scale, row, rows, K, NORM, FP8, BN, BK)
    if NORM:
        total *= tl.rsqrt(squares / K + eps)
    n = row + tl.arange(0, BN)
    if RESIDUAL:
        total += tl.load(residual + offset + n, mask=n < rows, other=0.0).to(tl.float32)
    tl.store(out + offset + n, total.to(out.dtype.element_ty), mask=n < rows)


@triton.jit
def _linear(
    x, gain, weight, scale, second, second_scale, residual, out, rows, more, x_row, eps,
    K: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr, FP8: tl.constexpr, FP8_SECOND: tl.constexpr,
    PDL: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0)
    x += token * x_row
    to = token * (rows + more)
    row = tl.program_id(1) * BN
    start = tl.cdiv(rows, BN) * BN
    if row < start:
        _rows(x, gain, weight, scale, residual, out, row, rows, to, eps, K, NORM, RESIDUAL, FP8, PDL, BN, BK)
    else:
        _rows(
            x, gain, second, second_scale, residual, out, row - start, more, to + rows, eps, K, NORM, RESIDUAL,
            FP8_SECOND, PDL, BN, BK,
        )  # fmt: skip


class Norm(NamedTuple):
    """The norm before a map."""

    gain: Tensor
    """[K]"""
    eps: float


class Blocks(NamedTuple):
    """Rows and columns of a weight that one program holds at a time, and its warps."""

    n: int
    k: int
    warps: int


def blocks_for(rows: int, columns: int, fp8: bool) -> Blocks:
    """As measured best on an H100 (docs/LOG.md): few rows need small tiles to occupy every multiprocessor."""
    if rows <= 256:
        return _blocks(1, 2048, columns)
    if fp8:
        return _blocks(8 if rows >= 3000 else 4, 512 if columns > 8192 else 1024, columns)
    return _blocks(4, 2048 if rows >= 16384 else 1024, columns)


def gate_blocks(columns: int, fp8: bool) -> Blocks:
    if fp8:
        return _blocks(8, 1024, columns) if columns <= 4096 else _blocks(4, 512, columns)
    return _blocks(4, 2048, columns)


def down_blocks(columns: int, fp8: bool) -> Blocks:
    return _blocks(4 if fp8 else 2, 2048, columns)


def _blocks(n: int, k: int, columns: int) -> Blocks:
    return Blocks(n, max(min(k, triton.next_power_of_2(columns)), 128), 4)


def linear(
    x: Tensor,
    weight: Weight,
    norm: Norm | None = None,
    second: Weight | None = None,
    residual: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """weight [N, K] times (the norm of) x [T, K] -> [T, N], or [T, N + N2] with a second matrix below the first.

    The rows of x may be strided. `residual` [T, N] is added to the result.
    """
    rows, columns = weight[0].shape
    more = 0 if second is None else second[0].shape[0]
    second = weight if second is None else second
    out = torch.empty(len(x), rows + more, dtype=out_dtype or x.dtype, device=x.device)
    blocks = blocks_for(rows + more, columns, weight[1] is not None)
    grid = (len(x), triton.cdiv(rows, blocks.n) + triton.cdiv(more, blocks.n))
    _linear[grid](
        x, norm and norm.gain, *weight, *second, residual, out, rows, more, x.stride(0), norm.eps if norm else 0.0,
        K=columns, NORM=norm is not None, RESIDUAL=residual is not None, FP8=weight[1] is not None,
        FP8_SECOND=second[1] is not None, BN=blocks.n, BK=blocks.k, num_warps=blocks.warps, **overlap(),
    )  # fmt: skip
    return out


@triton.jit
def _silu(gate):
    return gate * tl.sigmoid(gate)


@triton.jit
def _inner(
    gate_first, up_first, x, gain, gate, gate_scale, up, up_scale, act, row, rows, eps, D: tl.constexpr,
    FP8: tl.constexpr, BF: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """One tile of silu(gate) * up, from the first tiles of both."""
    g, squares = _products(gate_first, x, gain, gate, gate_scale, row, rows, D, True, FP8, BF, BK)
    u, _ = _products(up_first, x, gain, up, up_scale, row, rows, D, True, FP8, BF, BK)
    factor = tl.rsqrt(squares / D + eps)
    out = _silu(g * factor) * (u * factor)
    f = row + tl.arange(0, BF)
    tl.store(act + f, out.to(act.dtype.element_ty), mask=f < rows)


@triton.jit
def _gate_up(
    x, gain, experts, gate_up, gate_up_scale, shared_gate, shared_gate_scale, shared_up, shared_up_scale, act,
    local, first, eps, D: tl.constexpr, F: tl.constexpr, FS: tl.constexpr, A: tl.constexpr, FP8: tl.constexpr,
    FP8_SHARED: tl.constexpr, PDL: tl.constexpr, BF: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """silu(gate) * up of each token's experts into act [A, F], then of the shared ones into [FS]."""
    token, pid = tl.program_id(0), tl.program_id(1)
    x += token * D
    experts += token * A
    act += token * (A * F + FS)
    shared_tiles: tl.constexpr = (FS + BF - 1) // BF
    tiles: tl.constexpr = (F + BF - 1) // BF
    if pid < shared_tiles:
        row = pid * BF
        g, u = _tile(shared_gate, row, FS, 0, D, BF, BK), _tile(shared_up, row, FS, 0, D, BF, BK)
        wait(PDL)
        _inner(g, u, x, gain, shared_gate, shared_gate_scale, shared_up, shared_up_scale, act + A * F, row, FS, eps, D,
               FP8_SHARED, BF, BK)  # fmt: skip
    else:
        wait(PDL)
        chosen = (pid - shared_tiles) // tiles
        expert = (tl.load(experts + chosen) - first).to(tl.int64)
        if (expert >= 0) & (expert < local):
            row = (pid - shared_tiles) % tiles * BF
            gate = gate_up + expert * (2 * F * D)
            up = gate + F * D
            blocks: tl.constexpr = ((F + 127) // 128) * ((D + 127) // 128)
            scale = gate_up_scale + expert * (2 * blocks) if FP8 else gate_up_scale
            up_scale = scale + blocks if FP8 else scale
            g, u = _tile(gate, row, F, 0, D, BF, BK), _tile(up, row, F, 0, D, BF, BK)
            _inner(g, u, x, gain, gate, scale, up, up_scale, act + chosen * F, row, F, eps, D, FP8, BF, BK)


@triton.jit
def _down(
    act, weights, experts, down, down_scale, shared, shared_scale, residual, out, local, first,
    D, F: tl.constexpr, FS: tl.constexpr, A: tl.constexpr, RESIDUAL: tl.constexpr, FP8: tl.constexpr,
    FP8_SHARED: tl.constexpr, PDL: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """The residual plus the weighted sum of each token's experts, one tile of D per program."""
    token = tl.program_id(0)
    act += token * (A * F + FS)
    experts += token * A
    weights += token * A
    out += token * D
    row = tl.program_id(1) * BN
    n = row + tl.arange(0, BN)
    total = tl.zeros([BN], dtype=tl.float32)
    blocks: tl.constexpr = (F + 127) // 128
    if FS > 0:
        w = _tile(shared, row, D, 0, FS, BN, BK)
        wait(PDL)
        one, _ = _products(w, act + A * F, act, shared, shared_scale, row, D, FS, False, FP8_SHARED, BN, BK)
        total += one
    else:
        wait(PDL)
    for j in tl.static_range(A):
        expert = (tl.load(experts + j) - first).to(tl.int64)
        # An expert held elsewhere has no rows here: no branch, so that the loads of several experts overlap.
        held = (expert >= 0) & (expert < local)
        rows = tl.where(held, D, 0)
        expert = tl.where(held, expert, 0)
        scale = down_scale + expert * (tl.cdiv(D, 128) * blocks) if FP8 else down_scale
        mine = down + expert * D * F
        w = _tile(mine, row, rows, 0, F, BN, BK)
        one, _ = _products(w, act + j * F, act, mine, scale, row, rows, F, False, FP8, BN, BK)
        total += tl.where(held, one * tl.load(weights + j), 0.0)
    if RESIDUAL:
        total += tl.load(residual + token * D + n, mask=n < D, other=0.0).to(tl.float32)
    tl.store(out + n, total.to(out.dtype.element_ty), mask=n < D)


class Shared(NamedTuple):
    """The shared experts, as one: gate and up [FS, D], down [D, FS]."""

    gate: Weight
    up: Weight
    down: Weight


def experts(
    x: Tensor,
    norm: Norm,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Weight,
    down: Weight,
    shared: Shared | None,
    residual: Tensor | None,
    first: int = 0,
) -> Tensor:
    """The norm of x [T, D] through each token's chosen and the shared experts -> [T, D], plus `residual` [T, D].

    `weights` float32 and `chosen` int32 [T, A]; `gate_up` [E, 2F, D] and `down` [E, D, F] hold the experts from
    `first` on. Experts held elsewhere add nothing.
    """
    local, width, inner = down[0].shape
    active = chosen.shape[1]
    none: Weight = (gate_up[0], None)
    gate, up, out_of = shared if shared is not None else Shared(none, none, none)
    shared_inner = out_of[0].shape[1] if shared is not None else 0
    act = torch.empty(len(x), active * inner + shared_inner, dtype=x.dtype, device=x.device)
    fp8 = gate_up[1] is not None
    blocks = gate_blocks(width, fp8)
    programs = active * triton.cdiv(inner, blocks.n) + triton.cdiv(shared_inner, blocks.n)
    _gate_up[(len(x), programs)](
        x, norm.gain, chosen, *gate_up, *gate, *up, act, local, first, norm.eps, D=width, F=inner, FS=shared_inner,
        A=active, FP8=fp8, FP8_SHARED=gate[1] is not None, BF=blocks.n, BK=blocks.k, num_warps=blocks.warps,
        **overlap(),
    )  # fmt: skip
    out = torch.empty_like(x)
    blocks = down_blocks(inner, fp8)
    _down[(len(x), triton.cdiv(width, blocks.n))](
        act, weights, chosen, *down, *out_of, residual, out, local, first, width, F=inner, FS=shared_inner, A=active,
        RESIDUAL=residual is not None, FP8=fp8, FP8_SHARED=out_of[1] is not None, BN=blocks.n, BK=blocks.k,
        num_warps=blocks.warps, **overlap(),
    )  # fmt: skip
    return out
