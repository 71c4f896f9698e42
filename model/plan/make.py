"""From a reference to a plan: reads headers, asks the machine, and remembers what earlier plans got wrong."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from model.errors import UnknownModel, UnsupportedOperation
from model.files import as_path
from model.llama_library import uses_gpus
from model.open import resolve
from model.plan.gguf_header import parts
from model.plan.machine import Machine, disk_rate, this_machine
from model.plan.notes import Notes
from model.plan.planner import plan_gguf
from model.plan.published import published
from model.plan.result import Plan
from model.plan.shape import Shape, read_shape
from model.settings import ModelSettings

IDLE_GPUS = "The GPU stays idle: llama-cpp-python is built without support for it."
WITH_CUDA = (
    "Build it with: CMAKE_ARGS=-DGGML_CUDA=on pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
)
"""What mends that; it takes CUDA's compiler."""


def make_plan(
    reference: str, settings: ModelSettings, notes: Path | None = None, machine: Machine | None = None
) -> Plan:
    """How `reference` would be run here, or on another `machine`.

    What is not here yet is planned by its published shape, where data/models.toml has it.

    :raises ModelError: it is unknown, damaged, or no file of this machine.
    """
    try:
        found = resolve(reference)
    except UnknownModel:
        known = published(reference)
        if known is None:
            raise
        return _plan_published(reference, *known, settings, notes, machine)
    if found.engine == "remote":
        raise UnsupportedOperation(f"{reference} runs on another machine, which plans for itself.")
    target = as_path(str(found.target))
    if found.engine == "llama":
        return plan_file(target, settings, reference, notes, machine)
    from model.plan.torch_plan import plan_torch  # torch, 2 s

    shape = read_shape(target)
    return plan_torch(reference, target, shape, machine or this_machine(), settings, Notes(notes), note_key(shape))


def _plan_published(
    reference: str,
    shape: Shape,
    commands: Sequence[str],
    settings: ModelSettings,
    notes: Path | None,
    machine: Machine | None,
) -> Plan:
    plan = _by_llama(reference, shape, settings, notes, machine or this_machine(), real=machine is None)
    said = f"It is not here yet, and planned by its published shape. To bring it: {'; '.join(commands)}"
    return replace(plan, where=(said, *plan.where)) if plan.fits else plan


def plan_file(
    file: Path,
    settings: ModelSettings,
    reference: str | None = None,
    notes: Path | None = None,
    machine: Machine | None = None,
    measured: bool = True,
) -> Plan:
    """How llama.cpp would run the GGUF `file`; `measured` as `this_machine` has it.

    :raises BadCheckpoint: its header is damaged, or a part is missing.
    """
    shape = read_shape(file)
    here = machine or this_machine(measured)
    if machine is None and shape.weights.bytes > here.host_free + sum(gpu.free for gpu in here.gpus):
        here = replace(here, disk_bandwidth=disk_rate(parts(file)[0]))
    return _by_llama(reference or str(file), shape, settings, notes, here, real=machine is None)


def _by_llama(
    reference: str, shape: Shape, settings: ModelSettings, notes: Path | None, machine: Machine, real: bool
) -> Plan:
    """On a `real` machine, as the library that is installed can use it."""
    here = usable(machine, settings) if real else machine
    plan = plan_gguf(reference, shape, here, settings, Notes(notes), note_key(shape))
    if here == machine:
        return plan
    if plan.refusal is not None:
        return replace(plan, refusal=replace(plan.refusal, reason=f"{plan.refusal.reason} {IDLE_GPUS} {WITH_CUDA}"))
    return replace(plan, faster=(f"{IDLE_GPUS} {WITH_CUDA}", *plan.faster))


def usable(machine: Machine, settings: ModelSettings) -> Machine:
    """This machine as the installed llama.cpp can use it: without GPUs where it is built without support for them."""
    idle = machine.gpus and settings.gpu_layers and uses_gpus() is False
    return replace(machine, gpus=()) if idle else machine


def note_key(shape: Shape) -> str:
    """Under what a shape's errors are kept: another model of the same architecture and form errs alike, but not
    exactly, so that its size is in it."""
    return f"{shape.architecture} {shape.form} {shape.quantization} {shape.weights.numbers}"
