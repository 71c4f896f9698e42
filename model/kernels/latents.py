"""New tokens of latent attention: their queries take in the key projection, and their latents go into the paged cache.

The cache is plain, or has rows of R e4m3 bytes, a float32 factor per 128 of them, and P bfloat16 rotary values (see
model/cache.py).

M new tokens in all, H heads, N no-position width, P rotary width, R latent rank, V value width.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.kernels.gemv import Norm, Weight
from model.kernels.launch import overlap, wait
from model.shard import WHOLE, Shard


class Latents(NamedTuple):
    """One layer of the paged cache."""

    storage: Tensor
    """[pages, PAGE, C], or uint8 [pages, PAGE, row] in the FP8 layout; a rank that shares it has a part of each page"""
    fp8: bool
    shard: Shard = WHOLE
    """which tokens are here (see model/split_cache.py)"""


class Views(NamedTuple):
    """The same bytes as latents, factors and rotary keys, and the length of a row in elements of `latent`."""

    latent: Tensor
    factor: Tensor
    rope: Tensor
    row: int


def views(latents: Latents, rank: int) -> Views:
    storage = latents.storage
    row = storage.shape[-1]
    if not latents.fp8:
        flat = storage.view(-1)
        return Views(flat, flat, flat[rank:], row)
    flat = storage.view(-1)
    factor = flat.view(torch.float32)[rank // 4 :]
    rope = flat.view(torch.bfloat16)[(rank + rank // 128 * 4) // 2 :]
    return Views(flat.view(torch.float8_e4m3fn), factor, rope, row)


class Shape(NamedTuple):
    """Widths of one layer's attention, as this rank holds it."""

    heads: int
    nope: int
    rope: int
    rank: int
    value: int
    interleaved: bool


