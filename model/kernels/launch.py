"""Programmatic dependent launch (CUDA programming guide): a kernel starts while the one before it ends.

Each kernel first loads what depends on no other (weights), then waits for the one before, then lets the next one start.
What it loads before it waits may come from the kernel before the last, but from none later.
"""

from functools import cache

import torch
import triton
import triton.language as tl


@triton.jit
def wait(PDL: tl.constexpr):
    """From here on, everything that earlier kernels wrote is there; and the next kernel may start."""
    if PDL:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


@cache
def overlap() -> dict[str, bool]:
    """Launch arguments of a kernel that calls `wait`: it overlaps on compute capability 9.0 and later."""
    overlaps = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0)
    return {"PDL": True, "launch_pdl": True} if overlaps else {"PDL": False}


@cache
def shared_memory() -> int:
    """Bytes of shared memory that a program can have: 227 KiB on Hopper, 99 on consumer GPUs."""
    if not torch.cuda.is_available():
        return 227 << 10
    return int(getattr(torch.cuda.get_device_properties(), "shared_memory_per_block_optin", 99 << 10))


@cache
def processors(device: torch.device) -> int:
    """Multiprocessors, each of which runs a program at a time: 132 on an H100 or H200."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4
