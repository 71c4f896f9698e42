"""Multi-token prediction (DeepSeek-V3 report, section 2.2): a layer that reads one token ahead of the main model.

From the main model's hidden state at a position and the token that follows, a predictor makes the hidden state that
the main model might have at the next position: the head turns it into a draft of the token after. Embedding and head
are the main model's.

B batch, S tokens of a sequence, T new tokens of all sequences in a step, D hidden width.
"""

import torch
from torch import Tensor, nn

from model.cache import LatentCache
from model.config import Config
from model.decoder_layer import DecoderLayer
from model.layers import Linear, RMSNorm
from model.moe import LayerLoad
from model.shard import WHOLE, Shard
from model.step import Step


class MultiTokenPredictor(nn.Module):
    """Predictor `k`: its block is layer `num_hidden_layers + k` of files and of the cache.

    The hidden states that it takes are those *after* the final norm, and those that it returns are after its own norm,
    so that one predictor can be run again on what it returned. The report leaves both open; the modelling code beside
    published MTP checkpoints hands over normed states, and engines that fed it others lost acceptance (vLLM pull
    request 45895). A wrong choice costs acceptance only, since every draft is verified.
    """

    def __init__(self, config: Config, k: int, shard: Shard = WHOLE) -> None:
        super().__init__()
        self.enorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.hnorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.eh_proj = Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.block = DecoderLayer(config, config.num_hidden_layers + k, shard)
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        embedded: Tensor,
        hidden: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        load: bool = False,
    ) -> tuple[Tensor, LayerLoad | None]:
        """Whole sequences: embeddings of the next tokens and hidden states [B, S, D] -> [B, S, D], and the load."""
        x, layer_load = self.block(self._join(embedded, hidden), rope, mask, load)
        normed: Tensor = self.norm(x)
        return normed, layer_load

    def read(
        self, embedded: Tensor, hidden: Tensor, rope: tuple[Tensor, Tensor], step: Step, cache: LatentCache
    ) -> Tensor:
        """A step's tokens over `cache`: [T, D] -> [T, D]."""
        normed: Tensor = self.norm(self.block.read(self._join(embedded, hidden), rope, step, cache))
        return normed

    def _join(self, embedded: Tensor, hidden: Tensor) -> Tensor:
        joined: Tensor = self.eh_proj(torch.cat([self.enorm(embedded), self.hnorm(hidden)], dim=-1))
        return joined
