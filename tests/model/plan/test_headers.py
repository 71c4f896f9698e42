"""Headers of GGUF files and of safetensors, and what a machine and earlier plans tell."""

import json
import math
import os
import struct
from pathlib import Path

import pytest

from model.errors import BadCheckpoint
from model.plan.gguf_header import BLOCKS, parts, read_gguf
from model.plan.machine import Machine, disk_rate, this_machine, visible_gpus
from model.plan.memory import Last, cache_layer_bytes, compute_bytes, host_input_bytes
from model.plan.notes import Errors, Notes
from model.plan.shape import Dims, read_shape
from model.random_weights import SHAPES
from tests.model.plan.headers import gguf_header

GROUPED = Dims(hidden=4096, heads=32, kv_heads=8, key=128, value=128, vocabulary=128256, inner=14336)


def test_block_sizes_are_those_of_the_gguf_package() -> None:
    constants = pytest.importorskip("gguf.constants", reason="the gguf package is not installed (extra gguf)")
    known = {int(kind): (kind.name, *size) for kind, size in constants.GGML_QUANT_SIZES.items()}
    assert {number: known[number] for number in BLOCKS} == dict(BLOCKS)


def test_a_header_is_read_without_weights(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed (extra gguf)")
    file = gguf_header(SHAPES["v2-lite"], tmp_path / "lite.gguf", "Q8_0")
    header = read_gguf(file)
    assert file.stat().st_size < 100_000
    assert header.architecture == "deepseek2" and header.number("expert_count") == 64
    experts = next(one for one in header.tensors if one.name == "blk.1.ffn_gate_exps.weight")
    assert experts.shape == (2048, 1408, 64) and experts.bytes == 2048 * 1408 * 64 * 34 // 32


def test_a_damaged_or_cut_header_is_named(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed (extra gguf)")
    whole = gguf_header(SHAPES["v2-lite"], tmp_path / "lite.gguf").read_bytes()
    file = tmp_path / "bad.gguf"
    for content in (b"", b"GGUF", whole[:2000], b"GGML" + whole[4:], whole[:8] + b"\xff" * 16 + whole[24:]):
        file.write_bytes(content)
        with pytest.raises(BadCheckpoint, match=r"bad\.gguf"):
            read_gguf(file)
    with pytest.raises(BadCheckpoint, match="Finish the download"):
        parts(tmp_path / "x-00001-of-00002.gguf")


@pytest.mark.parametrize(
    ("said", "tensors", "reason"),
    [
        pytest.param({}, 0, "lacks the weights of its layers", id="a vocabulary alone"),
        pytest.param({"block_count": 3_000_000}, 2, "lacks the weights of its layers", id="more layers than tensors"),
        pytest.param({"block_count": math.inf}, 2, "says neither its layers", id="no number"),
        pytest.param({"embedding_length": -64}, 2, "says neither its layers", id="less than nothing"),
        pytest.param({"nextn_predict_layers": 9}, 2, "says neither its layers", id="predictors alone"),
        pytest.param({"list": b"\x09\0\0\0" + b"\x09\0\0\0\1\0\0\0\0\0\0\0" * 2000}, 2, "lists", id="lists in lists"),
    ],
)
def test_a_header_that_describes_no_model_is_named(
    said: dict[str, float | bytes], tensors: int, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(BadCheckpoint, match=reason):
        read_shape(_header(tmp_path / "odd.gguf", said, tensors))


@pytest.mark.parametrize("context", [0, -5])
def test_a_window_of_no_tokens_is_as_good_as_none(context: int, tmp_path: Path) -> None:
    assert read_shape(_header(tmp_path / "odd.gguf", {"context_length": context}, 2)).trained_context == 4096


def _header(file: Path, said: dict[str, float | bytes], tensors: int) -> Path:
    """A header of version 3 with so many tensors, one a layer; `said` goes over what a model of two layers says."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    sizes = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4} | said
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    for key, value in sizes.items():
        kind = value if isinstance(value, bytes) else struct.pack("<Id", 12, value)
        pairs.append(text(f"llama.{key}") + kind)
    infos = [text(f"blk.{number}.attn_q.weight") + struct.pack("<IQQIQ", 2, 64, 64, 0, 0) for number in range(tensors)]
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, len(pairs)) + b"".join(pairs + infos))
    return file


def test_a_folder_without_all_its_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SHAPES["v2-lite"].to_json()))
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        read_shape(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0{]}  ")
    with pytest.raises(BadCheckpoint, match="no safetensors file"):
        read_shape(tmp_path)


def test_a_token_in_the_cache_takes_what_its_attention_keeps() -> None:
    assert GROUPED.attention == "GQA" and cache_layer_bytes(GROUPED, 256, "f16") == 256 * 2 * 8 * 128 * 2
    assert cache_layer_bytes(GROUPED, 256, "q8_0") * 32 == cache_layer_bytes(GROUPED, 256, "f16") * 17
    with_scores = compute_bytes(GROUPED, 8192, 512, flash=False)
    assert with_scores - compute_bytes(GROUPED, 8192, 512, flash=True) > 2 * 512 * 32 * 8192


LITE = Dims(
    hidden=2048, heads=16, kv_heads=1, key=192, value=128, vocabulary=102400, inner=10944, expert_inner=1408,
    experts=64, used=6, latent_rank=512, rotary=64,
)  # fmt: skip
V3 = Dims(
    hidden=7168, heads=128, kv_heads=1, key=192, value=128, vocabulary=129280, inner=18432, expert_inner=2048,
    experts=256, used=8, latent_rank=512, rotary=64,
)  # fmt: skip


@pytest.mark.parametrize(
    ("dims", "context", "flash", "mebibytes"),
    [
        (LITE, 1024, True, 212.0), (LITE, 131072, True, 240.26), (LITE, 16384, False, 602.27),
        (V3, 1024, True, 409.01), (V3, 131072, True, 536.01), (V3, 131072, False, 33416.01),
        (GROUPED, 4096, True, 266.5), (GROUPED, 131072, False, 8492.01),
    ],
)  # fmt: skip
def test_intermediate_results_are_those_of_llama_cpp(dims: Dims, context: int, flash: bool, mebibytes: float) -> None:
    # Measured: its dry allocations (no_alloc) for headers of these shapes, 512 tokens at once.
    assert compute_bytes(dims, context, 512, flash=flash) == pytest.approx(mebibytes * (1 << 20), rel=0.13)


@pytest.mark.parametrize(
    ("last", "context", "brought", "mebibytes"),
    [("gpu", 131072, 0, 1025.5), ("gpu", 16384, 187, 1041.5), ("brought", 16384, 187, 833.5)],
)
def test_on_a_gpu_what_is_brought_for_a_layer_has_room_in_what_the_logits_need(
    last: Last, context: int, brought: int, mebibytes: float
) -> None:
    # Measured: V2-Lite in Q8_0 on an H100, 2,048 tokens at once, experts of all or half of the layers on the host.
    needed = compute_bytes(LITE, context, 2048, flash=True, last=last, brought=brought << 20)
    assert needed == pytest.approx(mebibytes * (1 << 20), rel=0.02)
    many = compute_bytes(LITE, context, 2048, flash=True, last=last, brought=2 << 30)
    assert (2 << 30) < many < (3 << 30)


def test_inputs_reach_a_gpu_through_pinned_memory() -> None:
    for context, mebibytes in ((131072, 544.04), (16384, 96.04)):  # measured
        assert host_input_bytes(LITE, context, 2048, flash=True) == pytest.approx(mebibytes * (1 << 20), rel=1e-4)


def test_this_machine_is_described() -> None:
    here: Machine = this_machine()
    assert 0 < here.host_free <= here.host_total and 1 <= here.cores <= (os.cpu_count() or 1)
    assert 1e9 < here.host_bandwidth < 5e12


def test_gpus_are_those_that_the_environment_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    rows = [f"{number}, GPU-{number}{number}, NVIDIA GeForce RTX 4090, 24564, {24000 - number}" for number in range(3)]
    tool.write_text("#!/bin/sh\n" + "\n".join(f"echo '{row}'" for row in rows))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [one.free >> 20 for one in visible_gpus()] == [24000, 23999, 23998]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-00")
    assert [one.free >> 20 for one in visible_gpus()] == [23998, 24000]
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9")
    assert visible_gpus() == []


def test_the_disk_is_timed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1 << 20))
    assert disk_rate(tmp_path / "x") > 0


def test_errors_are_kept_and_nonsense_is_not(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "plans.json")
    assert notes.errors("a") == Errors()
    notes.record("a", compute=1.25)
    notes.record("a", decode=0.5, prefill=1e9)
    notes.record("b", compute=float("nan"))
    assert Notes(tmp_path / "plans.json").errors("a") == Errors(compute=1.25, decode=0.5)
    assert notes.errors("b") == Errors()
    (tmp_path / "plans.json").write_text('{"a": {"compute": "x", "decode": 2}}')
    assert notes.errors("a") == Errors(decode=2)
    (tmp_path / "plans.json").write_text("[")
    assert notes.errors("a") == Errors()
    Notes(None).record("a", compute=2.0)
    Notes(tmp_path / "gone" / "plans.json").record("a", compute=2.0)  # cannot be written
    assert [one.name for one in tmp_path.iterdir()] == ["plans.json"]
