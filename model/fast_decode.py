"""One decode step of the whole model as GPU kernels: the fast twin of `DeepseekForCausalLM.step` for a few new tokens.

A few tokens take about ten kernels a layer, each of which reads its weights once (model/kernels/gemv.py); more of them
share tiles (model/kernels/grouped.py). Nothing waits for the host, so a step can be recorded in a CUDA graph.

M new tokens, D model width, H heads.
"""

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import LATENT_EPS, Attention
from model.cache import LatentCache
from model.decoder_layer import DecoderLayer
from model.deepseek import DeepseekForCausalLM
from model.kernels import gemv, grouped, mla, routing
from model.kernels.latents import Latents, Shape, prepare
from model.kernels.launch import processors
from model.layers import MLP, Linear, RMSNorm
from model.moe import MoE
from model.mtp import MultiTokenPredictor
from model.step import Step

_MOST_SPLITS = 128
"""Beyond which merging the parts costs more than it saves."""


Rope = tuple[Tensor, Tensor]
"""What `model.rotary_emb` makes of a step's positions; whoever has it already passes it on."""


def decode(model: DeepseekForCausalLM, step: Step, cache: LatentCache, rope: Rope | None = None) -> Tensor:
    """Read M new tokens, the same number of each sequence, into `cache`; final hidden states [M, D].

    Uses only the step's device tensors.
    """
    rope = rope or model.model.rotary_emb(step.positions)
    step = replace(step, slots=cache.place(step.slots))
    x = model.model.embed_tokens(step.tokens)
    for layer in model.model.layers:
        x = _layer(cast(DecoderLayer, layer), x, rope, step, cache)
    normed: Tensor = model.model.norm(x)
    return normed


def predict(
    model: DeepseekForCausalLM, step: Step, hidden: Tensor, cache: LatentCache, rope: Rope | None = None
) -> Tensor:
    """The first predictor's hidden states [M, D], as `DeepseekForCausalLM.draft` has them.

    `hidden` [M, D] are the model's at the step's positions, and the step's tokens those that follow these positions.
    """
    predictor = cast(MultiTokenPredictor, model.mtp[0])
    rope = rope or model.model.rotary_emb(step.positions)
    step = replace(step, slots=cache.place(step.slots))
    embedded = model.model.embed_tokens(step.tokens)
    joined = _apply(predictor.eh_proj, torch.cat([predictor.enorm(embedded), predictor.hnorm(hidden)], dim=-1))
    normed: Tensor = predictor.norm(_layer(predictor.block, joined, rope, step, cache))
    return normed


def logits(model: DeepseekForCausalLM, hidden: Tensor) -> Tensor:
    """[M, D] -> [M, vocabulary]."""
    return model.shard.gather(_apply(model.lm_head, hidden), model.config.vocab_size)


def _layer(layer: DecoderLayer, x: Tensor, rope: Rope, step: Step, cache: LatentCache) -> Tensor:
    """Of a part of a model, the first rank's sums hold the residual, too, so that one sum over the ranks is all."""
    shard, norm = layer.shard, layer.post_attention_layernorm
    residual = x if shard.first else None
    x = shard.sum(_attention(layer.self_attn, layer.input_layernorm, x, residual, rope, step, cache))
    residual = x if shard.first else None
    if isinstance(layer.mlp, MoE):
        return shard.sum(_experts(layer.mlp, norm, x, residual))
    return shard.sum(_dense(layer.mlp, norm, x, residual))


def _held(linear: Linear) -> gemv.Weight:
    return linear.weight, linear.weight_scale_inv


def _norm(norm: RMSNorm) -> gemv.Norm:
    return gemv.Norm(norm.weight, norm.eps or 0.0)


def _apply(linear: Linear, x: Tensor, norm: RMSNorm | None = None, residual: Tensor | None = None) -> Tensor:
    """linear(norm(x)) + residual."""
    if len(x) <= gemv.MOST:
        return gemv.linear(x, _held(linear), None if norm is None else _norm(norm), residual=residual)
    if norm is not None:
        x = norm(x)
    weight, scale = _held(linear)
    out = F.linear(x, weight) if scale is None else grouped.linear(x, weight, scale)
    return out if residual is None else out + residual


