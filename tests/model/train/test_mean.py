"""The mean of models: every tensor of it, and what has no mean."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_model
from model.errors import BadRecipe
from model.saving import save_model
from model.tensors import named_tensors
from model.train.mean import mean_model
from model.train.trainer import Trainer
from tests.model.train.conftest import MODEL, RECIPE


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
