"""`python -m model.train.mean OUT FOLDER FOLDER ...`: the mean of models trained on from the same weights.

Runs that went on from one pretrained model lie in one basin of the loss, and the mean of their weights is a better
model than each ("model soups", Wortsman et al., 2022). Runs that began apart give nonsense: measure what comes out.
Each FOLDER is an exported model or RUN/stages/NAME; the tokenizer is taken from the first that has one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from model.checkpoint import load_model
from model.config import read_config
from model.deepseek import DeepseekForCausalLM
from model.errors import BadRecipe, ModelError
from model.tensors import named_tensors
from model.train.export import export


def mean_model(folders: Sequence[Path]) -> DeepseekForCausalLM:
    """The model of `folders[0]` in float32, with every tensor the mean over `folders`.

    :raises BadRecipe: the models have not the same shape.
    """
    cpu = torch.device("cpu")
    shapes = [
        {k: v for k, v in read_config(folder).to_json().items() if k != "quantization_config"} for folder in folders
    ]
    for folder, shape in zip(folders, shapes, strict=True):
        if differing := sorted(k for k in shape.keys() | shapes[0].keys() if shape.get(k) != shapes[0].get(k)):
            raise BadRecipe(f"{folder} differs from {folders[0]} in {', '.join(differing)}: a mean needs one shape.")
    model = load_model(folders[0], torch.float32, cpu)
    sums = named_tensors(model)
    for folder in folders[1:]:
        for name, tensor in named_tensors(load_model(folder, torch.float32, cpu)).items():
            sums[name] += tensor
    for tensor in sums.values():
        tensor /= len(folders)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train.mean", description=__doc__)
    parser.add_argument("out", type=Path, help="receives the exported model")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    arguments = parser.parse_args()
    tokenizer = next((f / "tokenizer.json" for f in arguments.folders if (f / "tokenizer.json").exists()), None)
    if tokenizer is None:
        sys.exit("No FOLDER holds a tokenizer.json: name an exported model (RUN/model) among them.")
    try:
        model = mean_model(arguments.folders)
    except ModelError as error:
        sys.exit(f"{error.title}: {error}")
    export(model, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
