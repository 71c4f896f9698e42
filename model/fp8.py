"""Block-scaled FP8 weights as DeepSeek publishes them: e4m3 values and one factor per block, multiplied on reading.

N rows, K columns of a weight.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from model import kernels

E4M3_MAX = 448.0


def block_grid(shape: tuple[int, int], block: tuple[int, int]) -> tuple[int, int]:
    """Shape of `weight_scale_inv`: a partial block at an edge counts as one."""
    return -(-shape[0] // block[0]), -(-shape[1] // block[1])


def linear(x: Tensor, weight: Tensor, scales: Tensor, block: tuple[int, int], bias: Tensor | None = None) -> Tensor:
    """x [..., K] times a weight kept in FP8 [N, K] -> [..., N]."""
    if x.dtype == torch.bfloat16 and block == (128, 128) and kernels.reads_fp8(x.device):
        from model.kernels import grouped  # Triton takes 0.3 s, and is not everywhere

        out: Tensor = grouped.linear(x.flatten(0, -2), weight, scales).view(*x.shape[:-1], -1)
        return out if bias is None else out + bias
    return F.linear(x, dequantize(weight, scales, block, x.dtype), bias)


def dequantize(values: Tensor, scales: Tensor, block: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """values e4m3 [..., N, K] times scales [..., ceil(N / block), ceil(K / block)], rounded once to `dtype`."""
    shape = (values.shape[-2], values.shape[-1])
    return (values.float() * _spread(scales.float(), shape, block)).to(dtype)


def _spread(scales: Tensor, shape: tuple[int, int], block: tuple[int, int]) -> Tensor:
    spread = scales.repeat_interleave(block[0], -2)[..., : shape[0], :]
    return spread.repeat_interleave(block[1], -1)[..., : shape[1]]


def quantize(weight: Tensor, block: tuple[int, int], power_of_two: bool = False) -> tuple[Tensor, Tensor]:
    """e4m3 values [N, K] and float32 scales, such that each block's largest magnitude fills the format's range.

    With `power_of_two` (`scale_fmt: ue8m0`) scales are rounded up to a power of two.
    """
    rows, columns = weight.shape
    grid = block_grid((rows, columns), block)
    padded = F.pad(weight.float(), (0, grid[1] * block[1] - columns, 0, grid[0] * block[0] - rows))
    largest = padded.view(grid[0], block[0], grid[1], block[1]).abs().amax((1, 3))
    scales = torch.where(largest > 0, largest / E4M3_MAX, 1.0)
    if power_of_two:
        scales = torch.exp2(torch.ceil(torch.log2(scales)))
    values = weight.float() / _spread(scales, (rows, columns), block)
    return values.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn), scales