@triton.jit
def _turn(x, to, c, s, mask, P: tl.constexpr, INTERLEAVED: tl.constexpr):
    """Rotate pairs at pointers `x` [rows, P / 2] as `model.rope.rotate` does, into `to`."""
    p = tl.arange(0, P // 2)[None, :]
    step: tl.constexpr = 2 if INTERLEAVED else 1
    other: tl.constexpr = 1 if INTERLEAVED else P // 2
    a = tl.load(x + step * p, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(x + other + step * p, mask=mask, other=0.0).to(tl.float32)
    tl.store(to + p, (a * c - b * s).to(to.dtype.element_ty), mask=mask)
    tl.store(to + P // 2 + p, (b * c + a * s).to(to.dtype.element_ty), mask=mask)


@triton.jit
def _prepare(
    q, kv, gain, kv_b, kv_b_scale, cos, sin, slots, latent, factor, rope, out, tokens, q_row, kv_row, row, eps,
    R: tl.constexpr, N: tl.constexpr, P: tl.constexpr, V: tl.constexpr, H: tl.constexpr, FP8: tl.constexpr,
    FP8_CACHE: tl.constexpr, INTERLEAVED: tl.constexpr, PDL: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BR: tl.constexpr,
):  # fmt: skip
    """The first H rows of programs fold [R, N] into one head's queries, a tile of R each; the others store latents."""
    head, tile, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    p = tl.arange(0, P // 2)[None, :]
    if head < H:
        m = (block * BM + tl.arange(0, BM))[:, None]
        n = tl.arange(0, BN)
        r = tile * BR + tl.arange(0, BR)
        at = head * (N + V) + n
        inside = (n < N)[:, None] & (r < R)[None, :]
        w = tl.load(kv_b + at[:, None] * R + r[None, :], mask=inside, other=0.0)
        if FP8:
            # A tile of R lies within one column of blocks.
            factors = tl.load(kv_b_scale + (at // 128) * tl.cdiv(R, 128) + tile * BR // 128, mask=n < N, other=0.0)
            w = (w.to(tl.float32) * factors[:, None]).to(q.dtype.element_ty)
        wait(PDL)
        mine = q + m * q_row + head * (N + P)
        nope = tl.load(mine + n[None, :], mask=(m < tokens) & (n < N)[None, :], other=0.0)
        absorbed = tl.dot(nope, w.to(nope.dtype), input_precision="ieee")
        to = out + (m * H + head) * (R + P)
        tl.store(to + r[None, :], absorbed.to(out.dtype.element_ty), mask=(m < tokens) & (r < R)[None, :])
        if tile == 0:
            c = tl.load(cos + m * (P // 2) + p, mask=m < tokens, other=0.0)
            s = tl.load(sin + m * (P // 2) + p, mask=m < tokens, other=0.0)
            _turn(mine + N, to + R, c, s, (m < tokens) & (p < P // 2), P, INTERLEAVED)
    else:
        token = (head - H) * (tl.num_programs(1) * tl.num_programs(2)) + block * tl.num_programs(1) + tile
        wait(PDL)
        if token < tokens:
            _store(kv + token * kv_row, gain, tl.load(slots + token), latent, factor, row, eps, R, FP8_CACHE)
            c, s = tl.load(cos + token * (P // 2) + p), tl.load(sin + token * (P // 2) + p)
            to = rope + tl.load(slots + token) * (row // 2 if FP8_CACHE else row)
            _turn(kv + token * kv_row + R + tl.zeros([1, 1], dtype=tl.int32), to, c, s, p < P // 2, P, INTERLEAVED)


@triton.jit
def _store(kv, gain, slot, latent, factor, row, eps, R: tl.constexpr, FP8: tl.constexpr):
    """One token's latent, normalised, into its slot."""
    g = tl.arange(0, R // 128 if R >= 128 else 1)
    j = tl.arange(0, 128 if R >= 128 else R)
    r = g[:, None] * 128 + j[None, :]
    x = tl.load(kv + r).to(tl.float32)
    x = x * tl.rsqrt(tl.sum(tl.sum(x * x, axis=1), axis=0) / R + eps) * tl.load(gain + r).to(tl.float32)
    if FP8:
        # Quantised from the value that the plain path holds, which was rounded to the activations' dtype.
        x = x.to(kv.dtype.element_ty).to(tl.float32)
        largest = tl.max(tl.abs(x), axis=1)
        scale = tl.where(largest > 0, tl.div_rn(largest, tl.full(largest.shape, 448.0, tl.float32)), 1.0)
        tl.store(factor + slot * (row // 4) + g, scale)
        tl.store(latent + slot * row + r, tl.div_rn(x, scale[:, None] + tl.zeros_like(x)).to(latent.dtype.element_ty))
    else:
        tl.store(latent + slot * row + r, x.to(latent.dtype.element_ty))


def prepare(
    q: Tensor,
    kv: Tensor,
    norm: Norm,
    kv_b: Weight,
    rope: tuple[Tensor, Tensor],
    slots: Tensor,
    latents: Latents,
    shape: Shape,
) -> Tensor:
    """Store the latents of M tokens and return their absorbed queries [M, H, R + P].

    q [M, H * (N + P)] and kv [M, R + P] as projected, rows may be strided; `norm` is the latent norm;
    `rope` cos and sin float32 [M, P / 2].
    """
    tokens = q.shape[0]
    out = torch.empty(tokens, shape.heads, shape.rank + shape.rope, dtype=q.dtype, device=q.device)
    block_r = min(shape.rank, 128)
    tiles, blocks = triton.cdiv(shape.rank, block_r), triton.cdiv(tokens, 16)
    to = views(latents, shape.rank)
    _prepare[(shape.heads + triton.cdiv(tokens, tiles * blocks), tiles, blocks)](
        q, kv, norm.gain, *kv_b, *rope, slots, to.latent, to.factor, to.rope, out, tokens, q.stride(0), kv.stride(0),
        to.row, norm.eps, R=shape.rank, N=shape.nope, P=shape.rope, V=shape.value, H=shape.heads,
        FP8=kv_b[1] is not None, FP8_CACHE=latents.fp8, INTERLEAVED=shape.interleaved, BM=16,
        BN=max(triton.next_power_of_2(shape.nope), 16), BR=block_r, num_warps=4, **overlap(),
    )  # fmt: skip
    return out
