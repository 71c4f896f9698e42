"""The plan for a model, in the few lines that decide whether to load it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.workspace import Workspace

_GIB, _MIB = 1 << 30, 1 << 20


@dataclass(frozen=True, slots=True)
class PlanLines:
    """What a model would take here; `fits` is None for one that runs elsewhere, which is not planned."""

    fits: bool | None
    name: str
    lines: tuple[str, ...]


def plan_lines(workspace: "Workspace", reference: str) -> PlanLines:
    """Plan `reference` with the profile's settings; loads nothing.

    :raises ModelError: it is unknown, damaged, or no file of this machine.
    """
    from app.profile import plan_notes
    from model.errors import UnsupportedOperation
    from model.plan.make import make_plan

    try:
        plan = make_plan(reference, workspace.settings.model, plan_notes(workspace.profile))
    except UnsupportedOperation as error:  # it runs on another machine
        return PlanLines(None, reference, (str(error),))
    lines = [f"{plan.architecture}, {plan.quantization}, {plan.engine} engine, window {plan.context:,} tokens"]
    if plan.refusal is not None:
        return PlanLines(False, plan.name, (*lines, f"It does not fit. {plan.refusal.reason}", plan.refusal.mend))
    lines += [f"{one.device}: {_size(one.total)} of {_size(one.available)} free" for one in plan.devices]
    lines.append(f"about {rate(plan.prefill)} tokens/s of a prompt, {rate(plan.decode)} of an answer")
    return PlanLines(True, plan.name, (*lines, *plan.where))


def _size(size: int) -> str:
    return f"{size / _GIB:,.1f} GiB" if size >= 100 * _MIB else f"{size / _MIB:,.0f} MiB"


def rate(tokens: float) -> str:
    """Tokens per second to three digits: `3,480`, `71.7`."""
    return f"{float(f'{tokens:.3g}'):,.0f}" if tokens >= 100 else f"{tokens:.3g}"
