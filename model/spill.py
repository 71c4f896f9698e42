"""Routed experts in host memory, the hot ones also on the device: for models that the GPUs do not hold.

The host has all experts of a layer, the device as many slots for them as fit. A pass asks the router's choice back to
the host (the one synchronisation that this costs), copies what is missing into the slots of the least valuable experts
(hot.py), and computes over the slots what `Experts` computes over all. Where a pass needs more experts than there are
slots, they take turns, and their sums are added. Nothing is written back, since the host keeps its copy.

T tokens, E experts, K experts per token, D hidden width, F expert width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from model.errors import NotEnoughMemory
from model.host_memory import CopyStream, host_empty
from model.hot import LEAST_SLOTS, HotSet, Wave
from model.moe import Experts, count_tokens

_GIB = 1 << 30
_STACKS = ("gate_up_proj", "down_proj", "gate_up_scale_inv", "down_scale_inv")


class SpilledExperts(Experts):
    """The experts of one layer, all of them in host memory, `slots` of them also on the device.

    Its own tensors are the host's: loading and saving see a layer of `Experts`.
    """

    def __init__(self, experts: Experts, slots: int) -> None:
        """In the place of `experts`, which become the slots; `place` gives both their memory."""
        nn.Module.__init__(self)
        self.first, self.partial, self.scaling = experts.first, experts.partial, experts.scaling
        self.least_weight = experts.least_weight
        self.gate_up_proj, self.down_proj = experts.gate_up_proj, experts.down_proj
        self.register_buffer("gate_up_scale_inv", experts.gate_up_scale_inv)
        self.register_buffer("down_scale_inv", experts.down_scale_inv)
        self.slots = slots
        self.hot = HotSet(len(self.down_proj), slots)
        self._copies = CopyStream(torch.device("cpu"))
        experts.first, experts.partial, experts.least_weight = 0, True, 0.0
        self._on_device = [experts]  # in a list, so that the copies are no part of what is saved or counted

    def place(self, device: torch.device, copies: CopyStream) -> None:
        """Move the experts to host memory that `device` can read, and make the slots there."""
        self._copies = copies
        self.hot = HotSet(len(self.down_proj), self.slots)
        for name in _STACKS:
            stack: Tensor | None = getattr(self, name)
            if stack is None:
                continue
            host = host_empty(stack.shape, stack.dtype, device)
            if not stack.is_meta:
                host.copy_(stack)
            slots = torch.empty(self.slots, *stack.shape[1:], dtype=stack.dtype, device=device)
            if isinstance(stack, nn.Parameter):
                host, slots = (nn.Parameter(one, requires_grad=False) for one in (host, slots))
            setattr(self, name, host)
            setattr(self._on_device[0], name, slots)

    def forward(self, x: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        """As `Experts`; sums of several waves are added in float32."""
        number = len(self.down_proj)
        here = self.here(weights, experts)
        counts = count_tokens(here.flatten(), number + 1)[:number].tolist()  # the host waits for the router
        waves = self.hot.plan(counts, len(x))
        if not waves:
            return torch.zeros_like(x)
        total: Tensor | None = None
        ready = self._copies.start(self._pairs(waves[0]))
        for wave, following in zip(waves, [*waves[1:], None], strict=True):
            coming = None if following is None else self._copies.start(self._pairs(following))
            self._copies.finish(ready)
            slots = self._slots_of(wave, number, x.device)
            part: Tensor = self._on_device[0](x, weights, slots[here])
            total = part if total is None else total.float() + part
            ready = coming
        assert total is not None  # there are waves
        return total.to(x.dtype)

    def _pairs(self, wave: Wave) -> Iterator[tuple[Tensor, Tensor]]:
        """The copies (target, source) that a wave needs."""
        for name in _STACKS:
            host, slots = getattr(self, name), getattr(self._on_device[0], name)
            if host is not None:
                yield from ((slots.data[wave.places[expert]], host.data[expert]) for expert in wave.loads)

    def _slots_of(self, wave: Wave, number: int, device: torch.device) -> Tensor:
        """int64 [E + 1]: each expert's slot; those of other waves, and the last, have one after all slots."""
        slots = torch.full((number + 1,), self.slots, dtype=torch.int64)
        slots[list(wave.places)] = torch.tensor(list(wave.places.values()))
        return slots.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else slots


def spill_experts(model: nn.Module, budget: int) -> None:
    """Let the routed experts of a model on `meta` take no more than `budget` bytes of a device, evenly over layers.

    Nothing changes where all fit. The dtype of each must be final; `place_experts` is called before they are used.

    :raises NotEnoughMemory: not even two experts of each layer fit.
    """
    layers = [(parent, one) for parent in model.modules() for one in parent.children() if isinstance(one, Experts)]
    expert = sum(_nbytes(layer) // len(layer.down_proj) for _, layer in layers)  # one of each layer
    if not layers or expert * max(len(layer.down_proj) for _, layer in layers) <= budget:
        return
    slots = budget // expert
    if slots < LEAST_SLOTS:
        raise NotEnoughMemory(
            f"{budget / _GIB:.2f} GiB hold no two experts of each layer, which take "
            f"{LEAST_SLOTS * expert / _GIB:.2f} GiB.",
            "Raise model.experts_gib, lower model.context, or set model.cache_type to fp8.",
        )
    for parent, layer in layers:
        if slots < len(layer.down_proj):
            parent.experts = SpilledExperts(layer, slots)


def place_experts(model: nn.Module, device: torch.device) -> None:
    """Give the spilled layers of a model their host memory and slots; one stream copies for all."""
    copies = CopyStream(device)
    for layer in spilled_layers(model):
        layer.place(device, copies)


def spilled_layers(model: nn.Module) -> list[SpilledExperts]:
    """In order; empty where all experts are on the device."""
    return [module for module in model.modules() if isinstance(module, SpilledExperts)]


def describe_spill(model: nn.Module) -> str:
    """In words, what is where; empty where nothing is spilled."""
    layers = spilled_layers(model)
    if not layers:
        return ""
    host = sum(_nbytes(layer) for layer in layers) / _GIB
    first = layers[0]
    return f"{first.slots} of {len(first.down_proj)} experts a layer; all {host:.1f} GiB of them in host memory"


def _nbytes(layer: Experts) -> int:
    return sum(stack.nbytes for name in _STACKS if (stack := getattr(layer, name)) is not None)
