"""Sums over the ranks of a model, and what they hand to one another, through memory that all of them write into.

A word (4 bytes: a float32, or two bfloat16) travels with the number of the sum that it belongs to, its epoch, in one
store of 8 bytes, which arrives whole: who finds the epoch has the word, and nothing else has to be waited for or
ordered (as in NCCL's protocol LL). Memory has two slots in turn. Whoever writes into a slot has ended the sum before,
to which every rank contributed after it had ended the one before that: nobody reads the slot any more.

In one hop every rank sends all to all. In two, blocks have owners: they get the words from all, and send the sums to
all, which are fewer bytes.

W words of each rank, R ranks.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model.kernels.launch import overlap, wait

_PROGRAMS = 128
"""Of every sum, however small, so that each finds the epoch by itself; all of them run at the same time."""

_SMALL, _LARGE = 128, 512
"""Words that a program sends at once: few as long as every program has at most one block of them."""

_PATIENCE = tl.constexpr(1 << 13)
"""Looks at what has not arrived, some ms, after which a program asks the host whether to give up. All programs of a sum
take up to 1.6 ms for that together; were it more than their patience, each sum would make the next one ask."""

_HOP = 1 << 20
"""Bytes that a rank sends in the time of a second hop: about 2.5 us at 450 GB/s."""


def programs(ranks: int) -> int:
    """Programs of a sum, and epochs that its rank keeps: a multiple of the ranks, so that owners take turns."""
    return _PROGRAMS // ranks * ranks


def one_hop(ranks: int) -> int:
    """The most words that are sent in one hop: two do not send so much less that they take less time."""
    saved = 8 * (ranks - 1) * (1 - 2 / ranks)  # bytes a word
    return int(_HOP / saved) if saved > 0 else 1 << 31


def fits(words: int, ranks: int, slot: int) -> bool:
    """Whether a slot takes so many words of each rank."""
    return ranks * (words + _LARGE) <= slot


def slot_words(words: int, ranks: int) -> int:
    """Words of a slot for sums of at most `words`: whole blocks."""
    most = max(ranks * (min(words, one_hop(ranks)) + _LARGE), 2 * words + (2 * ranks + 2) * _LARGE)
    return -(-most // _LARGE) * _LARGE


@triton.jit
def _receive(places, epoch, stop):
    """The words at `places` [..., BLOCK], once all have arrived; anything at all if `stop` says that they will not."""
    held = tl.load(places, volatile=True)
    late = tl.max(((held >> 32) != epoch).to(tl.int32))
    tries = 0
    while late != 0:
        held = tl.load(places, volatile=True)
        late = tl.max(((held >> 32) != epoch).to(tl.int32))
        tries += 1
        if tries % _PATIENCE == 0:
            late = tl.where(tl.load(stop, volatile=True) != 0, 0, late)
    return held.to(tl.int32)


@triton.jit
def _add(places, stride, epoch, stop, RANKS: tl.constexpr, WIDE: tl.constexpr, PAIRS: tl.constexpr):
    """Sums of the words [BLOCK] that each rank sent to `places`, `stride` apart; in the same order everywhere."""
    peers = tl.minimum(tl.arange(0, WIDE), RANKS - 1)[:, None]
    real = (tl.arange(0, WIDE) < RANKS)[:, None]
    words = _receive(places[None, :] + peers * stride, epoch, stop)
    if PAIRS:
        low = tl.sum(tl.where(real, (words << 16).to(tl.float32, bitcast=True), 0.0), axis=0)
        high = tl.sum(tl.where(real, (words & -65536).to(tl.float32, bitcast=True), 0.0), axis=0)
        return _half(low) & 65535 | _half(high) << 16
    return tl.sum(tl.where(real, words.to(tl.float32, bitcast=True), 0.0), axis=0).to(tl.int32, bitcast=True)


@triton.jit
def _half(value):
    return value.to(tl.bfloat16).to(tl.int16, bitcast=True).to(tl.int32)


@triton.jit
def _memory(table, rank):
    """A rank's memory, as this one sees it."""
    return tl.multiple_of(tl.load(table + rank).to(tl.pointer_type(tl.int64)), 16)


