"""Where the parts of a GGUF model go: attention and shared experts on the GPUs first, routed experts by layer after.

llama.cpp gives GPUs contiguous runs of layers, keeps a layer's cache beside it, and the embedding in host memory; an
override keeps a layer's routed experts there. Pure functions; knows nothing about speed or words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from model.plan.memory import Last, cache_layer_bytes, compute_bytes, host_input_bytes, output_bytes
from model.plan.shape import Shape

_GIB = 1 << 30
GPU_RUNTIME = _GIB // 2
"""What the driver's context and libraries take of a GPU."""
GPU_KERNELS = 13 * _GIB // 64
"""What llama.cpp's kernels, loaded when they are first launched, and their buffers take beside: 192 to 216 MiB on an
H100."""
GPU_MARGIN = _GIB // 4
"""Left free on each GPU: allocators round up, and a screen may be on it."""

EMBEDDER = 3 * _GIB // 8
"""What the embedder takes of the first GPU: weights, a batch's results, libraries. Without a GPU it is in the host."""


@dataclass(frozen=True, slots=True)
class Window:
    """What the cache and the intermediate results depend on."""

    context: int
    cache_type: str
    batch: int
    flash: bool = True
    compute_scale: float = 1.0
    """Recorded error of the intermediate results: real over computed."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What llama.cpp is told."""

    gpu_layers: int = 0
    """The last so many of all layers and the output are on GPUs."""
    layers_of_gpus: tuple[int, ...] = ()
    """How many of those each GPU has, in order; the output counts as the last layer."""
    host_experts: tuple[int, ...] = ()
    """Layers on a GPU whose routed experts stay in host memory."""


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes that a device is to hold."""

    weights: int = 0
    cache: int = 0
    compute: int = 0
    runtime: int = 0
    """driver and margin of a GPU, the assistant's own process on the host"""

    @property
    def total(self) -> int:
        return self.weights + self.cache + self.compute + self.runtime


@dataclass(frozen=True, slots=True)
class Placed:
    """A placement, and what each device holds by it."""

    placement: Placement
    gpus: tuple[Use, ...]
    host: Use


def place(shape: Shape, gpus: Sequence[int], window: Window) -> Placed:
    """Put as much as fits on GPUs of so many free bytes each; the host takes the rest, whatever it has.

    Whole layers where all fit; else every layer without its experts, and then experts of as many layers as there is
    room for; else fewer layers.
    """
    if not gpus:
        return _placed(shape, window, Placement(), ())
    whole = _pack(shape, gpus, window)
    if whole is not None:
        return _placed(shape, window, whole, gpus)
    for count in range(len(shape.layers) + 1, 0, -1):
        some = _spread(shape, gpus, window, count)
        if some is not None:
            return _placed(shape, window, some, gpus)
    return _placed(shape, window, Placement(layers_of_gpus=(0,) * len(gpus)), gpus)


def place_as_told(
    shape: Shape, gpus: Sequence[int], window: Window, gpu_layers: int, host_experts: int | Literal["auto"]
) -> Placed:
    """As the settings say, whether it fits or not: the last `gpu_layers` (-1: all) in proportion to the GPUs' room,
    with the experts of the first `host_experts` of them in host memory."""
    count = len(shape.layers) + 1
    count = count if gpu_layers < 0 else min(gpu_layers, count)
    first = len(shape.layers) + 1 - count
    routed = [one for one in range(first, len(shape.layers)) if shape.layers[one].experts.bytes]
    spilled = routed[: 0 if host_experts == "auto" else host_experts]
    copies = _copies(shape, Placement(count, host_experts=tuple(spilled)))
    rooms = [max(free - _fixed(shape, window, copies), 1) for free in gpus]
    return _placed(shape, window, Placement(count, tuple(_shares(rooms, count)), tuple(spilled)), gpus)


def _pack(shape: Shape, gpus: Sequence[int], window: Window) -> Placement | None:
    """All layers with their experts, one GPU after the other, or None: the fewest GPUs are used."""
    sizes = [_layer_bytes(shape, window, number) for number in range(len(shape.layers))]
    sizes.append(shape.head)
    counts, at = [], 0
    for free in gpus:
        room, start = free - _fixed(shape, window, copies=0), at
        while at < len(sizes) and sizes[at] <= room:
            room -= sizes[at]
            at += 1
        counts.append(at - start)
    return Placement(len(sizes), tuple(counts)) if at == len(sizes) else None


