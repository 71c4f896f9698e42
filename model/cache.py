"""The latent key-value cache: per layer and token, one compressed vector and the shared rotary key. One sequence."""

import torch
from torch import Tensor

from model.config import Config


class LatentCache:
    """`latents` [L, capacity, C] (C = kv_lora_rank + qk_rope_head_dim), of which the first `length` tokens are read.

    Grows by doubling up to `limit` tokens, so that a short question does not pay for a long window.
    """

    def __init__(self, config: Config, limit: int, dtype: torch.dtype, device: torch.device) -> None:
        self.limit = limit
        self.length = 0
        shape = (config.num_hidden_layers, min(limit, 1024), config.latent_dim)
        self.latents = torch.empty(shape, dtype=dtype, device=device)

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more; the caller keeps within `limit`."""
        needed = self.length + tokens
        if needed <= self.latents.shape[1]:
            return
        layers, capacity, width = self.latents.shape
        grown = self.latents.new_empty(layers, min(max(needed, 2 * capacity), max(self.limit, needed)), width)
        grown[:, : self.length] = self.latents[:, : self.length]
        self.latents = grown

    def write(self, layer: int, latent: Tensor) -> Tensor:
        """Put the new latents [1, S, C] after the read ones; all of that layer, [1, length + S, C].

        They count as read once `length` is advanced, and are overwritten otherwise.
        """
        end = self.length + latent.shape[1]
        self.latents[layer, self.length : end] = latent[0]
        return self.latents[layer, None, :end]
