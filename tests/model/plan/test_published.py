"""Plans of models that are not here yet, and for GPUs that the installed library cannot use."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from model.errors import UnknownModel
from model.plan import make
from model.plan.machine import GIB, Machine, gpu
from model.plan.make import make_plan
from model.settings import ModelSettings

MACHINE = Machine((gpu("NVIDIA GeForce RTX 4090", 24 * GIB, 23 * GIB),), 64 * GIB, 60 * GIB, 8, frozenset(), 5e10)


@pytest.fixture(autouse=True)
def nothing_pulled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_known_model_is_planned_by_its_published_shape() -> None:
    made = make_plan("hf:unsloth/GLM-4.7-Flash-GGUF:Q4_K_M", ModelSettings(), machine=MACHINE)
    assert made.fits and made.name == "GLM-4.7-Flash" and made.quantization == "Q4_K_M"
    assert sum(made.weights.values()) == pytest.approx(29.9e9 * 4.9 / 8, rel=0.02)
    assert made.where[0].endswith("loci model pull hf:unsloth/GLM-4.7-Flash-GGUF:Q4_K_M")
    # One whose publisher offers no GGUF is named by its own repository, and converted.
    lite = make_plan("hf:deepseek-ai/DeepSeek-V2-Lite-Chat:q8_0", ModelSettings(), machine=MACHINE)
    assert lite.fits and "loci model convert" in lite.where[0]


def test_without_a_quantisation_the_mend_names_them() -> None:
    with pytest.raises(UnknownModel, match=r"loci model pull .*DeepSeek-V3\.1:Q4_K_M \(Q8_0"):
        make_plan("hf:deepseek-ai/DeepSeek-V3.1", ModelSettings(), machine=MACHINE)


def test_what_the_table_lacks_has_to_be_fetched() -> None:
    with pytest.raises(UnknownModel, match="Fetch it first"):
        make_plan("hf:some/model:Q4_K_M", ModelSettings(), machine=MACHINE)


@pytest.mark.parametrize(("built", "used"), [(True, True), (None, True), (False, False)])
def test_gpus_count_only_where_the_library_uses_them(
    built: bool | None, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`None`: it is not installed, and may be built either way."""
    monkeypatch.setattr(make, "this_machine", lambda: MACHINE)
    monkeypatch.setattr(make, "uses_gpus", lambda: built)
    made = make_plan("hf:unsloth/GLM-4.7-Flash-GGUF:Q4_K_M", ModelSettings())
    assert made.fits and (made.gpu_layers > 0) == used
    assert any("GGML_CUDA" in one for one in made.faster) != used
    large = make_plan("hf:unsloth/DeepSeek-V3.1-GGUF:Q4_K_M", ModelSettings())
    assert large.refusal is not None and ("GGML_CUDA" in large.refusal.reason) != used
