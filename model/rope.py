"""Rotary position embedding with YaRN (Su et al., 2021; Peng et al., 2023). Knows nothing about attention."""

import math

import torch
from torch import Tensor, nn

from model.config import Config, Yarn


def inverse_frequencies(dim: int, theta: float, yarn: Yarn | None) -> Tensor:
    """Radians per position of each rotary pair, float32 [dim / 2].

    With YaRN, pairs that turn fewer than `beta_slow` times within the original context are slowed down by `factor`,
    those that turn more than `beta_fast` times are kept, and those between are blended linearly (YaRN paper, section
    3.2).
    """
    kept = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)
    if yarn is None:
        return kept

    def pair_that_turns(times: float) -> float:
        return dim * math.log(yarn.original_context / (times * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair_that_turns(yarn.beta_fast)), 0)
    high = min(math.ceil(pair_that_turns(yarn.beta_slow)), dim - 1)
    ramp = (torch.arange(dim // 2, dtype=torch.float32, device="cpu") - low) / max(high - low, 0.001)
    slowed = ramp.clamp(0, 1)
    return kept / yarn.factor * slowed + kept * (1 - slowed)


class RotaryEmbedding(nn.Module):
    """cos and sin of each position: [..., S] -> two float32 [..., S, dim / 2]."""

    inv_freq: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._dim, self._theta, self._yarn = config.qk_rope_head_dim, config.rope_theta, config.yarn
        self._scale = config.yarn.rotation_scale if config.yarn else 1.0
        self.register_buffer("inv_freq", torch.empty(self._dim // 2), persistent=False)
        self.reset()

    def reset(self, device: torch.device | None = None) -> None:
        """Compute the frequencies (again): they are no part of a checkpoint."""
        values = inverse_frequencies(self._dim, self._theta, self._yarn)
        self.inv_freq = values.to(device if device is not None else self.inv_freq.device)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        angles = positions[..., None].float() * self.inv_freq
        return angles.cos() * self._scale, angles.sin() * self._scale


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn each pair of `x` [..., dim] by its angle; `cos`, `sin` [..., dim / 2] broadcast against it.

    A pair is two neighbours where `interleaved`, else one element of each half. The result holds all first elements,
    then all second ones: a fixed permutation of the published order that dot products do not see.
    """
    if interleaved:
        first, second = x[..., 0::2], x[..., 1::2]
    else:
        first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
