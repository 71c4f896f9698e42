"""The mean of models: every tensor of it, and what has no mean."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_model
from model.errors import BadRecipe
from model.saving import save_model
from model.tensors import named_tensors
from model.train.mean import mean_model
from model.train.recipe import Stage, read_recipe
from model.train.trainer import Trainer
from tests.model.train.conftest import MODEL, RECIPE, TEXT

STAGES = ("text", "again")


def _saved(data: Path, folder: Path, seed: int, **changed: int) -> Path:
    trainer = Trainer(replace(RECIPE, seed=seed, model=MODEL | changed), data, folder / "run", torch.device("cpu"))
    for tensor in named_tensors(trainer.model).values():
        tensor += seed  # zeros at the start, as biases are, would agree in any case
    save_model(trainer.model, folder / "model", torch.float32)
    return folder / "model"


def test_every_tensor_is_the_mean(data: Path, tmp_path: Path) -> None:
    folders = [_saved(data, tmp_path / str(seed), seed) for seed in (1, 2, 5)]
    parts = [named_tensors(load_model(folder, torch.float32, torch.device("cpu"))) for folder in folders]
    found = named_tensors(mean_model(folders))
    assert found.keys() == parts[0].keys()
    for name, tensor in found.items():
        expected = sum(part[name].double() for part in parts) / 3
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-5, msg=name)


def test_models_of_two_shapes_have_no_mean(data: Path, tmp_path: Path) -> None:
    folders = [_saved(data, tmp_path / "a", 1), _saved(data, tmp_path / "b", 1, intermediate_size=96)]
    with pytest.raises(BadRecipe, match=r"differs from .* in intermediate_size"):
        mean_model(folders)


def test_a_stage_takes_the_mean_of_earlier_ones(data: Path, tmp_path: Path) -> None:
    stages = (TEXT, replace(TEXT, name="again"), Stage("mean", "mean", of=("text", "again")))
    trainer = Trainer(replace(RECIPE, stages=stages), data, tmp_path, torch.device("cpu"))
    assert trainer.run()
    kept = [named_tensors(load_model(tmp_path / "stages" / one, torch.float32, torch.device("cpu"))) for one in STAGES]
    assert not torch.equal(kept[0]["model.norm.weight"], kept[1]["model.norm.weight"])
    for name, tensor in named_tensors(trainer.model).items():
        torch.testing.assert_close(tensor, (kept[0][name] + kept[1][name]) / 2, rtol=1e-5, atol=1e-5, msg=name)


def test_without_a_checkpoint_a_run_goes_on_after_the_last_stage_whose_weights_are_there(
    data: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, stages=(TEXT, replace(TEXT, name="again")))
    Trainer(replace(recipe, stages=recipe.stages[:1]), data, tmp_path, torch.device("cpu")).run()
    (tmp_path / "checkpoint.pt").unlink()
    with (tmp_path / "log.jsonl").open("a") as log:  # of a stage that was cut off
        log.write(json.dumps({"event": "step", "stage": "again", "step": 7, "loss": 99.0}) + "\n")
    trainer = Trainer(recipe, data, tmp_path, torch.device("cpu"))
    kept = named_tensors(load_model(tmp_path / "stages" / "text", torch.float32, torch.device("cpu")))
    for name, tensor in named_tensors(trainer.model).items():
        assert torch.equal(tensor, kept[name]), name
    trainer.run()
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in entries if entry["event"] == "stage"] == ["text", "again"]
    assert 99.0 not in [entry.get("loss") for entry in entries]


def test_what_is_left_of_a_run_of_another_shape_is_named(data: Path, tmp_path: Path) -> None:
    Trainer(replace(RECIPE, stages=(TEXT,)), data, tmp_path, torch.device("cpu")).run()
    other = replace(RECIPE, model=MODEL | {"intermediate_size": 96})
    with pytest.raises(BadRecipe, match=r"checkpoint\.pt holds a model of another shape"):
        Trainer(other, data, tmp_path, torch.device("cpu"))
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(BadRecipe, match=r"stages/text holds a model of another shape"):
        Trainer(other, data, tmp_path, torch.device("cpu"))


def test_a_run_that_could_not_make_its_mean_at_the_end_does_not_begin(data: Path, tmp_path: Path) -> None:
    stages = (TEXT, replace(TEXT, name="again"), Stage("mean", "mean", of=("text", "again")))
    Trainer(replace(RECIPE, stages=stages[:2]), data, tmp_path, torch.device("cpu")).run()
    shutil.rmtree(tmp_path / "stages" / "text")
    with pytest.raises(BadRecipe, match=r"the mean of text, which .* has not kept"):
        Trainer(replace(RECIPE, stages=stages), data, tmp_path, torch.device("cpu"))


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ('name = ".."\ndata = "text"\nsteps = 1', "a stage is named '..'"),
        ('name = ""\ndata = "text"\nsteps = 1', "a stage is named ''"),
        ('name = "/tmp/a"\ndata = "text"\nsteps = 1', "a stage is named '/tmp/a'"),
        ('name = "a"\ndata = "mean"', "names stages in `of`"),
        ('name = "a"\ndata = "text"\nsteps = 1\nof = ["b"]', "names stages in `of`"),
        ('name = "a"\ndata = "mean"\nof = ["b"]', "is of b, which does not come before it"),
    ],
)
def test_stages_have_names_and_a_mean_needs_some_before_it(stage: str, said: str, tmp_path: Path) -> None:
    dimensions = "\n".join(f"{name} = {json.dumps(value)}" for name, value in MODEL.items())
    (tmp_path / "recipe.toml").write_text(f"[model]\n{dimensions}\n[[stage]]\n{stage}\n")
    with pytest.raises(BadRecipe, match=said):
        read_recipe(tmp_path / "recipe.toml")
