"""What a context takes beside the weights: cache and intermediate results, as llama.cpp allocates them.

The formulas of intermediate results were read off llama.cpp's own dry allocations (see docs/LOG.md); a machine's
recorded error corrects them. U tokens are read at once, in a window of n. Pure functions of numbers.
"""

from typing import Literal

from model.plan.shape import Dims

CACHE_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of a cached number."""
_INDICES = 20
"""Bytes of a token's number, position, place in the cache and row of the output."""
PADDED = 256
"""llama.cpp rounds windows up to a multiple of this."""


def padded(context: int) -> int:
    return -(-context // PADDED) * PADDED


def cache_layer_bytes(dims: Dims, context: int, cache_type: str) -> int:
    """Bytes of one layer's cache of a window of `context` tokens."""
    return round(padded(context) * dims.cached * CACHE_BYTES[cache_type])


Last = Literal["host", "gpu", "brought"]
"""Where the last layer's experts are computed and lie: on the host, on the GPU, or brought there from the host."""


def compute_bytes(
    dims: Dims, context: int, batch: int, *, flash: bool, last: Last | None = "host", brought: int = 0
) -> int:
    """Bytes of a device's intermediate results: the widest of three stages, in float32.

    Without flash attention every head's scores of the whole window are written down. `last`: of the device that holds
    the output head; None of another. `brought`: bytes of the largest tensor of experts that a GPU is lent for a
    prompt, one after the other in the same place.
    """
    window = padded(context)
    tokens = min(batch, window)
    mask = window * (2 if flash else 4)  # bytes a token, float16 or float32; it lives through all layers
    scores = 0 if flash else 4 * dims.heads * window
    attention = _attention_width(dims)
    stages = [
        tokens * (4 * attention + mask + scores),
        tokens * (4 * _feed_forward_width(dims) + mask) + brought,
        tokens * 4 * (dims.vocabulary + _before_head(dims, last)) if last is not None else 0,
    ]
    return max(stages)


def host_input_bytes(dims: Dims, context: int, batch: int, *, flash: bool) -> int:
    """Bytes of pinned host memory through which inputs reach a GPU: embedded tokens, as they are looked up and as
    they might be given, and the mask."""
    window = padded(context)
    return min(batch, window) * (2 * 4 * dims.hidden + (2 if flash else 4) * window + _INDICES)


def output_bytes(dims: Dims) -> int:
    """The logits of one token, as they are handed out."""
    return 4 * dims.vocabulary


def _before_head(dims: Dims, last: Last) -> int:
    """Numbers of a token beside its logits.

    After latent attention and experts, the experts' outputs lie below the logits or do not, as the allocator's gaps
    happen to be (on a CPU, V2-Lite: yes from 4,096 tokens on; the first embedded model: no): half of them is counted.
    On a GPU they lie there twice, weighted and not (V2-Lite: 14 and 15 hidden states), unless the place of what was
    brought takes them up (2).
    """
    if not (dims.latent_rank and dims.experts) or last == "brought":
        return 3 * dims.hidden
    gaps = 2 * dims.used * dims.hidden if last == "gpu" else (dims.used + 1) * dims.hidden // 2
    return 3 * dims.hidden + gaps


def _attention_width(dims: Dims) -> int:
    """Numbers that a token's attention holds at its widest."""
    if not dims.latent_rank:
        return dims.heads * (dims.key + dims.value) + dims.cached + 4 * dims.hidden
    # Query, its unrotated part in order, absorbed into the latents, and joined with the rotary part again.
    unrotated = dims.key - dims.rotary
    query = dims.key + unrotated + dims.latent_rank + dims.cached
    return dims.heads * query + 4 * dims.hidden


def _feed_forward_width(dims: Dims) -> int:
    """Numbers that a token's feed-forward holds at its widest: inner widths, or every chosen expert's output twice."""
    routed = dims.used * max(2 * dims.hidden, 2 * dims.expert_inner + dims.hidden) if dims.experts else 0
    return max(2 * dims.inner, routed) + 4 * dims.hidden
