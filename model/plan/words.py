"""A plan in sentences: what went where, and what would make it faster."""

from collections.abc import Iterable, Sequence

from model.plan.machine import GIB
from model.plan.result import Plan
from model.plan.shape import Shape
from model.plan.speed import Speed


def where(plan: Plan, shape: Shape) -> tuple[str, ...]:
    """One sentence for each device and for what is unusual."""
    said, at = [], len(shape.layers) + 1 - plan.gpu_layers
    spilled = set(plan.host_experts)
    routed = {number for number, layer in enumerate(shape.layers) if layer.experts.bytes}
    for device, own in zip(plan.devices, plan.layers_of_gpus, strict=False):
        layers = range(at, min(at + own, len(shape.layers)))
        head = own and at + own > len(shape.layers)
        at += own
        if not own:
            said.append(f"{device.device} stays empty.")
            continue
        parts = f"layers {runs(layers)}" if layers else ""
        parts += (" and " if layers else "") + "the output head" if head else ""
        without = sorted(spilled & set(layers))
        if not without:
            said.append(f"{device.device} holds {parts} whole, with their cache.")
            continue
        held = sorted((routed - spilled) & set(layers))
        rest = f", and the routed experts of layers {runs(held)}" if held else "; none of their routed experts"
        said.append(f"{device.device} holds attention, shared experts and cache of {parts}{rest}.")
    first = len(shape.layers) + 1 - plan.gpu_layers if plan.gpu_layers else len(shape.layers) + 1
    whole = [number for number in range(len(shape.layers)) if number < first]
    host = []
    if whole:
        host.append("all layers" if len(whole) == len(shape.layers) else f"layers {runs(whole)}")
    if spilled:
        host.append(f"the routed experts of layers {runs(sorted(spilled))}")
    host.append("the embedding")
    said.append(f"Host memory holds {_listed(host)}.")
    if plan.streamed:
        said.append(
            f"{plan.streamed / GIB:.1f} GiB of them do not fit there: experts are read from the disk when they are "
            "chosen."
        )
    said.append(
        f"The window is {plan.context:,} tokens, cached as {plan.cache_type} "
        f"({plan.cache_per_token[plan.cache_type]:,} bytes a token)."
    )
    if plan.context > shape.trained_context:
        said.append(f"The model was made for {shape.trained_context:,} tokens: beyond them it may write nonsense.")
    return tuple(said)


def faster(plan: Plan, better: Iterable[tuple[str, Speed]]) -> tuple[str, ...]:
    """Changes that are worth a tenth or more, the best first."""
    before = plan.raw_speed[1]
    scale = plan.decode / before if before else 1.0
    gains = sorted(((speed.decode, change) for change, speed in better if speed.decode > 1.1 * before), reverse=True)
    said = [f"With {change}: about {decode * scale:,.3g} tokens a second." for decode, change in gains]
    if plan.streamed:
        said.append(f"With {plan.streamed / GIB:.1f} GiB more of host memory nothing would come from the disk.")
    return tuple(said)


def runs(numbers: Sequence[int]) -> str:
    """`0 to 4, 7`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first} to {last}" if last > first else str(first) for first, last in found)


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
