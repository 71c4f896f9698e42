"""Which pages of the cache a new token attends to: those that may hold its highest scores (Quest, arXiv 2406.10774).

Of a full page no more is known than the greatest and the least value of each dimension of its latents; from these
follows what the score of any of its tokens cannot exceed. They are renewed whenever a page becomes full, so that they
are right whoever had the page before, and however often its last tokens were taken back.

L layers, M pages, H heads, C width of a latent.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.cache import PAGE
from model.config import Config

_FIRST, _RECENT = 1, 2
"""Pages at both ends that are always attended to: most heads look at the first tokens, and at the last ones."""


class PageSelection:
    """The extremes of a cache's full pages, and the choice of at most `attended` of a sequence's pages by them.

    All heads share the latents, so that they choose together; ranks hold different heads, and choose apart. The choice
    is made on the host: a recorded decode step (graphs.py) attends to everything.
    """

    def __init__(self, config: Config, pages: int, dtype: torch.dtype, device: torch.device, attended: int) -> None:
        """`dtype` is what the cache returns; `attended` is at least 4."""
        self.attended = attended
        layers = config.num_hidden_layers + config.num_nextn_predict_layers
        # As the cache itself: memory that is not touched before it is written.
        self._extremes = torch.empty(layers, pages, 2, config.latent_dim, dtype=dtype, device=device)

    def renew(self, layer: int, pages: Sequence[int], latents: Tensor) -> None:
        """`pages` have become full of `latents` [M * PAGE, C]."""
        whole = latents.view(-1, PAGE, latents.shape[-1])  # [M, PAGE, C]
        self._extremes[layer, self._index(pages)] = torch.stack([whole.amax(1), whole.amin(1)], dim=1)

    def bounds(self, layer: int, query: Tensor, pages: Sequence[int]) -> Tensor:
        """What the product of a query [H, C] with any latent of each of `pages`, which are full, cannot exceed: [H, M].

        In each dimension, a positive component of the query makes most of the greatest value, a negative one of the
        least.
        """
        signed = torch.cat([query.clamp(min=0), query.clamp(max=0)], dim=-1)  # [H, 2C]
        return torch.matmul(signed, self._extremes[layer, self._index(pages)].flatten(1).T)

    def narrow(self, layer: int, query: Tensor, pages: Sequence[int], total: int) -> tuple[tuple[int, ...], int]:
        """Of a sequence of `total` tokens in `pages`, the pages that its last token attends to, and their tokens.

        `query` [H, C] is scaled as for attention. Each head has one vote, which it divides by the softmax of its
        bounds, as it will divide its attention.
        """
        own = tuple(pages[: -(-total // PAGE)])
        if len(own) <= self.attended:
            return own, total
        middle = own[_FIRST:-_RECENT]
        votes = self.bounds(layer, query, middle).float().softmax(-1).sum(0)  # [M]
        best = votes.topk(self.attended - _FIRST - _RECENT).indices
        chosen = (middle[number] for number in sorted(best.tolist()))
        return (*own[:_FIRST], *chosen, *own[-_RECENT:]), total - (len(own) - self.attended) * PAGE

    def _index(self, pages: Sequence[int]) -> Tensor:
        return torch.tensor(pages, dtype=torch.int64, device=self._extremes.device)


def selection_bytes(config: Config, dtype: torch.dtype) -> int:
    """Bytes of one page's extremes over all layers."""
    return 2 * (config.num_hidden_layers + config.num_nextn_predict_layers) * config.latent_dim * dtype.itemsize
