"""Plans for published shapes on machines of many sizes: what fits, where it goes, and what is refused for which reason.

The files hold real headers and no weights; the machines are made up.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from model.config import Config
from model.plan.machine import GIB, Machine, gpu
from model.plan.notes import Notes
from model.plan.planner import plan_gguf
from model.plan.result import Plan
from model.plan.shape import Shape, read_shape, scaled
from model.random_weights import SHAPES
from model.settings import ModelSettings
from tests.model.plan.headers import gguf_header, safetensors_headers

pytest.importorskip("gguf", reason="the gguf package is not installed (extra gguf)")


def machine(gpus: int, gib: int, host: int) -> Machine:
    """`gpus` of `gib` GiB each and `host` GiB of host memory, nearly all of it free."""
    name = "NVIDIA H100 80GB HBM3" if gib >= 80 else "NVIDIA GeForce RTX 4090"
    one = gpu(name, gib * GIB, int(0.97 * gib * GIB))
    return Machine((one,) * gpus, host * GIB, int(0.95 * host * GIB), 16, frozenset({"avx2", "avx512f"}), 2e11, 3e9)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Shape:
    return read_shape(gguf_header(SHAPES["v2-lite"], tmp_path_factory.mktemp("lite") / "lite.gguf"))


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Shape:
    return read_shape(gguf_header(SHAPES["v3"], tmp_path_factory.mktemp("v3") / "v3.gguf"))


def holds(plan: Plan) -> bool:
    return all(one.total <= one.available for one in plan.devices)


def test_the_parts_of_a_published_model_are_told_apart(lite: Shape, v3: Shape) -> None:
    assert lite.weights.numbers == pytest.approx(15.7e9, rel=0.01)  # as published
    assert lite.active.numbers == pytest.approx(2.45e9, rel=0.01)
    assert v3.weights.numbers == pytest.approx(671e9, rel=0.001)
    assert v3.active.numbers == pytest.approx(36.6e9, rel=0.01)
    assert (lite.dims.attention, v3.dims.cached, len(v3.layers)) == ("MLA", 576, 61)
    assert sum(layer.core.bytes + layer.experts.bytes for layer in v3.layers) + v3.head + v3.of("embedding").bytes == (
        v3.weights.bytes
    )
    assert v3.layers[2].experts.bytes == 0 and v3.layers[3].experts.bytes > 5 * GIB


@pytest.mark.parametrize(
    ("gpus", "gib", "host", "experts_on_host"),
    [
        (1, 8, 16, range(10, 20)),
        (1, 12, 32, range(1, 6)),
        (1, 16, 64, range(1)),
        (2, 8, 32, range(1)),
        (4, 24, 64, range(1)),
        (1, 80, 256, range(1)),
    ],
)
def test_lite_fits_every_machine(lite: Shape, gpus: int, gib: int, host: int, experts_on_host: range) -> None:
    plan = plan_gguf("lite", lite, machine(gpus, gib, host), ModelSettings())
    assert plan.fits and holds(plan) and plan.gpu_layers == 28 and plan.streamed == 0
    assert len(plan.host_experts) in experts_on_host
    assert plan.context >= 16384 and sum(plan.layers_of_gpus) == 28


@pytest.mark.parametrize(
    ("gpus", "gib", "host", "experts_on_host"),
    [
        (1, 24, 512, range(55, 59)),
        (1, 80, 512, range(46, 52)),
        (4, 80, 1024, range(8, 16)),
        (8, 48, 64, range(2, 8)),
        (8, 80, 256, range(1)),
    ],
)
def test_v3_keeps_attention_on_gpus_and_experts_where_there_is_room(
    v3: Shape, gpus: int, gib: int, host: int, experts_on_host: range
) -> None:
    plan = plan_gguf("v3", v3, machine(gpus, gib, host), ModelSettings(context=16384))
    assert plan.fits and holds(plan) and plan.gpu_layers == 62
    assert len(plan.host_experts) in experts_on_host
    weights = sum(one.weights for one in plan.devices)
    assert weights == v3.weights.bytes  # every byte is somewhere, and once
    assert sum(one.cache for one in plan.devices) == 16384 * 61 * 576 * 2


@pytest.mark.parametrize(("gpus", "gib", "host"), [(1, 8, 16), (1, 24, 64), (2, 24, 128), (0, 0, 256)])
def test_v3_is_refused_where_the_weights_do_not_fit(v3: Shape, gpus: int, gib: int, host: int) -> None:
    plan = plan_gguf("v3", v3, machine(gpus, gib, host), ModelSettings())
    assert plan.refusal is not None
    assert (
        "The weights take 352.1 GiB" in plan.refusal.reason and f"{0.95 * host:.1f} GiB of host" in plan.refusal.reason
    )
    smaller = plan.refusal.largest_quantization
    assert smaller == {16: None, 64: None, 128: "IQ1_M", 256: "Q2_K"}[host]
    if smaller is None:
        assert "suggest" in plan.refusal.mend
    else:
        assert smaller in plan.refusal.mend


def test_a_window_that_does_not_fit_is_refused_with_the_largest_that_does(lite: Shape) -> None:
    small = replace(machine(0, 0, 14), disk_bandwidth=1e8)
    settings = ModelSettings(context=131072, cache_type="f16")
    plan = plan_gguf("lite", lite, small, settings)
    assert plan.refusal is not None and plan.refusal.largest_context is not None and "cache" in plan.refusal.reason
    largest = plan.refusal.largest_context
    fits = [
        plan_gguf("lite", lite, small, settings.model_copy(update={"context": one})).fits
        for one in (largest, largest + 256)
    ]
    assert fits == [True, False]


def test_a_smaller_cache_type_comes_before_a_refusal(lite: Shape) -> None:
    small = machine(0, 0, 16)
    plans = [plan_gguf("lite", lite, small, ModelSettings(context=one)) for one in (16384, 131072)]
    assert [plan.cache_type for plan in plans] == ["f16", "q8_0"]


def test_weights_stream_from_a_disk_that_is_fast_enough(lite: Shape) -> None:
    small = machine(1, 8, 8)
    wide = scaled(lite, 3.6)  # as in F16
    slow, fast = (plan_gguf("lite", wide, replace(small, disk_bandwidth=rate), ModelSettings()) for rate in (1e8, 1e10))
    assert slow.refusal is not None and "From the disk it would write" in slow.refusal.reason
    assert fast.fits and fast.streamed > 0 and any("from the disk" in one for one in fast.where)


def test_the_settings_decide_where_layers_and_experts_go(lite: Shape) -> None:
    roomy = machine(1, 24, 64)
    assert plan_gguf("lite", lite, roomy, ModelSettings(gpu_layers=0)).layers_of_gpus == ()
    told = plan_gguf("lite", lite, roomy, ModelSettings(gpu_layers=10, host_experts=4))
    assert (told.gpu_layers, told.host_experts, told.host_layers) == (10, (18, 19, 20, 21), 18)
    terse = replace(lite, dims=replace(lite.dims, vocabulary=1000))  # whose logits are not the widest
    whole, fewer, none = (
        plan_gguf("lite", terse, roomy, ModelSettings(gpu_layers=layers, host_experts=experts, context=4096))
        for layers, experts in ((28, 0), (14, 0), (28, 26))
    )
    # Prompts bring experts over from layers of the host's, too.
    assert fewer.devices[0].compute - whole.devices[0].compute == lite.largest_experts > 0
    assert none.devices[0].compute == fewer.devices[0].compute
    assert none.devices[1].compute == whole.devices[1].compute < fewer.devices[1].compute  # the host computes one token
    tight = plan_gguf("lite", lite, machine(1, 8, 64), ModelSettings(gpu_layers=28, host_experts=0))
    assert tight.refusal is not None and "GPU 0" in tight.refusal.reason


def test_a_prompt_shorter_than_a_step_pays_for_all_experts_that_are_brought_over(lite: Shape) -> None:
    plan = plan_gguf("lite", lite, machine(1, 80, 128), ModelSettings(host_experts=26))
    brought = sum(layer.experts.bytes for layer in lite.layers)
    assert (plan.batch, plan.depth) == (2048, 1024)
    assert 0.8 < plan.prefill * brought / (1024 * 8e9) < 1  # pageable memory, and the rest of the layers


def test_layers_of_the_host_are_brought_over_for_a_prompt_where_there_is_a_gpu(lite: Shape) -> None:
    some, none = (plan_gguf("lite", lite, machine(1, 80, 128), ModelSettings(gpu_layers=n)) for n in (14, 0))
    brought = sum(layer.core.bytes + layer.experts.bytes for layer in lite.layers[:14])
    assert some.host_layers == 14 and none.host_layers == 27
    assert 0.8 < some.prefill * brought / (1024 * 8e9) < 1
    assert some.prefill > 5 * none.prefill and none.decode < some.decode  # answers are computed where the weights are


def test_a_plan_says_what_went_where_and_what_would_be_faster(lite: Shape) -> None:
    plan = plan_gguf("lite", lite, machine(1, 8, 64), ModelSettings(context=16384))
    assert any("GPU 0 (NVIDIA GeForce RTX 4090) holds attention" in one for one in plan.where)
    assert any("routed experts of layers" in one and one.startswith("Host memory") for one in plan.where)
    assert any("GPU memory for all of it" in one for one in plan.faster)
    more = plan_gguf("lite", lite, machine(1, 24, 64), ModelSettings(context=16384))
    assert more.decode > 1.3 * plan.decode


def test_recorded_errors_correct_the_next_plan_and_those_of_speed_only_one_placed_alike(
    lite: Shape, tmp_path: Path
) -> None:
    notes = Notes(tmp_path / "plans.json")

    def planned(**told: int) -> Plan:
        return plan_gguf("lite", lite, machine(1, 24, 64), ModelSettings(context=8192, **told), notes, "lite")

    plain, apart = planned(), planned(host_experts=13)
    notes.record("lite", compute=1.2)
    notes.record(plain.speed_key, decode=0.5)
    wiser = planned()
    assert wiser.devices[0].compute == pytest.approx(1.2 * plain.devices[0].compute, rel=1e-6)
    assert wiser.decode == pytest.approx(plain.decode / 2) and wiser.raw_speed == plain.raw_speed
    assert planned(host_experts=13).decode == apart.decode


_FIRST = Config(
    "deepseek_v3", 8192, 384, 768, 128, 7, 6, 128, 64, 32, 64, 11, 4, q_lora_rank=128, n_shared_experts=1,
    first_k_dense_replace=1, routed_scaling_factor=2.0, norm_topk_prob=True, max_position_embeddings=4096,
    tie_word_embeddings=True,
)  # fmt: skip
"""The embedded model's shape of 0.1.0"""


