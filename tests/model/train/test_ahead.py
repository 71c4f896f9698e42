"""Micro-batches that other processes make ahead: the same ones, wherever one begins; and a process that dies."""

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model.errors import TrainingFailed
from model.train.ahead import Ahead
from model.train.corpus import load_packed
from model.train.streams import open_again, open_stream
from tests.model.train.conftest import RECIPE, TEXT


def test_batches_are_those_of_the_stream_and_a_dead_process_is_an_error(data: Path) -> None:
    recipe = replace(RECIPE, stages=(replace(TEXT, length=256, needle_share=0.5),))
    plain = open_stream(recipe, 0, load_packed(data), data, lambda: None)
    ahead = Ahead(partial(open_again, recipe, 0, data), stride=2)
    try:
        for position in (4, 6, 8, 21, 23):  # a rank's own, and after a checkpoint
            expected, found = plain.batch(position), ahead.batch(position)
            for one in ("inputs", "targets", "weights"):
                np.testing.assert_array_equal(getattr(found, one), getattr(expected, one), err_msg=f"{position} {one}")
        for process in ahead._pool._processes.values():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(TrainingFailed, match="goes on from the last checkpoint"):
            for position in range(25, 99, 2):
                ahead.batch(position)
    finally:
        ahead.close()
