"""Absorbed latent attention of a few new tokens per sequence over a paged cache, split over the history.

`attend` lets every head attend to the latents of one split of one sequence (Flash-Decoding, Dao et al., 2023);
`combine` merges the splits by log-sum-exp and applies the value projection. Where ranks share the cache (see
model/split_cache.py), each attends with all heads to its own tokens, and what it sends to the others is made by `pack`
and read through `unpack`. Queries and cache are as in latents.py.

M new tokens in all, Q per sequence, H heads, N no-position width, P rotary width, R latent rank, V value width,
S splits. Of SIZE ranks that share a cache, this one holds (n + SHIFT) // SIZE of the first n tokens of a sequence.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.kernels.gemv import Weight
from model.kernels.latents import Latents, Shape, views
from model.kernels.launch import overlap, shared_memory, wait
from model.shard import Shard

_LOG2E = 1.4426950408889634

_SPARE = 16
"""Elements of a message's row beyond the values."""


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
def _slots(tables, begin, end, PAGE: tl.constexpr, BT: tl.constexpr):
    """Where BT tokens from `begin` on lie; a page may have more tokens than that, or less."""
    if BT <= PAGE:
        return tl.load(tables + begin // PAGE).to(tl.int64) * PAGE + begin % PAGE + tl.arange(0, BT)
    t = begin + tl.arange(0, BT)
    return tl.load(tables + t // PAGE, mask=t < end, other=0).to(tl.int64) * PAGE + t % PAGE


@triton.jit
def _attend(
    q, latent, rope, tables, lengths, partial, lse, scale, width, row, splits, shift,
    H: tl.constexpr, Q: tl.constexpr, R: tl.constexpr, P: tl.constexpr, PAGE: tl.constexpr, SIZE: tl.constexpr,
    PDL: tl.constexpr, BM: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """One split of one sequence, for BM of its Q * H query rows; scores in units of log2."""
    wait(PDL)
    sequence, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    everywhere = tl.load(lengths + sequence)
    length = (everywhere + shift) // SIZE
    chunk = tl.cdiv(tl.cdiv(length, splits), BT) * BT
    start = split * chunk
    if start < length:
        end = tl.minimum(start + chunk, length)
        i = block * BM + tl.arange(0, BM)
        mine = (sequence * Q * H + i).to(tl.int64)
        real = (i < Q * H)[:, None]
        sees = tl.minimum((everywhere - (Q - 1 - i // H) + shift) // SIZE, end)[:, None]
        r, p = tl.arange(0, R)[None, :], tl.arange(0, P)[None, :]
        at = q + mine[:, None] * (R + P)
        query, query_rope = tl.load(at + r, mask=real, other=0.0), tl.load(at + R + p, mask=real, other=0.0)
        total = tl.zeros([BM, R], dtype=tl.float32)
        best = tl.full([BM], float("-inf"), dtype=tl.float32)
        weight = tl.zeros([BM], dtype=tl.float32)
        for begin in tl.range(start, end, BT):
            t = begin + tl.arange(0, BT)
            slot = _slots(tables + sequence * width, begin, end, PAGE, BT)[:, None]
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
    q, latent, factor, rope, tables, lengths, partial, lse, scale, width, row, splits, shift,
    H: tl.constexpr, Q: tl.constexpr, R: tl.constexpr, P: tl.constexpr, PAGE: tl.constexpr, SIZE: tl.constexpr,
    PDL: tl.constexpr, BM: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """`_attend` over the FP8 layout. The e4m3 values are exact in the queries' dtype; each group's factor multiplies
    its part of a score and its share, so the groups (at most four) are written out."""
    wait(PDL)
    sequence, block, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    everywhere = tl.load(lengths + sequence)
    length = (everywhere + shift) // SIZE
    chunk = tl.cdiv(tl.cdiv(length, splits), BT) * BT
    start = split * chunk
    if start < length:
        end = tl.minimum(start + chunk, length)
        i = block * BM + tl.arange(0, BM)
        mine = (sequence * Q * H + i).to(tl.int64)
        real = (i < Q * H)[:, None]
        sees = tl.minimum((everywhere - (Q - 1 - i // H) + shift) // SIZE, end)[:, None]
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
            t = begin + tl.arange(0, BT)
            flat = _slots(tables + sequence * width, begin, end, PAGE, BT)
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
def _used(length, splits, TURN: tl.constexpr):
    """How many of the splits `_attend` wrote; all, where TURN is 0."""
    if TURN == 0:
        return splits
    return tl.cdiv(length, tl.maximum(tl.cdiv(tl.cdiv(length, splits), TURN), 1) * TURN)  # 0 where nothing is here


@triton.jit
def _merge(partial, lse, used, step, log_step, R: tl.constexpr, SP: tl.constexpr, BS: tl.constexpr):
    """The first `used` splits of one head of one token as one: values [R], log2-sum-exp."""
    r = tl.arange(0, R)
    s = tl.arange(0, SP)
    logs = tl.load(lse + s * log_step, mask=s < used, other=float("-inf"))
    top = tl.max(logs, axis=0)
    # Nothing may be here of a sequence: exp2(-inf - -inf) would be NaN.
    safe = tl.where(top == float("-inf"), 0.0, top)
    weight = tl.sum(tl.exp2(logs - safe), axis=0)
    whole = tl.where(weight > 0, weight, 1.0)
    context = tl.zeros([R], dtype=tl.float32)
    for start in range(0, used, BS):
        b = start + tl.arange(0, BS)
        share = tl.exp2(tl.load(lse + b * log_step, mask=b < used, other=float("-inf")) - safe) / whole
        at = partial + b.to(tl.int64)[:, None] * step + r[None, :]
        values = tl.load(at, mask=(b < used)[:, None], other=0.0).to(tl.float32)
        context += tl.sum(values * share[:, None], axis=0)
    return context, top + tl.log2(whole)


@triton.jit
def _combine(
    partial, lse, lengths, kv_b, kv_b_scale, out, splits, row, step, log_row, log_step, H: tl.constexpr,
    Q: tl.constexpr, R: tl.constexpr, N: tl.constexpr, V: tl.constexpr, FP8: tl.constexpr, PDL: tl.constexpr,
    TURN: tl.constexpr, SP: tl.constexpr, BS: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Splits of one head of one token merged, then [R] @ [R, V], one tile of V per program."""
    token, head, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    r = tl.arange(0, R)
    v = tile * BV + tl.arange(0, BV)
    at = head * (N + V) + N + v
    w = tl.load(kv_b + at[:, None] * R + r[None, :], mask=(v < V)[:, None], other=0.0)
    wait(PDL)
    used = _used(tl.load(lengths + token // Q), splits, TURN)
    mine = (token * H + head).to(tl.int64)
    context, _ = _merge(partial + mine * row, lse + mine * log_row, used, step, log_step, R, SP, BS)
    w = w.to(tl.float32)
    if FP8:
        w *= tl.load(
            kv_b_scale + (at // 128)[:, None] * tl.cdiv(R, 128) + (r // 128)[None, :], mask=(v < V)[:, None], other=0.0
        )
    values = tl.sum(w * context[None, :], axis=1)
    tl.store(out + (token * H + head) * V + v, values.to(out.dtype.element_ty), mask=v < V)


@triton.jit
def _pack(
    partial, lse, lengths, values, logs, tokens, splits, shift, row, log_row, H: tl.constexpr, OWN: tl.constexpr,
    Q: tl.constexpr, R: tl.constexpr, SIZE: tl.constexpr, PDL: tl.constexpr, TURN: tl.constexpr, SP: tl.constexpr,
    BS: tl.constexpr,
):  # fmt: skip
    """Splits of one head of one token merged, into the message for the rank that has the head."""
    token, head = tl.program_id(0), tl.program_id(1)
    wait(PDL)
    used = _used((tl.load(lengths + token // Q) + shift) // SIZE, splits, TURN)
    mine = (token * H + head).to(tl.int64) * splits
    context, log = _merge(partial + mine * R, lse + mine, used, R, 1, R, SP, BS)
    to = ((head // OWN) * tokens + token).to(tl.int64) * OWN + head % OWN
    tl.store(values + to * row + tl.arange(0, R), context.to(values.dtype.element_ty))
    tl.store(logs + to * log_row, log)


def tiles(rows: int) -> tuple[int, int, int]:
    """Query rows and tokens of a program's turn, and its warps."""
    return (64, 32, 8) if rows >= 64 and shared_memory() > 160 << 10 else (16, 64, 8)


def attend(
    q: Tensor, latents: Latents, tables: Tensor, lengths: Tensor, scale: float, shape: Shape, splits: int
) -> tuple[Tensor, Tensor, int]:
    """Partial results float32 [M, H, S, R] and their log2-sum-exp [M, H, S] of queries [M, H, R + P], and the tokens
    that one turn of the loop reads.

    `tables` int32 [sequences, width], `lengths` int32 [sequences], new tokens included; M is a multiple of the number
    of sequences. Splits beyond a sequence's length, or beyond what this rank has of it, are left unwritten.
    """
    sequences, new = len(lengths), q.shape[0] // len(lengths)
    partial = torch.empty(q.shape[0], shape.heads, splits, shape.rank, dtype=torch.float32, device=q.device)
    lse = torch.empty(q.shape[0], shape.heads, splits, dtype=torch.float32, device=q.device)
    block_m, block_t, warps = tiles(new * shape.heads)
    of = views(latents, shape.rank)
    grid = (sequences, triton.cdiv(new * shape.heads, block_m), splits)
    shard, page = latents.shard, latents.storage.shape[1]
    sizes = {
        "H": shape.heads, "Q": new, "R": shape.rank, "P": shape.rope, "PAGE": page, "SIZE": shard.size, "BM": block_m,
        "BT": block_t,
    }  # fmt: skip
    shift = shard.size - 1 - shard.rank
    if latents.fp8:
        _attend_fp8[grid](
            q, of.latent, of.factor, of.rope, tables, lengths, partial, lse, scale * _LOG2E, tables.stride(0), of.row,
            splits, shift, **sizes, num_warps=warps, num_stages=2, **overlap(),
        )  # fmt: skip
    else:
        _attend[grid](
            q, of.latent, of.rope, tables, lengths, partial, lse, scale * _LOG2E, tables.stride(0), of.row, splits,
            shift, **sizes, num_warps=warps, num_stages=2, **overlap(),
        )  # fmt: skip
    return partial, lse, block_t


def combine(
    partial: Tensor,
    lse: Tensor,
    lengths: Tensor,
    kv_b: Weight,
    shape: Shape,
    turn: int,
    dtype: torch.dtype,
) -> Tensor:
    """What `attend` made, merged and through the value projection: [M, H * V]; or what `unpack` found, with turn 0."""
    tokens, splits = partial.shape[0], partial.shape[2]
    out = torch.empty(tokens, shape.heads * shape.value, dtype=dtype, device=partial.device)
    block_v = 16
    _combine[(tokens, shape.heads, triton.cdiv(shape.value, block_v))](
        partial, lse, lengths, kv_b[0], kv_b[1], out, splits, partial.stride(1), partial.stride(2), lse.stride(1),
        lse.stride(2), H=shape.heads, Q=tokens // len(lengths), R=shape.rank, N=shape.nope, V=shape.value,
        FP8=kv_b[1] is not None, TURN=turn, SP=triton.next_power_of_2(splits),
        BS=min(triton.next_power_of_2(splits), 32), BV=block_v, num_warps=8, **overlap(),
    )  # fmt: skip
    return out


def pack(partial: Tensor, lse: Tensor, lengths: Tensor, turn: int, shard: Shard, dtype: torch.dtype) -> Tensor:
    """What `attend` made with all heads on this rank, as one part per rank, to be exchanged: [ranks, M, H / ranks, *].

    A row is R values, the log-sum-exp as float32, and what makes its length one that is read fast.
    """
    tokens, heads, splits, rank = partial.shape
    own = heads // shard.size
    message = torch.empty(shard.size, tokens, own, rank + _SPARE, dtype=dtype, device=partial.device)
    logs = _logs(message, rank)
    _pack[(tokens, heads)](
        partial, lse, lengths, message, logs, tokens, splits, shard.size - 1 - shard.rank, message.stride(2),
        logs.stride(2), H=heads, OWN=own, Q=tokens // len(lengths), R=rank, SIZE=shard.size, TURN=turn,
        SP=triton.next_power_of_2(splits), BS=min(triton.next_power_of_2(splits), 32), num_warps=8, **overlap(),
    )  # fmt: skip
    return message


def unpack(message: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """What every rank found for this rank's heads, as `combine` takes it: values [M, H, ranks, R], log2-sum-exp."""
    return message[..., :rank].permute(1, 2, 0, 3), _logs(message, rank).permute(1, 2, 0)


def _logs(message: Tensor, rank: int) -> Tensor:
    """Its log-sum-exp [ranks, M, H / ranks]; a view."""
    return message.view(torch.float32)[..., rank * message.element_size() // 4]