@pytest.mark.parametrize(
    ("kind", "told", "gpu", "host", "prompt", "answer"),
    [
        ("Q8_0", {}, 20626.0, 544.4, 9476, 195.9),
        ("Q8_0", {"host_experts": 26}, 2446.0, 96.4, 484, 37.0),
        ("Q8_0", {"host_experts": 13}, 9947.0, 96.4, 1046, 63.9),
        ("F16", {}, 299.9, 38.1, 46261, 1286),
    ],
)
def test_plans_for_an_h100_are_what_was_measured_there(
    tmp_path: Path, kind: str, told: dict[str, int], gpu: float, host: float, prompt: float, answer: float
) -> None:
    # Measured: 16 cores, CUDA 13, V2-Lite's shape in Q8_0 and the first embedded model's in F16 (placement_bench.py).
    config = SHAPES["v2-lite"] if kind == "Q8_0" else _FIRST
    shape = read_shape(gguf_header(config, tmp_path / "x.gguf", kind))
    here = replace(machine(1, 80, 128), host_bandwidth=1.05e11)
    plan = plan_gguf("x", shape, here, ModelSettings(**told))
    first, other = plan.devices
    assert (first.total - first.runtime) / (1 << 20) == pytest.approx(gpu, rel=0.01)
    assert (other.cache + other.compute) / (1 << 20) == pytest.approx(host, rel=0.01)
    assert plan.prefill == pytest.approx(prompt, rel=0.1) and plan.decode == pytest.approx(answer, rel=0.1)