def _both(first: Linear, second: Linear, x: Tensor, norm: RMSNorm) -> tuple[Tensor, Tensor]:
    """Two maps of norm(x)."""
    if len(x) <= gemv.MOST:
        out = gemv.linear(x, _held(first), _norm(norm), second=_held(second))
        return out[:, : first.out_features], out[:, first.out_features :]
    x = norm(x)
    return _apply(first, x), _apply(second, x)


def _attention(
    attention: Attention,
    norm: RMSNorm,
    x: Tensor,
    residual: Tensor | None,
    rope: Rope,
    step: Step,
    cache: LatentCache,
) -> Tensor:
    """residual + attention(norm(x))."""
    c = attention.config
    first = attention.q_proj if c.q_lora_rank is None else attention.q_a_proj
    q, kv = _both(first, attention.kv_a_proj_with_mqa, x, norm)
    if c.q_lora_rank is not None:
        q = _apply(attention.q_b_proj, q, attention.q_a_layernorm)
    shape = Shape(
        attention.heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.kv_lora_rank, c.v_head_dim, c.rope_interleave
    )
    layer = Latents(cache.storage[attention.layer], cache.fp8, cache.shard)
    kv_b = _held(attention.kv_b_proj)
    queries = prepare(
        q, kv, gemv.Norm(attention.kv_a_layernorm.weight, LATENT_EPS), kv_b, rope, step.slots, layer, shape
    )
    attended = shape
    if cache.shard.size > 1:
        queries = cache.shard.collect(queries).transpose(0, 1).flatten(1, 2).contiguous()  # [M, H of all ranks, C]
        attended = shape._replace(heads=queries.shape[1])
    sequences = len(step.lengths)
    splits = _splits(sequences, len(x) // sequences * attended.heads, processors(x.device))
    partial, lse, turn = mla.attend(queries, layer, step.tables, step.lengths, attention.scale, attended, splits)
    if cache.shard.size > 1:
        message = mla.pack(partial, lse, step.lengths, turn, cache.shard, x.dtype)
        (partial, lse), turn = mla.unpack(cache.shard.exchange(message), shape.rank), 0
    context = mla.combine(partial, lse, step.lengths, kv_b, shape, turn, x.dtype)
    return _apply(attention.o_proj, context, residual=residual)


def _splits(sequences: int, rows: int, programs: int) -> int:
    """Parts of a history that are attended to at the same time, so that `programs` are busy."""
    return max(1, min(programs // (sequences * -(-rows // mla.tiles(rows)[0])), _MOST_SPLITS))


def _dense(mlp: MLP, norm: RMSNorm, x: Tensor, residual: Tensor | None) -> Tensor:
    gate, up = _both(mlp.gate_proj, mlp.up_proj, x, norm)
    return _apply(mlp.down_proj, F.silu(gate) * up, residual=residual)


def _experts(moe: MoE, norm: RMSNorm, x: Tensor, residual: Tensor | None) -> Tensor:
    router, routed, shared = moe.gate, moe.experts, moe.shared_experts
    gate_up: gemv.Weight = (routed.gate_up_proj, routed.gate_up_scale_inv)
    down: gemv.Weight = (routed.down_proj, routed.down_scale_inv)
    if len(x) <= gemv.MOST:
        scores = gemv.linear(x, (router.weight, None), _norm(norm), out_dtype=torch.float32)
        weights, chosen = _choose(moe, scores)
        parts = (
            None
            if shared is None
            else gemv.Shared(_held(shared.gate_proj), _held(shared.up_proj), _held(shared.down_proj))
        )
        return gemv.experts(x, _norm(norm), weights, chosen, gate_up, down, parts, residual, routed.first)
    normed = norm(x)
    weights, chosen = _choose(moe, F.linear(normed.float(), router.weight))
    if shared is not None:
        inner = F.silu(_apply(shared.gate_proj, normed)) * _apply(shared.up_proj, normed)
        residual = _apply(shared.down_proj, inner, residual=residual)
    assigned = routing.assign(chosen, routed.first, len(routed.down_proj))
    return grouped.experts(normed, weights, chosen, assigned, gate_up, down, residual, routed.first)


def _choose(moe: MoE, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and numbers of each token's experts; -1 for one that is skipped."""
    bias = moe.gate.e_score_correction_bias if moe.gate.config.sigmoid_router else None
    weights, chosen = routing.choose(scores, bias, moe.gate.config)
    if moe.experts.least_weight:
        chosen = chosen.masked_fill(moe.experts.too_weak(weights), -1)
    return weights, chosen
