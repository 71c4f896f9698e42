"""The cache split over ranks by tokens: the token at offset o of every page lies on rank o % ranks.

A page is PAGE / ranks tokens of each rank. All ranks have the same pages, tables and copies, then, and no rank holds
more than one token of a sequence more than another. Heads are split as ever (see shard.py); what attention needs of
other ranks depends on the number of queries:
- absorbed (a few): every rank gets the queries of all heads and attends to its own tokens; each head's results go to
  the rank that has its projections, which merges them by log-sum-exp (see partial.py);
- expanded (many): the history comes to every rank, a block at a time, for its own heads.

What that costs a rank of V3 over 8, per layer and step of N tokens in BF16, beside the two sums of [N, 7168] that
head-split attention has as well: two messages. All queries [N, 128, 576] are 147 KB per token, of which 7/8 come from
others; all heads' results [N, 128, 512] with their log-sum-exp 135 KB, 7/8 to others. At 370 GB/s and 10 microseconds
per message that is 20 + 0.65 N microseconds. In return a rank reads 82 bytes of each token of history (FP8) and not
656: at 4.3 TB/s, 17 microseconds less per 128K tokens. Reading wins where all histories together exceed about
150K + 5K N tokens; memory wins always: 128K tokens are 5 GiB over all ranks together, not on each. To expand, 656
bytes per token of history come to each rank, per chunk of a prompt: the product that follows takes longer by far.

Data-parallel attention (a rank has all heads, and the caches of its own sequences) is not offered, only measured
(tests/bench/parallel_apart.py): pages would belong to ranks, and a prompt would occupy one of them. It needs all of
attention's weights on every rank: 187 MB per layer in FP8 and not 37, hence 9 GB more over 61 layers (room for 230K
tokens of cache), and 35 microseconds more per layer to read them. It saves both messages above and the first sum. It
would win from about 25 sequences of like lengths on; one sequence alone would have the memory, and the time, of one
rank.

L layers, T tokens, C latent width, H heads, S queries, R latent rank.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.config import Config
from model.errors import CannotSplit
from model.partial import Part
from model.shard import Shard, fitting_ranks


class SplitCache(LatentCache):
    """One rank's part: `storage` [L, pages, PAGE / ranks, C]. What other ranks hold is written into the last page.

    `stored`, `read` and `fill` are about whole sequences, and called on all ranks at once.
    """

    def __init__(
        self, shard: Shard, config: Config, pages: int, dtype: torch.dtype, device: torch.device, fp8: bool = False
    ) -> None:
        """`pages`: those for sequences, and the last, which is nobody's."""
        super().__init__(config, 0, dtype, device, fp8)
        self.shard = shard
        layers, _, _, width = self.storage.shape
        self.storage = self.storage.new_empty(layers, pages, PAGE // shard.size, width)

    def place(self, slots: Tensor) -> Tensor:
        spare = (self.storage.shape[1] - 1) * self.storage.shape[2]
        return torch.where(slots % self.shard.size == self.shard.rank, slots // self.shard.size, spare)

    def count(self, tokens: int) -> int:
        return -(-(tokens - self.shard.rank) // self.shard.size)

    def stored(self, layer: int, pages: Sequence[int], length: int) -> Tensor:
        most = -(-length // self.shard.size)  # some ranks have one less; what lies there then is cut off
        rows = self.shard.collect(super().stored(layer, pages, length)[:most])  # [ranks, most, C]
        return rows.transpose(0, 1).flatten(0, 1)[:length]

    def fill(self, layer: int, pages: Sequence[int], rows: Tensor) -> None:
        own = rows[self.shard.rank :: self.shard.size].to(self.storage.device)
        strip = self.storage.shape[2]
        starts = torch.tensor(pages[: -(-len(rows) // PAGE)], device=self.storage.device) * strip
        slots = (starts[:, None] + torch.arange(strip, device=self.storage.device)).flatten()
        self.storage[layer].flatten(0, 1).index_copy_(0, slots[: len(own)], own)

    def runs(self, layer: int, pages: Sequence[int], length: int) -> list[Tensor]:
        """The tokens that are here, in one piece."""
        return [self._latents(super().stored(layer, pages, length)[: self.count(length)])]


def exchange(part: Part, shard: Shard) -> list[Part]:
    """From attention by all heads to this rank's tokens [H, S, R]: for this rank's heads, what every rank found."""
    heads, queries, rank = part.out.shape
    logs = part.lse[..., None].view(part.out.dtype)  # the same bits: [H, S, 1], or 2 of bfloat16
    message = torch.cat([part.out, logs], dim=-1).view(shard.size, heads // shard.size, queries, -1)
    out, logs = torch.split(shard.exchange(message), [rank, logs.shape[-1]], dim=-1)
    lse = logs.contiguous().view(torch.float32)[..., 0]
    return [Part(*one) for one in zip(out, lse, strict=True)]


def check_sharing(config: Config, ranks: int) -> None:
    """Refuse what cannot share a cache.

    :raises CannotSplit: there is one rank, or a page does not divide among so many; with the numbers that would do.
    """
    fitting = [str(size) for size in fitting_ranks(config) if size > 1 and PAGE % size == 0]
    mend = (
        "Set " + (f"model.ranks to {' or '.join(fitting)}, or " if fitting else "") + "model.attention_layout to heads."
    )
    if ranks == 1:
        raise CannotSplit("The attention layout `sequence` shares the cache among several ranks; there is one.", mend)
    if PAGE % ranks:
        raise CannotSplit(
            f"The attention layout `sequence` cannot share pages of {PAGE} tokens among {ranks} ranks.", mend
        )
