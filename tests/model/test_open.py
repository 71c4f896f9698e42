"""References to engines, without loading anything."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from model.errors import UnfitSetting, UnknownModel
from model.open import describe_reference, open_engine, resolve
from model.settings import ModelSettings


def test_the_torch_engine_tells_how_much_of_a_model_is_loaded(checkpoint: Path) -> None:
    calls: list[tuple[int, int]] = []
    open_engine(str(checkpoint), ModelSettings(), lambda done, total: calls.append((done, total))).close()
    size = (checkpoint / "model.safetensors").stat().st_size
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert {total for _, total in calls} == {calls[-1][0]} and 0.9 * size < calls[-1][0] < size


def test_a_folder_a_gguf_file_and_an_url_find_their_engines(checkpoint: Path, tmp_path: Path) -> None:
    assert resolve(str(checkpoint)).engine == "torch"
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert resolve(str(tmp_path / "a.gguf")).engine == "llama"
    assert resolve("http://127.0.0.1:8000/v1#name").engine == "remote"


@pytest.mark.parametrize(
    "reference",
    [
        "nonsense",
        "~no-such-user/x",
        "a\0b",
        "",
        "absent.gguf",
        "hf:broken",
        "hf:absent/model",
        "hf:absent/model:Q4_K_M",
    ],
)
def test_unknown_references_are_refused(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(UnknownModel):
        resolve(reference)
    with pytest.raises(UnknownModel, match=r"config\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notes.pdf", r"notes\.pdf is no model.*Give a \.gguf file"),
        ("model.safetensors", "Give the folder that it is in"),
        ("absent.gguf", "does not exist"),
        ("no/such", "does not exist"),
    ],
)
def test_a_path_that_is_no_model_says_what_it_is(name: str, said: str, tmp_path: Path) -> None:
    for one in ("notes.pdf", "model.safetensors"):
        (tmp_path / one).write_text("x")
    with pytest.raises(UnknownModel) as error:
        resolve(str(tmp_path / name))
    assert re.search(said, f"{error.value.message} {error.value.mend}")


def test_models_in_the_hugging_face_cache_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for name in ("config.json", "name-Q4_K_M.gguf", "name-Q4_K_S.gguf"):
        (snapshot / name).write_text("{}")
    assert resolve("hf:org/name").target == snapshot
    assert resolve("hf:org/name:q4_k_m").target == snapshot / "name-Q4_K_M.gguf"
    with pytest.raises(UnknownModel):
        resolve("hf:org/name:Q4_K")


def test_a_description_reads_no_weights(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    described = describe_reference(str(folder))
    opened = open_engine(str(checkpoint), ModelSettings()).describe()
    assert described.total_parameters == opened.total_parameters
    assert described.capabilities == opened.capabilities


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        ModelSettings(gpu_layer=3)  # type: ignore[call-arg]


def test_settings_that_an_engine_does_not_read_are_told() -> None:
    given = ModelSettings(threads=2, gpu_layers=3, speculate=0, cache_type="q8_0", timeout=9, retries=2)  # 2 is usual
    assert given.without_effect("torch") == ["cache_type", "gpu_layers", "timeout"]
    assert given.without_effect("llama") == ["timeout"]
    assert given.without_effect("remote") == ["cache_type", "gpu_layers", "speculate", "threads"]
    assert ModelSettings(cache_type="fp8").without_effect("torch") == []


@pytest.mark.parametrize(
    ("name", "value"), [("speculate", 2), ("device", "abacus"), ("context", 10**9), ("cache_type", "fp8")]
)
def test_a_setting_that_the_model_cannot_have_is_named(name: str, value: object, checkpoint: Path) -> None:
    settings = ModelSettings.model_validate({name: value})
    with pytest.raises(UnfitSetting, match=rf"model\.{name}") as refused:
        open_engine(str(checkpoint), settings).close()
    assert refused.value.exit_code == 2
