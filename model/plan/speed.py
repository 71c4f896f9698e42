"""How fast a placed model will be: what must be read, computed and sent for a token, over what devices reach.

Decoding is bound by reading the active weights and the cache once; prompts by arithmetic, or by bringing experts to a
GPU. The shares of a device's rates that are reached were measured (docs/LOG.md). Pure functions of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from model.plan.machine import Machine
from model.plan.memory import CACHE_BYTES
from model.plan.place import Placed
from model.plan.shape import Shape

_GPU_READS, _GPU_COMPUTES = 0.65, 0.35
_HOST_READS = 0.65
_GPU_LAYER, _HOST_LAYER = 3e-5, 1e-4
"""Seconds of a layer and token beside reading: launches, threads that wait for each other."""
_GPU_TOKEN, _GPU_STEP = 5e-4, 1.5e-3
"""Seconds of a token beside its layers (the host samples it), and of a layer in a step of a prompt."""
_BUS = 2.0e10
"""bytes/s from host memory to a GPU."""
_CORE_READS = 9e9
"""bytes/s of weights that a core multiplies at best, by whatever instructions."""
LLAMA_CORE = {"avx512f": 2.5e10, "avx2": 1.5e10, "asimd": 1.5e10}
"""operations/s that a core reaches in llama.cpp's products of prompts, by instruction set; AMX is not used (see
llama_library.py)."""
TORCH_CORE = {"amx_tile": 1.2e11, "avx512_bf16": 6e10, "avx512f": 4e10, "avx2": 2e10, "asimd": 2e10}
"""The same in torch; float32 does not have the first two."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast prompts are read and answers written."""

    prefill: float
    """tokens/s of a prompt"""
    decode: float
    """tokens/s of an answer"""
    depth: int
    """tokens that are in the cache then"""


def predict(
    shape: Shape,
    placed: Placed,
    machine: Machine,
    cache_type: str,
    batch: int,
    depth: int,
    unheld: int = 0,
    core_rates: Mapping[str, float] = LLAMA_CORE,
) -> Speed:
    """`unheld`: bytes of host weights that memory does not hold, so that they come from the disk each time."""
    spilled = set(placed.placement.host_experts)
    first = len(shape.layers) + 1 - placed.placement.gpu_layers
    share = shape.dims.used / shape.dims.experts if shape.dims.experts else 0.0
    cached = depth * shape.dims.cached * CACHE_BYTES[cache_type]
    per_token = 2.0 * shape.active.numbers / max(len(shape.layers), 1)
    at_once = min(batch, max(depth, 1))  # tokens of a prompt's step: it may be shorter than one

    reading, seconds, at = 0.0, 0.0, first  # of a token of an answer, of one of a prompt
    for number, own in enumerate(placed.placement.layers_of_gpus):
        device = machine.gpus[number]
        layers = [one for one in range(at, at + own) if one < len(shape.layers)]
        at += own
        read = sum(shape.layers[one].core.bytes + cached for one in layers)
        read += sum(shape.layers[one].experts.bytes * share for one in layers if one not in spilled)
        read += shape.head if own and at > len(shape.layers) else 0
        reading += read / (device.bandwidth * _GPU_READS) + len(layers) * _GPU_LAYER
        seconds += len(layers) * per_token / (device.matrix * _GPU_COMPUTES)
        seconds += len(layers) * _GPU_STEP / at_once

    reading += _GPU_TOKEN if placed.placement.layers_of_gpus else 0.0
    host_layers = [one for one in range(len(shape.layers)) if one < first or not placed.placement.gpu_layers]
    host_read = sum(shape.layers[one].core.bytes + cached for one in host_layers)
    expert_read = sum(shape.layers[one].experts.bytes * share for one in {*host_layers, *spilled})
    if not placed.placement.gpu_layers:
        host_read += shape.head
    reached = min(machine.host_bandwidth * _HOST_READS, machine.cores * _CORE_READS)
    reading += (host_read + expert_read) / reached + (len(host_layers) + len(spilled)) * _HOST_LAYER
    if unheld:
        missed = min(unheld / max(placed.host.weights, 1), 1.0) * expert_read
        reading += missed / (machine.disk_bandwidth or 1e9)

    # Prompts: beside a GPU, what is kept on the host is brought over for every step; without one it is computed there.
    if placed.placement.gpu_layers:
        kept = sum(shape.layers[one].core.bytes for one in host_layers)
        kept += sum(shape.layers[one].experts.bytes for one in {*host_layers, *spilled})
        seconds += kept / _BUS / at_once
        seconds += len(host_layers) * per_token / (machine.gpus[0].matrix * _GPU_COMPUTES)
    else:
        seconds += len(host_layers) * per_token / (machine.cores * machine.core_rate(core_rates))
    if unheld:
        seconds += unheld / (machine.disk_bandwidth or 1e9) / at_once
    return Speed(1 / max(seconds, 1e-9), 1 / max(reading, 1e-9), depth)
