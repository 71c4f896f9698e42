"""Triton kernels of the torch engine on a GPU. Each has a plain twin in torch that the tests hold it to.

This module loads without Triton; the others need it.
"""

from functools import cache
from importlib.util import find_spec

import torch

from model.config import Config

MOST = 256
"""New tokens of a step up to which `model.fast_decode` is used; the plain path expands the history for more."""


@cache
def available() -> bool:
    """Whether Triton is installed: builds of torch for NVIDIA GPUs on Linux bring it."""
    return find_spec("triton") is not None


@cache
def reads_fp8(device: torch.device) -> bool:
    """Whether kernels read e4m3 on this device: from compute capability 8.9 on."""
    return device.type == "cuda" and available() and torch.cuda.get_device_capability(device) >= (8, 9)


def supports(config: Config, device: torch.device, dtype: torch.dtype, fp8_cache: bool) -> bool:
    """Whether `model.fast_decode` knows this model: bfloat16 on an NVIDIA GPU, widths that its tiles divide."""
    widths = (config.kv_lora_rank, config.qk_rope_head_dim)
    return (
        device.type == "cuda"
        and available()
        and torch.cuda.get_device_capability(device) >= (8, 0)
        and dtype == torch.bfloat16
        and not config.attention_bias
        and config.num_moe_layers > 0
        and config.fp8_block in (None, (128, 128))
        and (config.fp8_block is None or reads_fp8(device))
        and (not fp8_cache or reads_fp8(device))
        and all(width & (width - 1) == 0 and width >= 16 for width in widths)
        and config.kv_lora_rank <= 512
    )
