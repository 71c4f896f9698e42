"""Whole runs: killed and gone on with, in several processes, stopped in time, and with recipes that cannot be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import load_model
from model.errors import BadRecipe
from model.train.group import Group
from model.train.recipe import read_recipe
from model.train.run import Options, train
from model.train.runlog import RunLog
from tests.model.train.conftest import MODEL

pytestmark = pytest.mark.usefixtures("one_thread")

STAGES = """
[[stage]]
name = "text"
data = "text"
steps = 16
length = 64
tokens = 512
micro_tokens = 256
row_share = 0.25

[[stage]]
name = "long"
data = "text"
steps = 6
length = 512
tokens = 1024
micro_tokens = 512
needle_share = 0.5
recompute = true
yarn = { factor = 4.0, original_context = 64, mscale_all_dim = 1.0 }
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "toy.toml"
    head = "seed = 3\nvalidation_tokens = 256\nvalidation_length = 64\nlog_every = 2\ncheckpoint_every = 1\n"
    model = "".join(
        f"{key} = {json.dumps(value)}\n" for key, value in (MODEL | {"max_position_embeddings": 64}).items()
    )
    file.write_text(f"{head}[model]\n{model}{STAGES}", encoding="utf-8")
    return file


def options(recipe: Path, corpus: Path, data: Path, out: Path, **more: object) -> Options:
    return Options(recipe, corpus, out, data=data, evaluate=0, workers=1, **more)  # type: ignore[arg-type]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "stages" / "long" / "model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, corpus: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert train(options(recipe, corpus, data, out), lambda entry: None)
    torch.set_num_threads(threads)
    return out


def test_a_run_killed_outright_goes_on_to_the_same_bits(
    undisturbed: Path, recipe: Path, corpus: Path, data: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "model.train", str(recipe), "--corpus", str(corpus), "--out", str(tmp_path)]
    command += ["--data", str(data), "--evaluate", "0", "--workers", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[3]
    )
    log, deadline = RunLog(tmp_path), time.monotonic() + 120
    while not any(entry["event"] == "step" and entry["step"] >= 6 for entry in log.entries()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    position = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["position"]
    assert position[:2] < (1, 6)
    assert train(options(recipe, corpus, data, tmp_path), lambda entry: None)
    expected = weights(undisturbed)
    for name, tensor in weights(tmp_path).items():
        assert torch.equal(tensor, expected[name]), name

    def steps(out: Path) -> list[tuple[str, int]]:
        return [(one["stage"], one["step"]) for one in RunLog(out).entries() if one["event"] == "step"]

    assert steps(tmp_path) == steps(undisturbed)  # nothing twice


def test_two_processes_learn_what_one_does(
    undisturbed: Path, recipe: Path, corpus: Path, data: Path, tmp_path: Path
) -> None:
    entries = []
    assert train(options(recipe, corpus, data, tmp_path, ranks=2), entries.append)
    expected, got = weights(undisturbed), weights(tmp_path)
    largest = max(
        float((got[name] - one).abs().max() / one.abs().max().clamp_min(1e-6)) for name, one in expected.items()
    )
    losses = [
        [one["loss"] for one in RunLog(out).entries() if one["event"] == "step"] for out in (undisturbed, tmp_path)
    ]
    print(f"largest difference {largest:.1e}")
    assert losses[1] == pytest.approx(losses[0], abs=2e-3)
    assert [one["loss"] for one in entries if one["event"] == "step"] == losses[1]


def test_the_exported_model_reads_as_far_as_the_last_stage(undisturbed: Path) -> None:
    model = load_model(undisturbed / "model", torch.float32, torch.device("cpu"))
    assert model.config.max_position_embeddings == 512
    assert model.config.yarn is not None and model.config.yarn.factor == 4.0
    assert len(model.mtp) == 1
    measured = json.loads((undisturbed / "evaluation.json").read_text())["text"]
    assert measured.keys() >= {"bits_per_character", "exported_nats_per_token", "draft_acceptance"}


def test_a_run_stops_in_time_and_goes_on(recipe: Path, corpus: Path, data: Path, tmp_path: Path) -> None:
    assert not train(options(recipe, corpus, data, tmp_path, stop_after=0.0), lambda entry: None)
    assert (tmp_path / "checkpoint.pt").exists() and not (tmp_path / "model").exists()


def test_processes_that_cannot_share_a_step_say_so() -> None:
    Group(1, 2).check_share(4, "text")
    with pytest.raises(BadRecipe, match="cannot share"):
        Group(1, 2).check_share(3, "text")


def test_what_is_wrong_with_a_recipe_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    head = "[model]\n[[stage]]\nname = 'a'\nsteps = 1\n"
    for body, named in (
        ("[model\n", "cannot be read"),
        (f"{head}", "data is missing"),
        (f"{head}data = 'text'\nlength = 65536\napart = true\n", "apart"),
        (f"{head}data = 'text'\nyarn = {{ factor = 2, windw = 1 }}\n", "windw"),
        (f"{head}data = 'text'\n[[stage]]\nname = 'a'\nsteps = 1\ndata = 'text'\n", "one name"),
        (f"{head}data = 'txt'\n", "data \\('txt'\\): .*'rows'"),
        (f"{head}data = 'text'\nlength = 'long'\n", "length"),
        (f"{head}data = 'text'\n", "model: .*vocab_size.* is missing"),
        (f"{head}data = 'text'\n".replace("[model]", "[model]\nkv_lora_rnk = 8"), "unknown keys kv_lora_rnk"),
    ):
        file.write_text(body, encoding="utf-8")
        with pytest.raises(BadRecipe, match=named):
            read_recipe(file)


@pytest.mark.parametrize("missing", ["validation.txt.xz", "questions.jsonl.xz"])
def test_a_corpus_without_what_the_recipe_needs_is_refused_first(
    recipe: Path, corpus: Path, tmp_path: Path, missing: str
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns(missing))
    with pytest.raises(BadRecipe, match=f"no {missing}"):
        train(options(recipe, tmp_path / "corpus", tmp_path / "data", tmp_path / "out"), lambda entry: None)
    assert not (tmp_path / "data").exists()


def test_a_stage_with_needles_ends_with_how_many_were_found(undisturbed: Path) -> None:
    ends = [entry for entry in RunLog(undisturbed).entries() if entry["event"] == "stage"]
    assert [entry["stage"] for entry in ends] == ["text", "long"]
    assert "needles_found" not in ends[0] and ends[1]["needle_answers"] > 0


def test_the_shipped_recipe_names_its_sources_and_can_be_followed() -> None:
    recipe = read_recipe(Path(str(resources.files("model.train"))) / "embedded.toml")
    assert len(recipe.sources) == 8 and all(one.terms for one in recipe.sources)
    assert all(
        stage.tokens % stage.micro_tokens == 0 and stage.micro_tokens % stage.length == 0 for stage in recipe.stages
    )


def test_the_documented_recipe_can_be_followed(corpus: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "TRAINING.md").read_text("utf-8")
    file = tmp_path / "toy.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    given = options(file, corpus, tmp_path / "data", tmp_path / "out", stop_after=0.0)
    assert not train(given, lambda entry: None)  # stopped after its first step, with nothing to complain about