@pytest.mark.parametrize(
    ("gpus", "gib", "host", "ranks", "expected"),
    [
        (1, 80, 128, 1, "All routed experts are on the GPUs."),
        (2, 24, 64, 2, "All routed experts are on the GPUs."),
        (1, 24, 64, 1, "wait in pinned host memory"),
        (0, 0, 64, 1, "Everything is in host memory"),
    ],
)
def test_the_torch_engine_spreads_and_spills_as_it_would(
    tmp_path: Path, gpus: int, gib: int, host: int, ranks: int, expected: str
) -> None:
    plan = plan_folder(SHAPES["v2-lite"], tmp_path, machine(gpus, gib, host), ModelSettings(context=32768))
    assert plan.fits and plan.ranks == ranks and any(expected in one for one in plan.where)
    assert all(one.total <= one.available for one in plan.devices)
    held = sum(one.weights for one in plan.devices)
    assert 31.4e9 < held < 33e9 + (ranks - 1) * 2e9  # each rank has embedding, norms and routers of its own


def test_the_torch_engine_names_a_gguf_that_would_fit(tmp_path: Path) -> None:
    plan = plan_folder(SHAPES["v2-lite"], tmp_path, machine(0, 0, 16), ModelSettings())
    assert plan.refusal is not None and plan.refusal.largest_quantization == "Q6_K (GGUF)"


def plan_folder(config: Config, folder: Path, here: Machine, settings: ModelSettings) -> Plan:
    from model.plan.torch_plan import plan_torch

    made = safetensors_headers(config, folder / "model")
    return plan_torch("folder", made, read_shape(made), here, settings)


def test_without_flash_attention_for_its_widths_a_gpu_holds_every_heads_scores(lite: Shape) -> None:
    odd = replace(lite, dims=replace(lite.dims, latent_rank=128, rotary=32))
    for shape, scores in ((lite, False), (odd, True)):
        settings = ModelSettings(context=16384, host_experts=0, cache_type="f16")
        plan = plan_gguf("x", shape, machine(1, 80, 64), settings)
        step = plan.batch * 4 * shape.dims.heads * 16384
        assert (plan.devices[0].compute > step) == scores
    assert plan_gguf("x", odd, machine(0, 0, 64), settings).devices[0].compute < step
    quantised = settings.model_copy(update={"cache_type": "q8_0"})  # which llama.cpp reads by flash attention alone
    assert plan_gguf("x", odd, machine(1, 80, 64), quantised).devices[0].compute < step


def test_flash_attention_on_a_gpu_is_told_from_the_widths_of_keys_and_values(lite: Shape) -> None:
    for key, value, there in ((128, 128, True), (192, 128, True), (192, 192, False), (48, 48, False)):
        assert replace(lite.dims, latent_rank=0, key=key, value=value).flash_on_gpu == there
