"""How fast a device could run a model at best: what a step must read and compute, from the dimensions alone.

A step is bound by reading (each weight that it uses once, each cached token once) or by arithmetic, whichever takes
longer. Pure functions of numbers; knows nothing about tensors or how a step is really carried out.

L layers, D model width, H heads, N no-position, P rotary and V value width, R latent rank, K of E experts chosen.
"""

from dataclasses import dataclass

from model.cache import fp8_row
from model.config import FP8_BLOCK, Config
from model.fp8 import block_grid

_SCALE = 4
"""Bytes of a float32 scale; routers are float32, too."""


@dataclass(frozen=True, slots=True)
class Device:
    """What a device can do."""

    name: str
    bandwidth: float
    """bytes/s read from its memory"""
    matrix: float
    """operations/s (a multiplication and an addition are two) of a large matrix product"""
    measured: bool = False
    """Whether both were measured just now, instead of known beforehand."""


@dataclass(frozen=True, slots=True)
class Held:
    """How a model lies in memory."""

    number: int = 2
    """bytes of a number that is not quantised"""
    fp8: bool = False
    """Projections and experts are e4m3 with a scale per block."""
    fp8_cache: bool = False


def cache_token_bytes(config: Config, held: Held) -> int:
    """Bytes that one token takes in the latent caches of the main layers, which are those that a step reads."""
    return config.num_hidden_layers * (fp8_row(config) if held.fp8_cache else held.number * config.latent_dim)


def expected_experts(config: Config, tokens: int) -> float:
    """Distinct experts of a layer that `tokens` tokens hit, if each chose its K of E evenly and on its own."""
    if not config.num_moe_layers:
        return 0.0
    missed = (1 - config.num_experts_per_tok / config.n_routed_experts) ** tokens
    return config.n_routed_experts * (1 - missed)


def weight_bytes(config: Config, held: Held, experts: float) -> float:
    """Bytes of the weights that one step reads, if it hits `experts` distinct routed experts in each routed layer.

    Of the embedding a row per token is read, which does not count; nor do norms and biases.
    """
    c = config

    def projection(rows: int, columns: int) -> float:
        if not held.fp8:
            return held.number * rows * columns
        grid = block_grid((rows, columns), FP8_BLOCK)
        return rows * columns + _SCALE * grid[0] * grid[1]

    def mlp(inner: int) -> float:
        return 2 * projection(inner, c.hidden_size) + projection(c.hidden_size, inner)

    attention = sum(projection(rows, columns) for rows, columns in _attention_shapes(c))
    shared = mlp(c.n_shared_experts * c.moe_intermediate_size) if c.n_shared_experts else 0.0
    router = 4 * c.n_routed_experts * c.hidden_size
    routed = experts * mlp(c.moe_intermediate_size) + shared + router
    dense = c.num_hidden_layers - c.num_moe_layers
    layers = c.num_hidden_layers * attention + dense * mlp(c.intermediate_size) + c.num_moe_layers * routed
    return layers + held.number * c.vocab_size * c.hidden_size


def token_operations(config: Config) -> float:
    """Operations of one token outside attention to other tokens, and without the output head."""
    c = config
    attention = sum(rows * columns for rows, columns in _attention_shapes(c))
    expert = 3 * c.hidden_size * c.moe_intermediate_size
    routed = (c.num_experts_per_tok + c.n_shared_experts) * expert + c.n_routed_experts * c.hidden_size
    dense = (c.num_hidden_layers - c.num_moe_layers) * 3 * c.hidden_size * c.intermediate_size
    return 2.0 * (c.num_hidden_layers * attention + dense + c.num_moe_layers * routed)


def decode_seconds(
    config: Config, held: Held, device: Device, context: float, batch: int = 1, experts: float | None = None
) -> float:
    """The least time of a step that adds one token to each of `batch` sequences with `context` tokens before it.

    `experts` are the distinct ones hit in a layer; None takes `expected_experts`. Attention is absorbed: every head
    reads the latents themselves, C + R multiplications per head and cached token.
    """
    c = config
    hit = expected_experts(c, batch) if experts is None else experts
    reads = weight_bytes(c, held, hit) + batch * context * cache_token_bytes(c, held)
    seen = c.num_hidden_layers * c.num_attention_heads * (c.latent_dim + c.kv_lora_rank) * context
    operations = batch * (token_operations(c) + 2.0 * (c.vocab_size * c.hidden_size + seen))
    return max(reads / device.bandwidth, operations / device.matrix)


def prefill_seconds(config: Config, held: Held, device: Device, tokens: int, batch: int = 1) -> float:
    """The least time to read `batch` prompts of `tokens` tokens, with logits for the last of each.

    Attention is expanded and causal: a token sees half the prompt on average, N + P + V multiplications per head.
    """
    c = config
    seen = c.num_hidden_layers * c.num_attention_heads * (c.qk_head_dim + c.v_head_dim) * tokens / 2
    operations = batch * (tokens * (token_operations(c) + 2.0 * seen) + 2.0 * c.vocab_size * c.hidden_size)
    reads = weight_bytes(c, held, expected_experts(c, batch * tokens))
    return max(reads / device.bandwidth, operations / device.matrix)


def _attention_shapes(config: Config) -> list[tuple[int, int]]:
    """(rows, columns) of the projections of one attention layer."""
    c = config
    heads = c.num_attention_heads
    query = (
        [(heads * c.qk_head_dim, c.hidden_size)]
        if c.q_lora_rank is None
        else [(c.q_lora_rank, c.hidden_size), (heads * c.qk_head_dim, c.q_lora_rank)]
    )
    return [
        *query,
        (c.latent_dim, c.hidden_size),
        (heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank),
        (c.hidden_size, heads * c.v_head_dim),
    ]