@triton.jit
def _sum_peers(
    values, table, epochs, rank, words, slot, RANKS: tl.constexpr, WIDE: tl.constexpr, PROGRAMS: tl.constexpr,
    BLOCK: tl.constexpr, TWO: tl.constexpr, PAIRS: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    wait(PDL)
    program = tl.program_id(0)
    epoch = tl.load(epochs + program) + 1
    first = (epoch & 1).to(tl.int64) * slot
    mark = epoch.to(tl.int64) << 32
    own, stop = _memory(table, rank) + first, tl.load(table + RANKS).to(tl.pointer_type(tl.int32))
    blocks = tl.cdiv(words, BLOCK)
    # Words of a rank's part of the slot: of all blocks, or of those that an owner has.
    part = (tl.cdiv(blocks, RANKS) if TWO else blocks) * BLOCK
    offsets = tl.arange(0, BLOCK)
    # 1. Send.
    for block in range(program, blocks, PROGRAMS):
        at = block * BLOCK + offsets
        word = tl.load(values + at, mask=at < words, other=0)
        packed = word.to(tl.int64) & 0xFFFFFFFF | mark
        if TWO:
            owner = (block + block // PROGRAMS) % RANKS
            tl.store(_memory(table, owner) + first + rank * part + block // RANKS * BLOCK + offsets, packed)
        else:
            for peer in tl.static_range(RANKS):
                tl.store(_memory(table, peer) + first + rank * part + at, packed)
    # 2. Sum, and send the sums.
    for block in range(program, blocks, PROGRAMS):
        at = block * BLOCK + offsets
        if TWO:
            if (block + block // PROGRAMS) % RANKS == rank:
                total = _add(own + block // RANKS * BLOCK + offsets, part, epoch, stop, RANKS, WIDE, PAIRS)
                packed = total.to(tl.int64) & 0xFFFFFFFF | mark
                for peer in tl.static_range(RANKS):
                    tl.store(_memory(table, peer) + first + RANKS * part + at, packed)
        else:
            total = _add(own + at, part, epoch, stop, RANKS, WIDE, PAIRS)
            tl.store(values + at, total, mask=at < words)
    # 3. Receive the sums.
    if TWO:
        for block in range(program, blocks, PROGRAMS):
            at = block * BLOCK + offsets
            total = _receive(own + RANKS * part + at, epoch, stop)
            tl.store(values + at, total, mask=at < words)
    tl.store(epochs + program, epoch)


@triton.jit
def _send_peers(
    values, out, table, epochs, rank, words, slot, RANKS: tl.constexpr, WIDE: tl.constexpr, PROGRAMS: tl.constexpr,
    BLOCK: tl.constexpr, APART: tl.constexpr, PDL: tl.constexpr,
):  # fmt: skip
    wait(PDL)
    program = tl.program_id(0)
    epoch = tl.load(epochs + program) + 1
    first = (epoch & 1).to(tl.int64) * slot
    mark = epoch.to(tl.int64) << 32
    own, stop = _memory(table, rank) + first, tl.load(table + RANKS).to(tl.pointer_type(tl.int32))
    blocks = tl.cdiv(words, BLOCK)
    part = blocks * BLOCK
    offsets = tl.arange(0, BLOCK)
    for block in range(program, blocks, PROGRAMS):
        at = block * BLOCK + offsets
        for peer in tl.static_range(RANKS):
            start = values + peer * words if APART else values
            packed = tl.load(start + at, mask=at < words, other=0).to(tl.int64) & 0xFFFFFFFF | mark
            tl.store(_memory(table, peer) + first + rank * part + at, packed)
    sender = tl.arange(0, WIDE)[:, None]
    for block in range(program, blocks, PROGRAMS):
        at = block * BLOCK + offsets[None, :]
        got = _receive(own + at + tl.minimum(sender, RANKS - 1) * part, epoch, stop)
        tl.store(out + sender * words + at, got, mask=(sender < RANKS) & (at < words))
    tl.store(epochs + program, epoch)


def send_peers(
    values: Tensor, out: Tensor, table: Tensor, epochs: Tensor, rank: int, ranks: int, slot: int, apart: bool
) -> None:
    """Send contiguous int32 `values` [W] to all ranks, or if `apart` row k of [R, W] to rank k; `out` [R, W] is theirs.

    The rest as `sum_peers` has it; R * (W + a block) words fit into a slot.
    """
    words = out.shape[1]
    block = _SMALL if words <= _SMALL * programs(ranks) else _LARGE
    _send_peers[(programs(ranks),)](
        values, out, table, epochs, rank, words, slot, RANKS=ranks, WIDE=triton.next_power_of_2(ranks),
        PROGRAMS=programs(ranks), BLOCK=block, APART=apart, num_warps=block // 64, **overlap(),
    )  # fmt: skip


def sum_peers(values: Tensor, table: Tensor, epochs: Tensor, rank: int, ranks: int, slot: int) -> None:
    """Replace contiguous `values`, bfloat16 in even number or float32, by their sums over all ranks.

    `table`: int64 [R + 1], addresses of the memory of each rank as this one sees it, two slots of `slot` words with
    their epochs, at first 0; and of an int32 that is not 0 once the sum is to be given up. `epochs`: int32
    [programs(R)], at first 0.
    """
    words = values.view(-1).view(torch.int32)
    small = len(words) <= _SMALL * programs(ranks)
    block = _SMALL if small else _LARGE
    _sum_peers[(programs(ranks),)](
        words, table, epochs, rank, len(words), slot, RANKS=ranks, WIDE=triton.next_power_of_2(ranks),
        PROGRAMS=programs(ranks), BLOCK=block, TWO=len(words) > one_hop(ranks), PAIRS=values.dtype == torch.bfloat16,
        num_warps=block // 64, **overlap(),
    )  # fmt: skip
