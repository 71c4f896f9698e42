"""Absorbed latent attention of a few new tokens per sequence over a paged cache, split over the history.

`attend` lets every head attend to the latents of one split of one sequence (Flash-Decoding, Dao et al., 2023);
`combine` merges the splits by log-sum-exp and applies the value projection. Queries and cache are as in latents.py.

M new tokens in all, Q per sequence, H heads, N no-position width, P rotary width, R latent rank, V value width,
S splits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.cache import PAGE
from model.kernels.gemv import Weight
from model.kernels.latents import Latents, Shape, views
from model.kernels.launch import overlap, shared_memory, wait

_LOG2E = 1.4426950408889634


@triton.jit
def _rescale(scores, best, weight):
    """The online softmax: shares of the new scores [BM, BT], the factor on the sum so far, and the new state."""
    top = tl.maximum(best, tl.max(scores, axis=1))
    # A row may see nothing yet: exp2(-inf - -inf) would be NaN.
    safe = tl.where(top == float("-inf"), 0.0, top)
    shares = tl.exp2(scores - safe[:, None])
    shrink = tl.exp2(best - safe)
    return shares, shrink, top, weight * shrink + tl.sum(shares, axis=1)


@triton.jit
def _attend(
    q, latent, rope, tables, lengths, partial, lse, scale, width, row, splits,
    H: tl.constexpr, Q: tl.constexpr, R: tl.constexpr, P: tl.constexpr, PAGE: tl.constexpr, PDL: tl.constexpr,
    BM: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """One split of one sequence, for BM of its Q * H query rows; scores in units of log2."""
    wait(PDL)
    sequence, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + sequence)
    chunk = tl.cdiv(tl.cdiv(length, splits), BT) * BT
    start = split * chunk
    if start < length:
        end = tl.minimum(start + chunk, length)
        i = block * BM + tl.arange(0, BM)
        mine = (sequence * Q * H + i).to(tl.int64)
        real = (i < Q * H)[:, None]
        sees = tl.minimum(length - (Q - 1 - i // H), end)[:, None]
        r, p = tl.arange(0, R)[None, :], tl.arange(0, P)[None, :]
        at = q + mine[:, None] * (R + P)
        query, query_rope = tl.load(at + r, mask=real, other=0.0), tl.load(at + R + p, mask=real, other=0.0)
        total = tl.zeros([BM, R], dtype=tl.float32)
        best = tl.full([BM], float("-inf"), dtype=tl.float32)
        weight = tl.zeros([BM], dtype=tl.float32)
        for begin in tl.range(start, end, BT):
            page = tl.load(tables + sequence * width + begin // PAGE).to(tl.int64)
            t = begin + tl.arange(0, BT)
            slot = (page * PAGE + begin % PAGE + tl.arange(0, BT))[:, None]
            inside = (t < end)[:, None]
            keys = tl.load(latent + slot * row + r, mask=inside, other=0.0)
            turned = tl.load(rope + slot * row + p, mask=inside, other=0.0)
            scores = tl.dot(query, tl.trans(keys), input_precision="ieee")
            scores += tl.dot(query_rope, tl.trans(turned), input_precision="ieee")
            scores = tl.where(t[None, :] < sees, scores * scale, float("-inf"))
            shares, shrink, best, weight = _rescale(scores, best, weight)
            total = tl.dot(shares.to(keys.dtype), keys, acc=total * shrink[:, None], input_precision="ieee")
        to = mine * splits + split
        tl.store(partial + to[:, None] * R + r, total / tl.where(weight > 0, weight, 1.0)[:, None], mask=real)
        tl.store(lse + to, best + tl.log2(weight), mask=i < Q * H)


@triton.jit
def _attend_fp8(
    q, latent, factor, rope, tables, lengths, partial, lse, scale, width, row, splits,
    H: tl.constexpr, Q: tl.constexpr, R: tl.constexpr, P: tl.constexpr, PAGE: tl.constexpr, PDL: tl.constexpr,
    BM: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """`_attend` over the FP8 layout. The e4m3 values are exact in the queries' dtype; each group's factor multiplies
    its part of a score and its share, so the groups (at most four) are written out."""
    wait(PDL)
    sequence, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + sequence)
    chunk = tl.cdiv(tl.cdiv(length, splits), BT) * BT
    start = split * chunk
    if start < length:
        end = tl.minimum(start + chunk, length)
        i = block * BM + tl.arange(0, BM)
        mine = (sequence * Q * H + i).to(tl.int64)
        real = (i < Q * H)[:, None]
        sees = tl.minimum(length - (Q - 1 - i // H), end)[:, None]
        r, p = tl.arange(0, 128)[None, :], tl.arange(0, P)[None, :]
        at = q + mine[:, None] * (R + P)
        query_rope = tl.load(at + R + p, mask=real, other=0.0)
        q0 = tl.load(at + r, mask=real, other=0.0)
        q1 = tl.load(at + 128 + r, mask=real & (R > 128), other=0.0)
        q2 = tl.load(at + 256 + r, mask=real & (R > 256), other=0.0)
        q3 = tl.load(at + 384 + r, mask=real & (R > 384), other=0.0)
        total0 = tl.zeros([BM, 128], dtype=tl.float32)
        total1 = tl.zeros([BM, 128], dtype=tl.float32)
        total2 = tl.zeros([BM, 128], dtype=tl.float32)
        total3 = tl.zeros([BM, 128], dtype=tl.float32)
        best = tl.full([BM], float("-inf"), dtype=tl.float32)
        weight = tl.zeros([BM], dtype=tl.float32)
        for begin in tl.range(start, end, BT):
            page = tl.load(tables + sequence * width + begin // PAGE).to(tl.int64)
            t = begin + tl.arange(0, BT)
            flat = page * PAGE + begin % PAGE + tl.arange(0, BT)
            slot = flat[:, None]
            inside = (t < end)[:, None]
            turned = tl.load(rope + slot * (row // 2) + p, mask=inside, other=0.0)
            scores = tl.dot(query_rope, tl.trans(turned.to(query_rope.dtype)), input_precision="ieee")
            k0 = tl.load(latent + slot * row + r, mask=inside, other=0.0).to(q0.dtype)
            f0 = tl.load(factor + flat * (row // 4), mask=t < end, other=0.0)
            scores += tl.dot(q0, tl.trans(k0), input_precision="ieee") * f0[None, :]
            if R > 128:
                k1 = tl.load(latent + slot * row + 128 + r, mask=inside, other=0.0).to(q0.dtype)
                f1 = tl.load(factor + flat * (row // 4) + 1, mask=t < end, other=0.0)
                scores += tl.dot(q1, tl.trans(k1), input_precision="ieee") * f1[None, :]
            if R > 256:
                k2 = tl.load(latent + slot * row + 256 + r, mask=inside, other=0.0).to(q0.dtype)
                f2 = tl.load(factor + flat * (row // 4) + 2, mask=t < end, other=0.0)
                scores += tl.dot(q2, tl.trans(k2), input_precision="ieee") * f2[None, :]
            if R > 384:
                k3 = tl.load(latent + slot * row + 384 + r, mask=inside, other=0.0).to(q0.dtype)
                f3 = tl.load(factor + flat * (row // 4) + 3, mask=t < end, other=0.0)
                scores += tl.dot(q3, tl.trans(k3), input_precision="ieee") * f3[None, :]
            scores = tl.where(t[None, :] < sees, scores * scale, float("-inf"))
            shares, shrink, best, weight = _rescale(scores, best, weight)
            keep = shrink[:, None]
            total0 = tl.dot((shares * f0[None, :]).to(q0.dtype), k0, acc=total0 * keep, input_precision="ieee")
            if R > 128:
                total1 = tl.dot((shares * f1[None, :]).to(q0.dtype), k1, acc=total1 * keep, input_precision="ieee")
            if R > 256:
                total2 = tl.dot((shares * f2[None, :]).to(q0.dtype), k2, acc=total2 * keep, input_precision="ieee")
            if R > 384:
                total3 = tl.dot((shares * f3[None, :]).to(q0.dtype), k3, acc=total3 * keep, input_precision="ieee")
        to = mine * splits + split
        whole = tl.where(weight > 0, weight, 1.0)[:, None]
        tl.store(partial + to[:, None] * R + r, total0 / whole, mask=real)
        tl.store(partial + to[:, None] * R + 128 + r, total1 / whole, mask=real & (R > 128))
        tl.store(partial + to[:, None] * R + 256 + r, total2 / whole, mask=real & (R > 256))
        tl.store(partial + to[:, None] * R + 384 + r, total3 / whole, mask=real & (R > 384))
        tl.store(lse + to, best + tl.log2(weight), mask=i < Q * H)


@triton.jit
def _combine(
    partial, lse, lengths, kv_b, kv_b_scale, out, splits, H: tl.constexpr, Q: tl.constexpr, R: tl.constexpr,
    N: tl.constexpr, V: tl.constexpr, FP8: tl.constexpr, PDL: tl.constexpr, BT: tl.constexpr, SP: tl.constexpr,
    BS: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Splits of one head of one token merged, then [R] @ [R, V], one tile of V per program."""
    token, head, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    r = tl.arange(0, R)
    v = tile * BV + tl.arange(0, BV)
    at = head * (N + V) + N + v
    w = tl.load(kv_b + at[:, None] * R + r[None, :], mask=(v < V)[:, None], other=0.0)
    wait(PDL)
    length = tl.load(lengths + token // Q)
    used = tl.cdiv(length, tl.cdiv(tl.cdiv(length, splits), BT) * BT)
    mine = (token * H + head).to(tl.int64) * splits
    s = tl.arange(0, SP)
    logs = tl.load(lse + mine + s, mask=s < used, other=float("-inf"))
    top = tl.max(logs, axis=0)
    whole = tl.sum(tl.exp2(logs - top), axis=0)
    context = tl.zeros([R], dtype=tl.float32)
    for start in range(0, used, BS):
        b = start + tl.arange(0, BS)
        share = tl.exp2(tl.load(lse + mine + b, mask=b < used, other=float("-inf")) - top) / whole
        values = tl.load(partial + (mine + b)[:, None] * R + r[None, :], mask=(b < used)[:, None], other=0.0)
        context += tl.sum(values * share[:, None], axis=0)
    w = w.to(tl.float32)
    if FP8:
        w *= tl.load(
            kv_b_scale + (at // 128)[:, None] * tl.cdiv(R, 128) + (r // 128)[None, :], mask=(v < V)[:, None], other=0.0
        )
    values = tl.sum(w * context[None, :], axis=1)
    tl.store(out + (token * H + head) * V + v, values.to(out.dtype.element_ty), mask=v < V)


def tiles(rows: int) -> tuple[int, int, int]:
    """Query rows and tokens of a program's turn, and its warps."""
    return (64, 32, 8) if rows >= 64 and shared_memory() > 160 << 10 else (16, 64, 8)


def attend(
    q: Tensor, latents: Latents, tables: Tensor, lengths: Tensor, scale: float, shape: Shape, splits: int
) -> tuple[Tensor, Tensor, int]:
    """Partial results float32 [M, H, S, R] and their log2-sum-exp [M, H, S] of queries [M, H, R + P], and the tokens
    that one turn of the loop reads.

    `tables` int32 [sequences, width], `lengths` int32 [sequences], new tokens included; M is a multiple of the number
    of sequences. Splits beyond a sequence's length are left unwritten.
    """
    sequences, new = len(lengths), q.shape[0] // len(lengths)
    partial = torch.empty(q.shape[0], shape.heads, splits, shape.rank, dtype=torch.float32, device=q.device)
    lse = torch.empty(q.shape[0], shape.heads, splits, dtype=torch.float32, device=q.device)
    block_m, block_t, warps = tiles(new * shape.heads)
    of = views(latents, shape.rank)
    grid = (sequences, triton.cdiv(new * shape.heads, block_m), splits)
    sizes = {"H": shape.heads, "Q": new, "R": shape.rank, "P": shape.rope, "PAGE": PAGE, "BM": block_m, "BT": block_t}
    if latents.fp8:
        _attend_fp8[grid](
            q, of.latent, of.factor, of.rope, tables, lengths, partial, lse, scale * _LOG2E, tables.stride(0), of.row,
            splits, **sizes, num_warps=warps, num_stages=2, **overlap(),
        )  # fmt: skip
    else:
        _attend[grid](
            q, of.latent, of.rope, tables, lengths, partial, lse, scale * _LOG2E, tables.stride(0), of.row, splits,
            **sizes, num_warps=warps, num_stages=2, **overlap(),
        )  # fmt: skip
    return partial, lse, block_t


def combine(
    partial: Tensor,
    lse: Tensor,
    lengths: Tensor,
    kv_b: Weight,
    shape: Shape,
    block_t: int,
    dtype: torch.dtype,
) -> Tensor:
    """What `attend` made, merged and through the value projection: [M, H * V]."""
    tokens, splits = partial.shape[0], partial.shape[2]
    out = torch.empty(tokens, shape.heads * shape.value, dtype=dtype, device=partial.device)
    block_v = 16
    _combine[(tokens, shape.heads, triton.cdiv(shape.value, block_v))](
        partial, lse, lengths, kv_b[0], kv_b[1], out, splits, H=shape.heads, Q=tokens // len(lengths), R=shape.rank,
        N=shape.nope, V=shape.value, FP8=kv_b[1] is not None, BT=block_t, SP=triton.next_power_of_2(splits),
        BS=min(triton.next_power_of_2(splits), 32), BV=block_v, num_warps=8, **overlap(),
    )  # fmt: skip
    return out
