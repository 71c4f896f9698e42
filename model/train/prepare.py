"""Makes of a corpus folder what training reads: a tokenizer, packed tokens, question rows. What is there is kept."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from model.errors import BadRecipe, TrainingFailed
from model.train.corpus import corpus_files, pack
from model.train.recipe import Recipe
from model.train.tokenizer import sample, train_tokenizer

_SAMPLE = 40_000_000
"""Characters from which a tokenizer is learned."""


def prepare(
    recipe: Recipe,
    corpus: Path,
    data: Path,
    workers: int,
    tokenizer: Path | None,
    dropped: Path | None,
    say: Callable[[str], None],
) -> None:
    """Fill `data` with `tokenizer.json` (a copy of `tokenizer`, or trained) and the packed corpus without `dropped`.

    :raises BadRecipe: the corpus is not there or lacks a file that is needed, it was packed with another list, or the
        tokenizer has more entries than the model.
    """
    try:
        corpus_files(corpus)
    except FileNotFoundError as error:
        raise BadRecipe(f"{error}.", "Name a folder with 00.txt.xz and so on, see docs/TRAINING.md.") from None
    made = {"validation.txt.xz": data / "validation.u16"} | (
        {"questions.jsonl.xz": _rows(data)} if recipe.needs_rows else {}
    )
    for name, result in made.items():
        if not (corpus / name).is_file() and not result.exists():
            raise BadRecipe(f"{corpus} holds no {name}, which the recipe needs.", "Add it, see docs/TRAINING.md.")
    data.mkdir(parents=True, exist_ok=True)
    if dropped is not None:
        _keep_list(dropped, data)
    kept = data / "tokenizer.json"
    vocabulary = recipe.config().vocab_size
    if tokenizer is not None:
        shutil.copyfile(tokenizer, kept)
    elif not kept.exists():
        say(f"Training a tokenizer of {vocabulary:,} entries.")
        train_tokenizer(sample(corpus, _SAMPLE), vocabulary).save(str(kept))
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(kept)).get_vocab_size()
    if found > vocabulary:
        raise BadRecipe(f"{kept} has {found:,} entries, the model {vocabulary:,}.", "Remove it, or give another.")
    say("Packing the corpus.")
    pack(corpus, kept, data, workers)


def _rows(data: Path) -> Path:
    return data / "rows"


def _keep_list(dropped: Path, data: Path) -> None:
    """Put the list beside the tokenizer, where packing and question rows look for it."""
    if not dropped.is_file():
        raise BadRecipe(f"There is no list {dropped}.", "Write it with python -m model.train.decontaminate.")
    there = data / "dropped.json"
    if there.exists() and there.read_bytes() == dropped.read_bytes():
        return
    if any(data.glob("*.u16")):
        raise BadRecipe(f"{data} was packed without the list {dropped}.", "Remove that folder, or name another.")
    shutil.copyfile(dropped, there)


class RowsBuilding:
    """Question rows on their way to `data/rows`: slow work for CPUs, done beside the stages that need none."""

    def __init__(self, corpus: Path, data: Path, count: int, workers: int, fresh: int = 0) -> None:
        """`fresh`: how many rows to build of questions that are then left to policy optimisation."""
        self._done, self._partial = _rows(data), data / "rows.partial"
        self._process: subprocess.Popen[bytes] | None = None
        if not self._done.exists():
            shutil.rmtree(self._partial, ignore_errors=True)
            command = [sys.executable, "-m", "model.train.rows", "--corpus", str(corpus)]
            command += ["--tokenizer", str(data / "tokenizer.json"), "--out", str(self._partial)]
            command += ["--rows", str(count), "--workers", str(workers), "--fresh", str(fresh)]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def wait(self) -> None:
        """Return when all rows are there.

        :raises TrainingFailed: they could not be built.
        """
        if self._process is None:
            return
        if self._process.wait() != 0:
            raise TrainingFailed("Building question rows failed; what went wrong stands above.")
        self._partial.rename(self._done)
        self._process = None

    def close(self) -> None:
        """Stop what is not done."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
