"""What a device can do: known for the GPUs that were measured at length, measured briefly elsewhere."""

import time
from collections.abc import Callable

import torch

from model.ceiling import Device

_KNOWN = {"NVIDIA H200": (4.3e12, 788e12), "NVIDIA H100 80GB HBM3": (3.0e12, 790e12)}
"""bytes/s and bfloat16 operations/s that long copies and large products reach, by the driver's name: other forms of the
same GPU (PCIe, NVL) have other memory."""

_SECONDS = 0.3
"""How long each of the two is tried."""


def device_rates(device: torch.device, dtype: torch.dtype) -> Device:
    """Bandwidth and matrix rate of `device`, where products are of `dtype`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    if name in _KNOWN and dtype == torch.bfloat16:
        return Device(name, *_KNOWN[name])
    return measure_device(device, dtype, name)


def measure_device(device: torch.device, dtype: torch.dtype, name: str) -> Device:
    """A copy of memory that no cache holds, and a matrix product; the best of what fits a fraction of a second each."""
    large = device.type == "cuda"
    source = torch.ones((1 << 30 if large else 1 << 28) // 4, device=device)
    target = torch.empty_like(source)
    width = 8192 if large else 1024
    left = torch.ones(width, width, dtype=dtype, device=device)
    right = torch.ones(width, width, dtype=dtype, device=device)
    copied = _best(lambda: target.copy_(source), device)
    multiplied = _best(lambda: torch.matmul(left, right), device)
    return Device(name, 2 * source.nbytes / copied, 2.0 * width**3 / multiplied, measured=True)


def _best(work: Callable[[], object], device: torch.device) -> float:
    """The shortest time of `work` in seconds, after one warm-up."""
    best, until = float("inf"), 0.0
    while not until or time.perf_counter() < until:
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        if until:
            best = min(best, time.perf_counter() - started)
        else:
            until = time.perf_counter() + _SECONDS
    return best


def synchronise(device: torch.device) -> None:
    """Wait until `device` has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
