"""Attention to some of the keys, with the log-sum-exp by which several such parts merge into attention to all.

The identity is that of FlashAttention's blocks (Dao et al., 2022, section 3.1). Scores never exist as a whole: the
device's fused kernel keeps them on chip, and the plain form takes a few queries at a time.

H heads, S queries, T keys, K key width, V value width; any further dimensions in front.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_PLAIN_SCORES = 1 << 26
"""Scores that the plain form holds at once (256 MiB)."""


class Part(NamedTuple):
    out: Tensor
    """[..., H, S, V]: the mean of the part's values, weighted by their own softmax"""
    lse: Tensor
    """float32 [..., H, S]: log of the sum of the exponentials of the part's scores"""


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool = False) -> Part:
    """Queries [B, H, S, K] over keys [B, H, T, K] and values [B, H, T, V].

    `causal` needs S = T: query n sees the keys up to n.
    """
    if query.device.type == "cpu":
        return _on_cpu(query, key, value, scale, causal)
    if query.dtype == torch.bfloat16 and _cudnn_runs(query.device, query.shape[-1], value.shape[-1]):
        found = torch.ops.aten._scaled_dot_product_cudnn_attention(
            query, key, value, None, True, 0.0, causal, False, scale=scale
        )
        return Part(found[0], found[1].reshape(found[0].shape[:-1]))
    return _plain(query, key, value, scale, causal)


def merge(parts: Sequence[Part]) -> Tensor:
    """Attention to all keys [..., H, S, V] from attention to each part of them."""
    return join(parts).out


def join(parts: Sequence[Part]) -> Part:
    """Several parts as one."""
    if len(parts) == 1:
        return parts[0]
    logs = torch.stack([part.lse for part in parts])
    shares = logs.softmax(0)[..., None]  # [parts, ..., H, S, 1]
    merged = parts[0].out * shares[0]
    for part, share in zip(parts[1:], shares[1:], strict=True):
        merged += part.out * share
    return Part(merged.to(parts[0].out.dtype), logs.logsumexp(0))


def _on_cpu(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> Part:
    # The kernel wants equal widths: zeros change no score, and what they add to values is cut off again.
    wanted, width = value.shape[-1], max(query.shape[-1], value.shape[-1])
    query, key, value = (F.pad(x, (0, width - x.shape[-1])) if x.shape[-1] < width else x for x in (query, key, value))
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scale)
    return Part(out[..., :wanted], lse)


def _cudnn_runs(device: torch.device, key_width: int, value_width: int) -> bool:
    """Whether cuDNN's fused attention takes these widths; unequal ones (192 and 128) since Hopper."""
    major, _ = torch.cuda.get_device_capability(device)
    enabled: bool = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    aligned = key_width % 8 == 0 and value_width % 8 == 0
    return enabled and major >= 9 and aligned and max(key_width, value_width) <= 192


def _plain(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> Part:
    """What the kernels compute, written out; the softmax is in float32."""
    keys = key.shape[-2]
    block = max(_PLAIN_SCORES // (keys * query.shape[:-2].numel()), 1)
    parts = []
    for first, some in zip(range(0, query.shape[-2], block), torch.split(query, block, dim=-2), strict=True):
        scores = torch.matmul(some * scale, key.transpose(-1, -2)).float()
        if causal:
            unseen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(first + 1)
            scores.masked_fill_(unseen, float("-inf"))
        out = torch.matmul(scores.softmax(-1).to(value.dtype), value)
        parts.append(Part(out, scores.logsumexp(-1)))
    return Part(torch.cat([part.out for part in parts], dim=-2), torch.cat([part.lse for part in parts], dim=-1))
