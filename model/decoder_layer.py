"""One layer of the decoder: attention and an MLP, dense or of experts, each around the residual stream.

B batch, S tokens of a sequence, T new tokens of all sequences in a step, D hidden width.
"""

from torch import Tensor, nn

from model.attention import Attention
from model.cache import LatentCache
from model.config import Config
from model.layers import MLP, RMSNorm
from model.moe import LayerLoad, MoE
from model.shard import WHOLE, Shard
from model.step import Branches, Step


class DecoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); the first layers' MLPs are dense."""

    def __init__(self, config: Config, layer: int, shard: Shard = WHOLE) -> None:
        super().__init__()
        self.shard = shard
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config, layer, shard)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp: MLP | MoE
        if layer < config.first_k_dense_replace:
            self.mlp = MLP(config.hidden_size, shard.width(config.intermediate_size))
        else:
            self.mlp = MoE(config, shard)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None = None, load: bool = False
    ) -> tuple[Tensor, LayerLoad | None]:
        """Whole sequences [B, S, D]."""
        return self.feed(x + self.self_attn(self.input_layernorm(x), rope, mask), load)

    def read(self, x: Tensor, rope: tuple[Tensor, Tensor], what: Step | Branches, cache: LatentCache) -> Tensor:
        """New tokens [T, D] over `cache`."""
        attended = self.self_attn.read(self.input_layernorm(x), rope, what, cache)
        return self.feed(x + self.shard.sum(attended), False)[0]

    def feed(self, x: Tensor, load: bool) -> tuple[Tensor, LayerLoad | None]:
        """x + mlp(norm(x)), the second half of a layer."""
        normed = self.post_attention_layernorm(x)
        if isinstance(self.mlp, MoE):
            out, layer_load = self.mlp(normed, load)
            return x + self.shard.sum(out), layer_load
        return x + self.shard.sum(self.mlp(normed)), None
