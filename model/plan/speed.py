"""How fast a placed model will be: what must be read, computed and sent for a token, over what devices reach.

Decoding is bound by reading the active weights and the cache once; prompts by arithmetic, or by bringing weights to a
GPU. The shares of a device's rates that are reached were measured (docs/LOG.md). Pure functions of numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.plan.machine import Machine
from model.plan.memory import CACHE_BYTES
from model.plan.place import Placed
from model.plan.shape import Shape, Weights

_GPU_READS, _HOST_READS = 0.65, 0.65
_HOST_LAYER = 1e-4
"""Seconds of a layer and token beside reading: threads that wait for each other."""
_MATRICES = 3
"""Of an expert: gate, up and down."""
_CORE_READS = 9e9
"""bytes/s of weights that a core multiplies at best, by whatever instructions."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What an engine reaches, and what it spends beside reading and computing."""

    core: Mapping[str, float]
    """operations/s of a core in the products of prompts, by instruction set, the best first"""
    computes: float
    """share of a GPU's rate that the products of prompts reach"""
    layer: float
    """seconds of a GPU's layer and token of an answer: launches"""
    step: float
    """seconds of a GPU's layer in a step of a prompt"""
    bus: float
    """bytes/s from host memory to a GPU"""
    token: float = 0.0
    """seconds of an answer's token beside its layers"""
    drawn: float = 0.0
    """seconds of an answer's token for each of the vocabulary, from which the host draws"""
    product: float = 0.0
    """seconds of each product of an expert in a step of a prompt, where they are not quantised"""


LLAMA = Rates(
    core={"avx512f": 2.5e10, "avx2": 1.5e10, "asimd": 1.5e10},  # AMX is not used (see llama_library.py)
    computes=0.1,  # eight-bit products of about 100 rows an expert, with attention: 74e12 a second on an H100
    layer=1e-4,  # about 45 kernels, recorded as a graph
    step=1.5e-3,
    bus=8e9,  # mapped files are pageable, so that the driver copies them on the way: 7.6 and 8.8e9 by PCIe 5.0
    drawn=7e-9,
    product=5e-5,  # the host sorts rows by expert, waits, and launches one product after the other
)
TORCH = Rates(
    core={"amx_tile": 1.2e11, "avx512_bf16": 6e10, "avx512f": 4e10, "avx2": 2e10, "asimd": 2e10},
    computes=0.35,
    layer=3e-5,
    step=1.5e-3,
    bus=2e10,  # pinned memory
    token=5e-4,
)
_NARROW = ("amx_tile", "avx512_bf16")
TORCH_FLOAT32 = replace(TORCH, core={name: rate for name, rate in TORCH.core.items() if name not in _NARROW})


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
    rates: Rates = LLAMA,
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
        reading += read / (device.bandwidth * _GPU_READS) + len(layers) * rates.layer
        seconds += len(layers) * per_token / (device.matrix * rates.computes)
        wide = sum(_unquantised(shape.layers[one].experts) for one in layers)
        seconds += (len(layers) * rates.step + wide * _MATRICES * shape.dims.experts * rates.product) / at_once

    if placed.placement.gpu_layers:
        reading += rates.token + shape.dims.vocabulary * rates.drawn
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
        seconds += kept / rates.bus / at_once
        seconds += len(host_layers) * per_token / (machine.gpus[0].matrix * rates.computes)
    else:
        seconds += len(host_layers) * per_token / (machine.cores * machine.core_rate(rates.core))
    if unheld:
        seconds += unheld / (machine.disk_bandwidth or 1e9) / at_once
    return Speed(1 / max(seconds, 1e-9), 1 / max(reading, 1e-9), depth)


def _unquantised(experts: Weights) -> bool:
    return experts.bytes >= 2 * experts.numbers > 0
