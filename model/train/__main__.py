"""`python -m model.train RECIPE.toml --corpus DIR --out DIR`: tokenise, build question rows, train, export.

What is already in the out folder is kept, so the same command goes on after an interruption. `loci model train` is the
same with a bar and plots; this door needs neither typer nor the rest of the assistant. Exit code 4: stopped in time,
and not done.
"""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from model.errors import ModelError
from model.train.run import Options, train
from model.train.runlog import Entry


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with NN.txt.xz, validation and questions")
    parser.add_argument("--out", type=Path, required=True, help="receives log, checkpoint and the exported model")
    parser.add_argument("--data", type=Path, help="packed tokens and rows (default: OUT/data)")
    parser.add_argument("--tokenizer", type=Path, help="use this tokenizer.json instead of training one")
    parser.add_argument("--dropped", type=Path, help="list of `model.train.decontaminate`: text that is left out")
    parser.add_argument("--initial", type=Path, help="folder of a model to start from")
    parser.add_argument("--rows", type=int, default=Options.rows, help="question rows to build")
    parser.add_argument("--workers", type=int, default=Options.workers, help="processes that prepare data")
    parser.add_argument("--evaluate", type=int, default=Options.evaluate, help="held-out rows to measure at the end")
    parser.add_argument("--ranks", type=int, default=Options.ranks, help="processes that train, one GPU each")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="stop at a checkpoint, to go on later")
    arguments = parser.parse_args()
    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    try:
        done = train(options, show)
    except ModelError as error:
        sys.exit(f"{error.title}: {error}")
    sys.exit(0 if done else 4)


def show(entry: Entry) -> None:
    if entry["event"] != "start":
        print(json.dumps(entry, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
