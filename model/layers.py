"""The plain layers: linear, normalisation and the gated MLP. Weights are used in the dtype of the activations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import fp8
from model.config import FP8_BLOCK


class Linear(nn.Linear):
    """A linear map whose weights may be kept in another dtype than the activations.

    Wider, as float32 masters are in training; or FP8 as published, where `weight_scale_inv` (float32, one factor per
    block of `weight`) is not None.
    """

    weight_scale_inv: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.register_buffer("weight_scale_inv", None)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.weight_scale_inv is not None:
            return fp8.linear(x, self.weight, self.weight_scale_inv, FP8_BLOCK, bias)
        return F.linear(x, self.weight.to(x.dtype), bias)

    def expanded(self, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`; a copy where it is kept otherwise."""
        if self.weight_scale_inv is not None:
            return fp8.dequantize(self.weight, self.weight_scale_inv, FP8_BLOCK, dtype)
        return self.weight.to(dtype)


class RMSNorm(nn.RMSNorm):
    """Root mean square normalisation (Zhang and Sennrich, 2019), accumulated in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden, intermediate, bias=False)
        self.up_proj = Linear(hidden, intermediate, bias=False)
        self.down_proj = Linear(intermediate, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out
