"""What is suggested for machines of three sizes."""

from dataclasses import replace

import pytest

from model.plan.machine import GIB, Machine, gpu
from model.plan.suggest import suggest
from model.settings import ModelSettings


def machine(gpus: int, gib: int, host: int) -> Machine:
    one = gpu("NVIDIA GeForce RTX 4090" if gib < 80 else "NVIDIA H100 80GB HBM3", gib * GIB, int(0.97 * gib * GIB))
    return Machine((one,) * gpus, host * GIB, int(0.95 * host * GIB), 8, frozenset({"avx2"}), 5e10)


def test_a_laptop_gets_small_models() -> None:
    fitting, others = suggest(machine(0, 0, 16), ModelSettings())
    names = {one.name: one.quantization for one in fitting}
    assert names["DeepSeek-V2-Lite-Chat"] == "Q6_K" and "DeepSeek-V3.1" not in names
    assert all(one.bytes < 0.95 * 16 * GIB and one.licence and one.source.startswith("https://") for one in fitting)
    slow = suggest(replace(machine(0, 0, 16), host_bandwidth=1e10), ModelSettings())[0]
    lite = next(one for one in slow if one.name == "DeepSeek-V2-Lite-Chat")
    assert lite.quantization == "Q4_K_M"  # where none is fast, the one that reads least without losing much
    assert {"DeepSeek-V3.1", "Kimi-K2-Instruct"} <= {one.name for one in others}
    assert all("GiB" in one.why for one in others)


def test_a_consumer_gpu_gets_finer_ones_with_what_brings_them() -> None:
    fitting, _ = suggest(machine(1, 24, 64), ModelSettings())
    found = {one.name: one for one in fitting}
    assert found["DeepSeek-V2-Lite-Chat"].quantization == "Q8_0" and found["GLM-4.7-Flash"].decode > 10
    assert found["GLM-4.7-Flash"].get == (
        f"loci model pull hf:unsloth/GLM-4.7-Flash-GGUF:{found['GLM-4.7-Flash'].quantization}",
    )
    assert found["DeepSeek-V2-Lite-Chat"].get[1].endswith("--type q8_0")


def test_a_large_machine_gets_the_largest() -> None:
    fitting, others = suggest(machine(8, 80, 1024), ModelSettings())
    assert [fitting[0].name, fitting[1].name] == ["Kimi-K2-Instruct", "DeepSeek-V3.1"] and not others
    assert fitting[1].parameters == pytest.approx(671e9, rel=0.01) and fitting[1].active == pytest.approx(
        37e9, rel=0.02
    )
    assert fitting[0].parameters == pytest.approx(1.03e12, rel=0.01) and fitting[0].active == pytest.approx(
        32e9, rel=0.03
    )


def test_nothing_fits_a_machine_without_memory() -> None:
    fitting, others = suggest(replace(machine(0, 0, 2), host_free=GIB), ModelSettings())
    assert not fitting and len(others) >= 5
