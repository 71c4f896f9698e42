"""What a stage of a recipe reads: micro-batches of packed text, question rows and needles; or questions to answer."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.errors import BadRecipe
from model.train.batches import ROW_WEIGHT, Mixture, RowStream, Stream, TextStream
from model.train.corpus import load_packed
from model.train.needles import NeedleStream
from model.train.questions import Questions
from model.train.recipe import Recipe
from model.train.row_files import load_rows
from model.train.rows import FRESH, HELD_OUT


def open_stream(
    recipe: Recipe, number: int, text: Sequence[NDArray[np.uint16]], data: Path, rows_ready: Callable[[], None]
) -> Stream:
    """The stream of stage `number`, over `text` and what else lies in `data`.

    :param rows_ready: returns when `data/rows` is complete; called only where rows are needed.
    :raises BadRecipe: there is too little text or too few rows for a single micro-batch.
    """
    stage, seed = recipe.stages[number], recipe.seed * 1000 + number
    try:
        plain = TextStream(text, stage.length, stage.micro_tokens, seed)
        stream: Stream = plain
        if stage.data == "rows" or stage.row_share:
            rows_ready()
            rows = RowStream(load_rows(data / "rows"), plain, stage.micro_tokens, seed)
            stream = rows if stage.data == "rows" else Mixture(plain, rows, stage.row_share, ROW_WEIGHT)
    except ValueError as error:
        raise BadRecipe(f"Stage {stage.name} of the recipe cannot begin: {error}.", "Give more data.") from error
    if stage.needle_share:
        stream = Mixture(stream, NeedleStream(plain, data / "tokenizer.json", seed), stage.needle_share)
    return stream


def open_again(recipe: Recipe, number: int, data: Path) -> Stream:
    """The same stream in another process, after `open_stream` has opened it in one."""
    return open_stream(recipe, number, load_packed(data), data, lambda: None)


def open_questions(
    recipe: Recipe, number: int, data: Path, rows_ready: Callable[[], None]
) -> tuple[Questions, Questions]:
    """The questions of stage `number`, and those that are held out to measure it, from `data/rows`.

    :param rows_ready: returns when `data/rows` is complete.
    :raises BadRecipe: there are none that fit.
    """
    stage, seed = recipe.stages[number], recipe.seed * 1000 + number
    rows_ready()
    rows = data / "rows"
    folders = rows / FRESH if stage.policy.fresh else rows, rows / HELD_OUT
    if missing := [str(folder) for folder in folders if not folder.exists()]:
        raise BadRecipe(f"{' and '.join(missing)} is not there.", f"Remove {rows}: the next run builds all of it.")
    try:
        asked, measured = (
            Questions(load_rows(folder), data / "tokenizer.json", stage.length, stage.policy.answer_tokens, seed)
            for folder in folders
        )
    except ValueError as error:
        raise BadRecipe(f"Stage {stage.name} of the recipe cannot begin: {error}.", "Give more data.") from error
    return asked, measured
