"""`loci model` and `loci eval`: what is shown, fetched and measured."""

from pathlib import Path
from typing import Any

import pytest

from tests.app import schemas
from tests.app.cli_run import Run
from tests.model.hub_server import serve


def test_a_model_is_pulled_and_told(loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serve({"name-Q8_0.gguf": b"GGUF"}) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        told = loci("model", "pull", "hf:org/name:Q8_0", "--json").json
        assert told["files"] == ["name-Q8_0.gguf"] and told["bytes"] == told["fetched"] == 4
        again = loci("model", "pull", "hf:org/name:Q8_0")
        assert again.out.strip() == told["folder"] and "0.00 of them fetched now" in again.err
        absent = loci("model", "pull", "hf:org/name:Q2_K")
        assert (absent.code, absent.out) == (2, "") and "It has Q8_0." in absent.err
    assert loci("model", "pull", "org/name").code == 2


def test_a_model_is_measured_beside_its_ceiling(loci: Run, tmp_path: Path) -> None:
    drawn = tmp_path / "rates.svg"
    words = ("model", "bench", "--random", "embedded", "--tokens", "2", "--repeats", "1", "--contexts", "8,16")
    told = loci(*words, "--batches", "1,2", "--json", "--plot", drawn).json
    assert [(row["context"], row["batch"]) for row in told["rows"]] == [(8, 1), (16, 1), (8, 2), (16, 2)]
    assert all(row["decode"] > 0 and row["decode_ceiling"] > 0 for row in told["rows"])
    assert told["cache_bytes_per_token"] == 8 * 160 * 4 and told["device"]["measured"]
    assert drawn.read_text("utf-8").startswith("<?xml") and "batch 2" in drawn.read_text("utf-8")
    shown = loci("model", "bench", "embedded", "--tokens", "2", "--repeats", "1", "--contexts", "8")
    assert "decode tok/s" in shown.out and len(shown.out.splitlines()) == 2 and "GB/s" in shown.err


def test_weights_that_no_memory_holds_are_not_drawn(loci: Run) -> None:
    refused = loci("model", "bench", "--random", "v3")
    assert refused.code == 1 and "The weights take" in refused.err
    assert "Drawing" not in refused.err


def test_experts_are_mapped_by_kind_of_text(loci: Run, tmp_path: Path) -> None:
    for name, text in (("code", "def f(x):\n    return x + 1\n" * 9), ("prose", "The harbour lay still. " * 9)):
        (tmp_path / name).with_suffix(".txt").write_text(text, "utf-8")
    words = ("model", "bench", "--experts", "--text", tmp_path / "code.txt", "--text", tmp_path / "prose.txt")
    drawn = tmp_path / "experts.png"
    told = loci(*words, "--thresholds", "0,0.2", "--plot", drawn, "--json").json
    assert [domain["domain"] for domain in told["domains"]] == ["code", "prose"]
    assert all(len(domain["counts"]) == 7 and len(domain["counts"][0]) == 16 for domain in told["domains"])
    assert told["specialists"][0]["lift"] > 1 and min(one["layer"] for one in told["specialists"]) >= 1
    assert [one["threshold"] for one in told["thresholds"]] == [0, 0.2] and told["thresholds"][1]["skipped"] > 0.1
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert "LIFT" in loci(*words).out
    assert loci("model", "bench", "--experts", "--in", "nothing").code == 2
    assert loci("model", "bench", "--thresholds", "0.1").code == 2
    assert loci("model", "bench", "--fp8").code == 2
    assert loci(*words, "--thresholds", "2").code == 2


def test_a_bench_that_cannot_be_is_refused_first(loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loci("model", "bench", "--contexts", "0").code == 2
    assert loci("model", "bench", "--random", "v9").code == 2
    assert loci("model", "bench", "--plot", tmp_path / "a.gif").code == 2
    monkeypatch.setattr("app.bench_plot.find_spec", lambda name: None)
    missing = loci("model", "bench", "--plot", tmp_path / "a.svg")
    assert missing.code == 1 and "[plot]" in missing.err


def test_models_are_listed_and_shown(loci: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loci("model", "list", "--json").json == [{"reference": "embedded", "in_use": True}]
    monkeypatch.setenv("LOCI_MODEL__GPU_LAYERS", "3")
    shown = loci("model", "show", "--json").json
    assert shown["active_parameters"] == 30_800_000 and shown["without_effect"] == ["model.gpu_layers"]
    assert "without effect on a model of the torch engine: model.gpu_layers." in loci("model", "show").err
    assert loci("model", "convert", home, home / "x.gguf").code != 0
    assert loci("model", "card").code in (0, 2)


def test_evaluations_print_the_stable_shape(loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import app.evaluation.retrieval as room

    result = {
        "dataset": "xquad",
        "items": 2,
        "metrics": {"recall@1": 0.5},
        "baselines": {"bm25": {"recall@1": 0.25}},
        "settings": {},
        "seconds": 0.1,
    }
    monkeypatch.setattr(room, "evaluate", lambda dataset, path, **settings: result | {"settings": settings})
    ran = loci("eval", "retrieval", "--dataset", "xquad", "--path", tmp_path, "--limit", 2, "--json")
    schemas.check(ran.json, schemas.EVAL)
    assert ran.json["settings"] == {"limit": 2, "reranker": ""}
    assert "recall@1 (bm25)" in loci("eval", "retrieval", "--dataset", "xquad", "--path", tmp_path).out
    assert loci("eval", "retrieval", "--dataset", "xquad", "--path", tmp_path / "none").code == 2
    assert "'locomo'" in loci("eval", "memory", "--dataset", "xquad", "--path", tmp_path).err


def test_a_data_set_without_items_is_refused(loci: Run, tmp_path: Path) -> None:
    (tmp_path / "xquad.json").write_text('{"data": []}')
    (tmp_path / "locomo.json").write_text("[]")
    for room, dataset in (("retrieval", "xquad"), ("grounding", "xquad"), ("memory", "locomo")):
        ran = loci("eval", room, "--dataset", dataset, "--path", tmp_path / f"{dataset}.json")
        assert ran.code != 0 and f"{dataset}.json holds no " in ran.err


def test_grounding_is_measured_with_the_model_that_is_named(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.evaluation.grounding as room

    result = {"dataset": "xquad", "items": 0, "metrics": {}, "baselines": {}, "settings": {}, "seconds": 0.0}

    def evaluate(dataset: str, path: Path, **options: Any) -> dict[str, Any]:
        engine = options.get("engine")
        return result | {"settings": {"engine": engine and type(engine()).__name__}}

    monkeypatch.setattr(room, "evaluate", evaluate)
    command = ("eval", "grounding", "--dataset", "xquad", "--path", tmp_path, "--json")
    assert loci(*command).json["settings"] == {"engine": None}
    assert loci(*command, "--model", "other.gguf").json["settings"] == {"engine": "FakeEngine"}


def test_a_model_is_converted_to_a_type_that_is_told(loci: Run, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (extra gguf)")
    from model.open import embedded_folder

    file = tmp_path / "embedded.gguf"
    told = loci("model", "convert", embedded_folder(), file, "--type", "Q8_0", "--json").json
    assert told["bytes"] == file.stat().st_size and told["types"]["Q8_0"] > 50 and 8 < told["bits"] < 9
    assert loci("model", "convert", embedded_folder(), file).code == 2  # it exists
    unknown = loci("model", "convert", embedded_folder(), tmp_path / "x.gguf", "--type", "q9")
    assert unknown.code == 2 and "q4_k_m" in unknown.err
