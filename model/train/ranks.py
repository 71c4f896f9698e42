"""Trains in several processes of this machine, one GPU each: each repeats the whole run on its share of the data.

The caller's process only watches: the first failure ends all, and the caller's end is theirs. They meet as the ranks of
a model do (see model/rank.py).
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model.errors import BadRecipe, ModelError, TrainingFailed
from model.rank import Task, join, remove
from model.shard import Shard
from model.train.group import Group
from model.train.runlog import Entry

if TYPE_CHECKING:
    from model.train.run import Options

_BEAT = 1.0
"""Seconds between two looks at whether the caller is still there."""


def run_ranks(options: "Options", until: float | None, observe: Callable[[Entry], None]) -> bool:
    """`train_rank` in `options.ranks` processes.

    :raises BadRecipe: there are fewer GPUs than ranks, or what a rank says is wrong with the recipe.
    :raises TrainingFailed: a rank ended.
    """
    if 0 < torch.cuda.device_count() < options.ranks:
        raise BadRecipe(
            f"{options.ranks} ranks need as many GPUs, and there are {torch.cuda.device_count()}.", "Ask for fewer."
        )
    context = get_context("spawn")
    folder = Path(tempfile.mkdtemp(prefix="loci-train-"))
    left = None if until is None else until - time.monotonic()
    processes = []
    pipes: dict[Connection, int] = {}
    try:
        for rank in range(options.ranks):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_rank, args=(options, rank, folder, left, theirs, os.getpid()))
            process.start()
            theirs.close()
            processes.append(process)
            pipes[ours] = rank
        results = [_result(pipes, observe) for _ in processes]
        return all(results)
    finally:
        for process in processes:
            process.kill()
            process.join()
        remove(folder)


def _result(pipes: dict[Connection, int], observe: Callable[[Entry], None]) -> bool:
    """What the next rank to end returned; entries of the log on the way are handed on."""
    while True:
        for pipe in connection.wait(list(pipes)):
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except EOFError:
                raise TrainingFailed(
                    f"Rank {pipes[pipe]} ended; what went wrong stands above.",
                    "The same command goes on from the last checkpoint.",
                ) from None
            if isinstance(said, ModelError):
                raise said
            if isinstance(said, bool):
                del pipes[pipe]
                return said
            observe(said)


def _rank(options: "Options", rank: int, folder: Path, left: float | None, pipe: Connection, parent: int) -> None:
    from model.train.recipe import read_recipe
    from model.train.run import train_rank

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cpu":
        torch.set_num_threads(max(torch.get_num_threads() // options.ranks, 1))
    try:
        join(Task(Shard(rank, options.ranks), device, folder, lambda shard, device: None))
        until = None if left is None else time.monotonic() + left
        group = Group(rank, options.ranks)
        pipe.send(train_rank(options, read_recipe(options.recipe), group, device, until, pipe.send))
    except ModelError as error:
        pipe.send(error)
    torch.distributed.destroy_process_group()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_BEAT)
    os._exit(1)
