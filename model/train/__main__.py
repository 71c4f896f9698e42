"""`python -m model.train RECIPE.toml --corpus DIR --out DIR`: tokenise, build question rows, train, export.

What is already in the out folder is kept, so the same command goes on after an interruption.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from model.train.corpus import pack
from model.train.evaluate import evaluate_rows
from model.train.export import export
from model.train.recipe import read_recipe
from model.train.tokenizer import sample, train_tokenizer
from model.train.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with NN.txt.xz, validation and questions")
    parser.add_argument("--out", type=Path, required=True, help="receives log, checkpoint and the exported model")
    parser.add_argument("--data", type=Path, help="packed tokens and rows (default: OUT/data)")
    parser.add_argument("--tokenizer", type=Path, help="use this tokenizer.json instead of training one")
    parser.add_argument("--rows", type=int, default=300_000, help="question rows to build")
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) - 2, 1))
    parser.add_argument("--initial", type=Path, help="folder of a model to start from")
    parser.add_argument("--evaluate", type=int, default=900, help="held-out question rows to measure at the end")
    arguments = parser.parse_args()

    recipe = read_recipe(arguments.recipe)
    data = arguments.data or arguments.out / "data"
    data.mkdir(parents=True, exist_ok=True)
    tokenizer = data / "tokenizer.json"
    if arguments.tokenizer:
        shutil.copyfile(arguments.tokenizer, tokenizer)
    elif not tokenizer.exists():
        vocabulary = recipe.config().vocab_size
        train_tokenizer(sample(arguments.corpus, 40_000_000), vocabulary).save(str(tokenizer))
    # Building rows is slow Python on the CPU: it runs beside the first stages unless they already need it.
    building = None
    if any(stage.data == "rows" or stage.row_share for stage in recipe.stages) and not (data / "rows").exists():
        command = [sys.executable, "-m", "model.train.rows", "--corpus", str(arguments.corpus)]
        command += ["--tokenizer", str(tokenizer), "--out", str(data / "rows.partial")]
        command += ["--rows", str(arguments.rows), "--workers", str(arguments.workers)]
        building = subprocess.Popen(command)
    pack(arguments.corpus, tokenizer, data, arguments.workers)
    if building is not None:
        if building.wait() != 0:
            sys.exit("Building question rows failed.")
        (data / "rows.partial").rename(data / "rows")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(recipe, data, arguments.out, device, arguments.initial)
    trainer.run()
    export(trainer.model, tokenizer, arguments.out / "model")
    if (data / "rows").exists() and arguments.evaluate:
        measured = evaluate_rows(trainer.model, arguments.corpus, tokenizer, arguments.evaluate)
        (arguments.out / "evaluation.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
