"""A plan against what a loaded model really took and did; what differs is noted for the next plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.engine import Engine, Finished, Request, Sampling, Usage
from model.errors import BenchFailed
from model.plan.notes import Notes
from model.plan.result import Plan

_ANSWER = 48
"""Tokens that are written to measure decoding."""
_LEAST_COMPUTE = 1 << 20
_PEAK = "at its fullest"


@dataclass(frozen=True, slots=True)
class Checked:
    """One figure, planned and measured."""

    what: str
    unit: str
    planned: float
    measured: float

    @property
    def error(self) -> float:
        """Planned over measured, less one."""
        return self.planned / self.measured - 1 if self.measured else 0.0


def record_allocation(plan: Plan, allocated: Mapping[tuple[str, str], int], notes: Path | None) -> None:
    """Note how much larger llama.cpp's intermediate results are than they were computed to be."""
    real = sum(size for (_, kind), size in allocated.items() if kind == "compute")
    if min(plan.raw_compute, real) > _LEAST_COMPUTE:
        Notes(notes).record(plan.key, compute=real / plan.raw_compute)


def check_memory(plan: Plan, engine: Engine) -> list[Checked]:
    """Bytes on each device, planned and allocated; what neither engine allocates itself is left out."""
    from model.llama_engine import LlamaEngine

    if isinstance(engine, LlamaEngine):
        return _check_llama(plan, engine.allocated)
    from model.torch_engine import TorchEngine

    if not isinstance(engine, TorchEngine):
        raise BenchFailed("The memory of another machine cannot be measured.")
    # Of several ranks the first is in this process; a single one also has what spilled to the host.
    own = plan.devices if plan.ranks == 1 else plan.devices[:1]
    planned = sum(one.weights + one.cache for one in own)
    found = [Checked("weights and cache", "bytes", planned, engine.allocated_bytes())]
    if (peak := engine.peak_bytes()) is not None:
        first = plan.devices[0]
        found.append(Checked(f"{first.device} {_PEAK}", "bytes", first.total - first.runtime, peak))
    return found


def check_speed(plan: Plan, engine: Engine, prompt: int) -> list[Checked]:
    """Tokens per second of a prompt of `prompt` tokens and of an answer to it.

    On a GPU others go before it: one that fills the largest step, as the plan's memory does, and one as long as it, by
    which kernels are compiled and graphs recorded.
    """
    first = (min(plan.batch, plan.context - _ANSWER), prompt) if plan.devices[0].device != "host" else ()
    for seed, length in enumerate((*first, prompt)):
        usage, prefill_ms, decode_ms = _write(engine, length, seed)
    read = usage.prompt_tokens - usage.cached_tokens
    return [
        Checked("prompt", "tokens/s", plan.prefill, read / prefill_ms * 1e3),
        Checked("answer", "tokens/s", plan.decode, usage.completion_tokens / decode_ms * 1e3),
    ]


def _write(engine: Engine, prompt: int, seed: int) -> tuple[Usage, float, float]:
    """An answer to a prompt that begins as no other does: what was read and written, and the ms of both."""
    tokens = [7 + seed, *(7 + (number * 7919) % 500 for number in range(1, prompt))]
    finished: Finished | None = None
    for event in engine.generate(Request(tokens, Sampling(max_tokens=_ANSWER, temperature=1.0, seed=1))):
        finished = event if isinstance(event, Finished) else finished
    if finished is None or finished.usage.completion_tokens < 8 or not finished.prefill_ms or not finished.decode_ms:
        raise BenchFailed("The model ended its answer before its speed could be measured.")
    return finished.usage, finished.prefill_ms, finished.decode_ms


def record_checks(plan: Plan, checked: list[Checked], notes: Path | None) -> None:
    """Note how much faster or slower it was than computed, and on a GPU how much more or less a step took."""
    first = plan.devices[0]
    for one in checked:
        if one.what.endswith(_PEAK) and plan.raw_compute:
            step = one.measured - first.weights - first.cache
            Notes(notes).record(plan.key, compute=step * plan.ranks / plan.raw_compute)
    found = {one.what: one.measured for one in checked}
    prefill, decode = plan.raw_speed
    if prefill and decode and {"prompt", "answer"} <= found.keys():
        Notes(notes).record(plan.speed_key, prefill=found["prompt"] / prefill, decode=found["answer"] / decode)


def _check_llama(plan: Plan, allocated: Mapping[tuple[str, str], int]) -> list[Checked]:
    """GPU by GPU, then the host, with its pinned buffers.

    Beside GPUs the host's weights are left out: llama.cpp maps the file from its first tensor there to its last, and
    tells the length of that.
    """
    on_gpus: dict[int, int] = {}
    on_host = 0
    mapped = any(plan.layers_of_gpus)
    for (backend, kind), size in allocated.items():
        number = backend.removeprefix("CUDA")
        if backend.startswith("CUDA") and number.isdigit():
            on_gpus[int(number)] = on_gpus.get(int(number), 0) + size
        elif not (mapped and kind == "model"):
            on_host += size
    checked = []
    for place, device in enumerate(plan.devices):
        if device.device != "host":
            checked.append(Checked(device.device, "bytes", device.total - device.runtime, on_gpus.get(place, 0)))
        elif mapped:
            checked.append(Checked("host, weights apart", "bytes", device.cache + device.compute, on_host))
        else:
            checked.append(Checked("host", "bytes", device.total - device.runtime, on_host))
    return [one for one in checked if one.planned or one.measured]
