"""Plans beside what engines say they took."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from model.engine import Engine, Event, Finished, Request, Usage
from model.plan.check import Checked, _check_llama, check_speed, record_allocation, record_checks
from model.plan.notes import Errors, Notes
from model.plan.result import DevicePlan, Plan

MIB = 1 << 20
PLAN = Plan(
    reference="x", name="x", engine="llama", architecture="deepseek2", attention="MLA", quantization="Q4_K",
    weights={}, cache_per_token={}, context=4096, cache_type="f16", batch=512, threads=2,
    devices=(
        DevicePlan("GPU 0 (A)", 900 * MIB, 400 * MIB, 50 * MIB, 40 * MIB, 100 * MIB),
        DevicePlan("host", 900 * MIB, 300 * MIB, 20 * MIB, 10 * MIB, 100 * MIB),
    ),
    prefill=100.0, decode=10.0, depth=1024, layers_of_gpus=(28,), gpu_layers=28, key="k", raw_compute=50 * MIB,
    raw_speed=(200.0, 20.0),
)  # fmt: skip
ALLOCATED = {
    ("CUDA0", "model"): 410 * MIB, ("CUDA0", "KV"): 50 * MIB, ("CUDA0", "compute"): 44 * MIB,
    ("CPU_Mapped", "model"): 700 * MIB, ("CPU", "KV"): 20 * MIB, ("CUDA_Host", "compute"): 11 * MIB,
}  # fmt: skip


def test_each_device_is_set_beside_what_its_backend_allocated() -> None:
    found = {one.what: (one.planned / MIB, one.measured / MIB) for one in _check_llama(PLAN, ALLOCATED)}
    assert found == {"GPU 0 (A)": (490, 504), "host, weights apart": (30, 31)}
    alone = replace(PLAN, devices=PLAN.devices[1:], layers_of_gpus=(), gpu_layers=0)
    on_host = {("CPU_Mapped", "model"): 300 * MIB, ("CPU", "KV"): 20 * MIB, ("CPU", "compute"): 12 * MIB}
    assert [(one.planned / MIB, one.measured / MIB) for one in _check_llama(alone, on_host)] == [(330, 332)]


def test_what_differs_is_noted(tmp_path: Path) -> None:
    notes = tmp_path / "plans.json"
    record_allocation(PLAN, ALLOCATED, notes)
    assert Notes(notes).errors("k").compute == pytest.approx(55 / 50)
    record_checks(PLAN, [Checked("prompt", "tokens/s", 100, 300), Checked("answer", "tokens/s", 10, 10)], notes)
    assert Notes(notes).errors(PLAN.speed_key) == Errors(prefill=1.5, decode=0.5)
    elsewhere = (
        replace(PLAN, host_experts=(3, 4)),
        replace(PLAN, host_layers=9),
        replace(PLAN, gpu_layers=0, host_layers=27),
    )
    assert [Notes(notes).errors(one.speed_key) for one in elsewhere] == [Errors()] * 3
    assert len({one.speed_key for one in elsewhere}) == 3
    full = Checked("GPU 0 (A) at its fullest", "bytes", 490 * MIB, 475 * MIB)
    record_checks(replace(PLAN, engine="torch"), [full], notes)
    assert Notes(notes).errors("k").compute == pytest.approx(25 / 50)


class Timed:
    """Notes the prompts that it is given, and is a second faster with each."""

    def __init__(self) -> None:
        self.prompts: list[tuple[int, ...]] = []

    def generate(self, request: Request) -> Iterator[Event]:
        assert not isinstance(request.prompt, str)
        self.prompts.append(tuple(request.prompt))
        seconds = 10.0 - len(self.prompts)
        yield Finished("length", Usage(prompt_tokens=len(request.prompt), completion_tokens=48), seconds * 1e3, 1e3)


def test_on_a_gpu_the_largest_step_is_read_and_kernels_are_compiled_before_the_clock_runs() -> None:
    engine = Timed()
    prompt, answer = check_speed(PLAN, cast(Engine, engine), 256)
    assert [len(one) for one in engine.prompts] == [512, 256, 256]
    assert len({one[0] for one in engine.prompts}) == 3  # nothing is found in a cache
    assert (prompt.measured, answer.measured) == pytest.approx((256 / 7, 48))
    check_speed(replace(PLAN, devices=PLAN.devices[1:]), cast(Engine, alone := Timed()), 256)
    assert len(alone.prompts) == 1
