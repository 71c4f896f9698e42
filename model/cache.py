"""The latent key-value cache in pages: per layer and token, one compressed vector and the shared rotary key.

Knows nothing about who owns a page (see blocks.py), how queries attend to it (see attention.py) or which are worth it
(see page_selection.py).

L layers, T tokens, R latent rank, P rotary width, C = R + P.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.config import Config
from model.errors import UnfitSetting
from model.shard import WHOLE, Shard

if TYPE_CHECKING:
    from model.page_selection import PageSelection

PAGE = 64
"""Tokens of one page."""

_MOST_RUNS = 16
"""Runs of consecutive pages beyond which one copy is cheaper than many small products."""

_GROUP = 128
"""Values of the latent that share one scale in the FP8 layout."""

_FP8_MAX = 448.0
"""The largest finite e4m3 value."""


class LatentCache:
    """`storage` [L, pages, PAGE, C] in `dtype`; or bytes [L, pages, PAGE, row] in the FP8 layout.

    A row of that layout is R values e4m3, R/128 float32 scales, P values bfloat16: 656 bytes for R = 512, P = 64. The
    memory is not touched before it is written: on a CPU, pages that were never used cost nothing.
    """

    shard: Shard = WHOLE
    """which of a sequence's tokens are here (see split_cache.py)"""
    selection: "PageSelection | None" = None
    """what is to know of every page that becomes full"""

    def __init__(self, config: Config, pages: int, dtype: torch.dtype, device: torch.device, fp8: bool = False) -> None:
        """`dtype` is what `read` returns.

        :raises UnfitSetting: the latent does not divide into the groups of the FP8 layout.
        """
        self.dtype, self.fp8 = dtype, fp8
        self._rank = config.kv_lora_rank
        # The draft layers that follow the main ones have caches of their own.
        layers = config.num_hidden_layers + config.num_nextn_predict_layers
        if fp8:
            shape, kept = (layers, pages, PAGE, fp8_row(config)), torch.uint8
        else:
            shape, kept = (layers, pages, PAGE, config.latent_dim), dtype
        self.storage = torch.empty(shape, dtype=kept, device=device)

    def write(self, layer: int, slots: Tensor, latents: Tensor) -> None:
        """Put `latents` [T, C] where `slots` (int64 [T], page * PAGE + offset) say."""
        rows = quantise(latents, self._rank) if self.fp8 else latents.to(self.dtype)
        self.storage[layer].flatten(0, 1).index_copy_(0, self.place(slots), rows)

    def place(self, slots: Tensor) -> Tensor:
        """Where in `storage` the tokens of `slots` lie, counted like `slots`."""
        return slots

    def count(self, tokens: int) -> int:
        """How many of the first `tokens` of a sequence are here."""
        return tokens

    def stored(self, layer: int, pages: Sequence[int], length: int) -> Tensor:
        """The first `length` tokens of `pages` as they are stored [length, C or row]; a view where consecutive."""
        own = pages[: -(-length // PAGE)]
        if _consecutive(own):
            found = self.storage[layer, own[0] : own[0] + len(own)]
        else:
            found = self.storage[layer, torch.tensor(own, dtype=torch.int64, device=self.storage.device)]
        return found.flatten(0, 1)[:length]

    def fill(self, layer: int, pages: Sequence[int], rows: Tensor) -> None:
        """The inverse of `stored`: rows [length, C or row] into `pages`."""
        own = pages[: -(-len(rows) // PAGE)]
        if _consecutive(own):
            self.storage[layer].flatten(0, 1)[own[0] * PAGE : own[0] * PAGE + len(rows)] = rows
        else:
            for page, some in zip(own, torch.split(rows, PAGE), strict=True):
                self.storage[layer, page, : len(some)] = some
        self.complete(layer, own[: len(rows) // PAGE])

    def complete(self, layer: int, pages: Sequence[int]) -> None:
        """The last token of each of `pages` has just been written; `fill` calls this by itself."""
        if self.selection is not None and pages:
            self.selection.renew(layer, pages, self.read(layer, pages, len(pages) * PAGE))

    def read(self, layer: int, pages: Sequence[int], length: int) -> Tensor:
        """The first `length` tokens of `pages` [length, C]; a view where pages are consecutive and not quantised."""
        return self._latents(self.stored(layer, pages, length))

    def runs(self, layer: int, pages: Sequence[int], length: int) -> list[Tensor]:
        """`read` in pieces: on a CPU, views of consecutive pages, since a copy can cost what attention does."""
        own = pages[: -(-length // PAGE)]
        if self.fp8 or self.storage.is_cuda or _consecutive(own):
            return [self.read(layer, pages, length)]
        starts = [0, *(n for n in range(1, len(own)) if own[n] != own[n - 1] + 1)]
        if len(starts) > _MOST_RUNS:
            return [self.read(layer, pages, length)]
        ends = [*(start * PAGE for start in starts[1:]), length]
        return [self.read(layer, own[start:], end - start * PAGE) for start, end in zip(starts, ends, strict=True)]

    def _latents(self, rows: Tensor) -> Tensor:
        """Rows as they are stored -> [T, C]."""
        return dequantise(rows, self._rank, self.dtype) if self.fp8 else rows


def _consecutive(pages: Sequence[int]) -> bool:
    return len(pages) > 0 and list(pages) == list(range(pages[0], pages[0] + len(pages)))


def token_bytes(config: Config, dtype: torch.dtype, fp8: bool) -> int:
    """Bytes of one token's cache over all layers."""
    layers = config.num_hidden_layers + config.num_nextn_predict_layers
    return layers * (fp8_row(config) if fp8 else config.latent_dim * dtype.itemsize)


def fp8_row(config: Config) -> int:
    """Bytes of one token of one layer in the FP8 layout.

    :raises UnfitSetting: the latent does not divide into its groups.
    """
    if config.kv_lora_rank % _GROUP:
        raise UnfitSetting(
            f"An FP8 cache needs a kv_lora_rank that {_GROUP} divides, not {config.kv_lora_rank}.",
            "Leave model.cache_type at auto.",
        )
    return config.kv_lora_rank + 4 * (config.kv_lora_rank // _GROUP) + 2 * config.qk_rope_head_dim


def quantise(latents: Tensor, rank: int) -> Tensor:
    """Rows of the FP8 layout, uint8 [T, row], of `latents` [T, C]: each group is divided by its largest value / 448."""
    groups = latents[:, :rank].float().reshape(len(latents), -1, _GROUP)  # [T, R/128, 128]
    scales = groups.abs().amax(-1) / _FP8_MAX
    divisors = torch.where(scales > 0, scales, 1.0)  # a group of zeros stays one
    values = (groups / divisors[..., None]).to(torch.float8_e4m3fn).flatten(1)
    rotary = latents[:, rank:].to(torch.bfloat16).contiguous()
    return torch.cat([values.view(torch.uint8), scales.view(torch.uint8), rotary.view(torch.uint8)], dim=1)


def dequantise(rows: Tensor, rank: int, dtype: torch.dtype) -> Tensor:
    """`quantise` undone up to rounding: uint8 [T, row] -> [T, C] in `dtype`."""
    groups = rank // _GROUP
    values, scales, rotary = torch.split(rows, [rank, 4 * groups, rows.shape[1] - rank - 4 * groups], dim=1)
    # Copies, since a wider dtype is read only where it is aligned.
    wide = values.contiguous().view(torch.float8_e4m3fn).float().view(-1, groups, _GROUP)
    latents = (wide * scales.contiguous().view(torch.float32)[..., None]).flatten(1)
    return torch.cat([latents.to(dtype), rotary.contiguous().view(torch.bfloat16).to(dtype)], dim=1)
