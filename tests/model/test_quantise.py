"""Conversion to llama.cpp's types, against its own reading of the files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import ModelError, NotEnoughSpace
from model.settings import ModelSettings
from tests.model.gguf_files import TEXT, with_tokenizer

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (extra gguf)")
gguf = pytest.importorskip("gguf", reason="the gguf package is not installed (extra gguf)")

from model.llama_engine import LlamaEngine  # noqa: E402  after the skips
from model.plan.shape import read_shape  # noqa: E402
from model.quantise import convert  # noqa: E402

Make = Callable[..., tuple[Path, Any]]
SETTINGS = ModelSettings(threads=1, cache_type="f32", gpu_layers=0)
WIDE = {"hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 256}
"""Rows that K-quants divide."""


@pytest.fixture(scope="module")
def folder(make_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizer(make_checkpoint(3, **WIDE)[0], tmp_path_factory.mktemp("quantise") / "wide", 320)


def score(file: Path) -> float:
    engine = LlamaEngine(file, SETTINGS)
    try:
        return engine.score(TEXT[0], [TEXT[1]])[0].mean
    finally:
        engine.close()


def test_smaller_types_lose_more(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    made = {
        kind: convert(folder, tmp_path / f"{kind}.gguf", kind, lambda *step: told.append(step), threads=1)  # type: ignore[arg-type]  # a test's own list of types
        for kind in ("f32", "q8_0", "q4_k_m")
    }
    assert [made[kind].types.get(name, 0) > 10 for kind, name in (("q8_0", "Q8_0"), ("q4_k_m", "Q4_K"))] == [True, True]
    assert made["q4_k_m"].bits < made["q8_0"].bits < 10
    assert {what for *_, what in told} == {"writing", "writing F16", "to q8_0", "to q4_k_m"}
    assert all(done <= total for done, total, _ in told)
    whole, half, quarter = (score(one.file) for one in made.values())
    assert abs(half - whole) < min(0.05, abs(quarter - whole)) and abs(quarter - whole) < 1.0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["f32.gguf", "q4_k_m.gguf", "q8_0.gguf"]


def test_rows_that_a_k_quant_does_not_divide_keep_another_type(make_checkpoint: Make, tmp_path: Path) -> None:
    narrow = with_tokenizer(make_checkpoint(3)[0], tmp_path / "narrow", 320)
    made = convert(narrow, tmp_path / "narrow.gguf", "q4_k_m", threads=1)
    assert "Q4_K" not in made.types and {"Q5_0", "F16"} <= made.types.keys()
    assert score(made.file) < 0


def test_predictors_are_in_the_file_and_out_of_the_way(tmp_path: Path) -> None:
    from model.random_weights import SHAPES, random_model
    from model.saving import save_model
    from model.torch_engine import TorchEngine

    config = replace(
        SHAPES["v3"], vocab_size=320, hidden_size=64, intermediate_size=96, moe_intermediate_size=32,
        num_hidden_layers=3, num_attention_heads=4, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16,
        qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=16, num_experts_per_tok=4, first_k_dense_replace=1,
        fp8_block=None, max_position_embeddings=512, initializer_range=0.2,
    )  # fmt: skip
    (tmp_path / "made").mkdir()
    save_model(random_model(config, torch.float32, torch.device("cpu")), tmp_path / "made", torch.float32)
    folder = with_tokenizer(tmp_path / "made", tmp_path / "mtp", 320)
    made = convert(folder, tmp_path / "mtp.gguf", "f32")
    names = {tensor.name for tensor in gguf.GGUFReader(made.file).tensors}
    assert {"blk.3.nextn.eh_proj.weight", "blk.3.nextn.shared_head_norm.weight", "blk.3.ffn_up_exps.weight"} <= names
    shape = read_shape(made.file)
    assert len(shape.layers) == 3 and shape.of("predictors").numbers > 16 * 3 * 64 * 32
    ours, theirs = TorchEngine(folder, SETTINGS), LlamaEngine(made.file, SETTINGS)
    for mine, other in zip(ours.score(TEXT[0], TEXT[1:3]), theirs.score(TEXT[0], TEXT[1:3]), strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-3)
    theirs.close()


def test_an_interruption_leaves_nothing_and_a_failure_is_told(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        if what == "to q8_0":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder, tmp_path / "x.gguf", "q8_0", stop, threads=1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x.gguf.part").mkdir()  # what cannot be written
    with pytest.raises((ModelError, OSError)):
        convert(folder, tmp_path / "x.gguf", "q8_0", threads=1)
    assert not (tmp_path / "x.gguf").exists()


def test_a_full_disk_is_told_before_anything_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(NotEnoughSpace, match="are free"):
        convert(folder, tmp_path / "x.gguf", "q8_0")
    assert list(tmp_path.iterdir()) == []


def test_the_name_is_that_of_the_card(folder: Path, tmp_path: Path) -> None:
    (folder / "loci.json").write_text(json.dumps({"name": "Harbour"}))
    convert(folder, tmp_path / "x.gguf", "f16")
    assert read_shape(tmp_path / "x.gguf").name == "Harbour"
    (folder / "loci.json").unlink()
