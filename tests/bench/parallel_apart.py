"""Data-parallel attention, a layout that the program does not offer: measured beside those that it does.

Every rank holds attention whole, and the caches of sequences of its own, equally many on each; experts and MLPs stay
split. What they need comes from all ranks before them, and each rank gets the sums for its own tokens after them.

M own tokens, D model width, S ranks.
"""

from dataclasses import replace
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from model.attention import Attention
from model.cache import LatentCache
from model.decoder_layer import DecoderLayer
from model.deepseek import DeepseekForCausalLM
from model.moe import MoE
from model.random_weights import draw_weights
from model.shard import Shard
from model.step import Step


def hold_attention_whole(model: DeepseekForCausalLM, dtype: torch.dtype, device: torch.device) -> None:
    """Give every layer's attention all heads, with weights drawn anew: the same on every rank."""
    for number, one in enumerate(model.model.layers):
        layer = cast(DecoderLayer, one)
        with torch.device("meta"):
            attention = Attention(model.config, number)
        draw_weights(attention, model.config, dtype, device, f"apart {number}")
        layer.self_attn = attention.eval().requires_grad_(False)


def sum_apart(shard: Shard, partial: Tensor) -> Tensor:
    """The sum over all ranks of [S * M, D], of which each gets its own [M, D]."""
    own = partial.new_empty(len(partial) // shard.size, *partial.shape[1:])
    # Newer versions of torch have another name for it, and warn of the older one.
    named = "reduce_scatter_single" if hasattr(dist, "reduce_scatter_single") else "reduce_scatter_tensor"
    getattr(dist, named)(own, partial)
    return own


def decode(model: DeepseekForCausalLM, step: Step, cache: LatentCache) -> Tensor:
    """Read a rank's own tokens [M] into its cache; hidden states of all ranks' tokens [S * M, D]."""
    rope = model.model.rotary_emb(step.positions)
    x = model.model.embed_tokens(step.tokens)
    for one in model.model.layers:
        layer = cast(DecoderLayer, one)
        x = x + layer.self_attn.read(layer.input_layernorm(x), rope, step, cache)
        normed = layer.post_attention_layernorm(model.shard.collect(x).flatten(0, 1))
        out = layer.mlp(normed)[0] if isinstance(layer.mlp, MoE) else layer.mlp(normed)
        x = x + sum_apart(model.shard, out)
    return model.shard.collect(model.model.norm(x)).flatten(0, 1)


def fast_decode(model: DeepseekForCausalLM, step: Step, cache: LatentCache) -> Tensor:
    """`decode` by the kernels of model/fast_decode.py."""
    from model import fast_decode as fast  # needs Triton

    parts: Any = fast  # its parts of a layer, which are nobody else's business
    rope = model.model.rotary_emb(step.positions)
    step = replace(step, slots=cache.place(step.slots))
    x = model.model.embed_tokens(step.tokens)
    for one in model.model.layers:
        layer = cast(DecoderLayer, one)
        x = parts._attention(layer.self_attn, layer.input_layernorm, x, x, rope, step, cache)
        everyone = model.shard.collect(x).flatten(0, 1)
        half = parts._experts if isinstance(layer.mlp, MoE) else parts._dense
        # The first rank's sums hold the residual, too.
        residual = everyone if model.shard.first else None
        x = sum_apart(model.shard, half(layer.mlp, layer.post_attention_layernorm, everyone, residual))
    return model.shard.collect(model.model.norm(x)).flatten(0, 1)
