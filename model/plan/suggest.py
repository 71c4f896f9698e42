"""Models that fit a machine: those of data/models.toml, each in the largest quantisation that its memory holds.

No network: shapes and terms are in the table. Knows nothing about what is downloaded already.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model.plan.machine import Machine
from model.plan.planner import QUANTIZATIONS, plan_gguf
from model.plan.published import Row, commands, rows, shape_of_row
from model.plan.result import Plan
from model.plan.shape import Shape
from model.settings import ModelSettings

_COARSEST = 3.5
"""Bits a weight below which a model's answers suffer more than a smaller model's."""
_FINE = 4.5
"""Bits a weight from which they hardly suffer."""
_FAST = 10.0
"""tokens/s that a reader does not wait for."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model of the table in the quantisation that suits a machine."""

    name: str
    quantization: str
    bytes: int
    """of the file"""
    parameters: int
    active: int
    """parameters that a token uses"""
    context: int
    prefill: float
    """tokens/s"""
    decode: float
    """tokens/s"""
    licence: str
    expect: str
    get: tuple[str, ...]
    """commands that bring it here"""
    source: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A model of the table that does not fit, and why."""

    name: str
    why: str


def suggest(machine: Machine, settings: ModelSettings) -> tuple[list[Suggestion], list[TooLarge]]:
    """What of the table fits `machine` without reading weights from the disk, largest first; and what does not."""
    fitting, others = [], []
    for row in rows():
        plans = [
            (shape, plan_gguf(row["name"], shape, machine, settings))
            for name, bits in QUANTIZATIONS
            if bits >= _COARSEST
            for shape in (shape_of_row(row, name, bits),)
        ]
        usable = [(shape, plan) for shape, plan in plans if plan.fits and not plan.streamed]
        if usable:
            fitting.append(_suggestion(row, *_best(usable)))
            continue
        shape, last = plans[-1]
        why = last.refusal.reason if last.refusal else "Some weights would have to come from the disk."
        others.append(TooLarge(row["name"], f"In {shape.quantization}: {why}"))
    return sorted(fitting, key=lambda one: one.parameters, reverse=True), others


def _best(usable: Sequence[tuple[Shape, Plan]]) -> tuple[Shape, Plan]:
    """The finest that answers fast enough; where none does, the fastest that loses little."""
    fast = [one for one in usable if one[1].decode >= _FAST]
    fine = [one for one in usable if 8 * one[0].weights.bytes / one[0].weights.numbers >= _FINE]
    return fast[0] if fast else (fine or usable)[-1]


def _suggestion(row: Row, shape: Shape, plan: Plan) -> Suggestion:
    kind = shape.quantization
    return Suggestion(
        name=row["name"],
        quantization=kind,
        bytes=shape.weights.bytes,
        parameters=shape.weights.numbers,
        active=shape.active.numbers,
        context=plan.context,
        prefill=plan.prefill,
        decode=plan.decode,
        licence=row["licence"],
        expect=row["expect"],
        get=commands(row, kind),
        source=row["source"],
    )