def _spread(shape: Shape, gpus: Sequence[int], window: Window, count: int) -> Placement | None:
    """The last `count` layers without experts, in proportion to the GPUs' room, then experts while there is room."""
    copies = shape.largest_experts  # read into a GPU's buffer for long prompts
    rooms = [max(free - _fixed(shape, window, copies), 0) for free in gpus]
    if not sum(rooms):
        return None
    counts = _shares(rooms, count)
    at, kept = len(shape.layers) + 1 - count, []
    for number, (room, own) in enumerate(zip(rooms, counts, strict=True)):
        last = number == max(index for index, some in enumerate(counts) if some)
        layers = range(at, min(at + own, len(shape.layers)))
        at += own
        room -= sum(_layer_bytes(shape, window, one, experts=False) for one in layers)
        room -= shape.head if last and own else 0
        if room < 0:
            return None
        for one in layers:
            size = shape.layers[one].experts.bytes
            if size and size > room:
                kept.append(one)
            else:
                room -= size
    return Placement(count, tuple(counts), tuple(kept))


def _shares(rooms: Sequence[int], count: int) -> list[int]:
    """`count` as whole numbers in proportion to `rooms`."""
    total, given, counts = sum(rooms), 0, []
    for number in range(len(rooms)):
        upto = round(count * sum(rooms[: number + 1]) / total)
        counts.append(upto - given)
        given = upto
    return counts


def _placed(shape: Shape, window: Window, placement: Placement, gpus: Sequence[int]) -> Placed:
    """What each device holds by a placement."""
    first = len(shape.layers) + 1 - placement.gpu_layers
    spilled = set(placement.host_experts)
    copies = _copies(shape, placement)
    last: Last = "brought" if len(shape.layers) - 1 in spilled else "gpu"
    uses, at = [], first
    for own in placement.layers_of_gpus:
        if not own:
            uses.append(Use())
            continue
        layers = [one for one in range(at, at + own) if one < len(shape.layers)]
        head = at + own > len(shape.layers)
        weights = sum(shape.layers[one].core.bytes for one in layers) + (shape.head if head else 0)
        weights += sum(shape.layers[one].experts.bytes for one in layers if one not in spilled)
        uses.append(
            Use(
                weights=weights,
                cache=len(layers) * _cache(shape, window),
                compute=_compute(shape, window, last if head else None, copies),
                runtime=GPU_RUNTIME + GPU_KERNELS + GPU_MARGIN,
            )
        )
        at += own
    on_host = range(first) if placement.gpu_layers else range(len(shape.layers))
    own_layers = [one for one in on_host if one < len(shape.layers)]
    weights = shape.of("embedding").bytes + sum(shape.layers[one].core.bytes for one in own_layers)
    weights += sum(shape.layers[one].experts.bytes for one in {*own_layers, *spilled})
    if placement.gpu_layers == 0:
        weights += shape.of("output").bytes
    # Experts that the host keeps take nothing there: for a prompt they are brought over, an answer's are one token's.
    all_there = bool(gpus) and not own_layers and placement.gpu_layers > 0
    compute = (
        host_input_bytes(shape.dims, window.context, window.batch, flash=window.flash)
        if all_there
        else _compute(shape, window, None if placement.gpu_layers else "host")
    )
    cache = len(own_layers) * _cache(shape, window)
    return Placed(placement, tuple(uses), Use(weights, cache, compute + output_bytes(shape.dims)))


def _copies(shape: Shape, placement: Placement) -> int:
    """What long prompts need on a GPU to bring experts there, those of layers that the host computes, too."""
    first = len(shape.layers) + 1 - placement.gpu_layers
    left = any(layer.experts.bytes for layer in shape.layers[:first])
    return shape.largest_experts if left or placement.host_experts else 0


def _fixed(shape: Shape, window: Window, copies: int) -> int:
    """What a GPU holds beside layers."""
    return _compute(shape, window, "gpu", copies) + GPU_RUNTIME + GPU_KERNELS + GPU_MARGIN


def _layer_bytes(shape: Shape, window: Window, number: int, experts: bool = True) -> int:
    layer = shape.layers[number]
    return layer.core.bytes + (layer.experts.bytes if experts else 0) + _cache(shape, window)


def _cache(shape: Shape, window: Window) -> int:
    return cache_layer_bytes(shape.dims, window.context, window.cache_type)


def _compute(shape: Shape, window: Window, last: Last | None, copies: int = 0) -> int:
    needed = compute_bytes(shape.dims, window.context, window.batch, flash=window.flash, last=last, brought=copies)
    return round(needed * window.compute_scale)


def with_process(placed: Placed, bytes: int) -> Placed:
    """The same beside what the assistant's own process takes of the host."""
    return replace(placed, host=replace(placed.host, runtime=bytes))
