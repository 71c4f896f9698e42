"""Folders that are looked at again and again."""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieval import watch
from retrieval.errors import NoSuchPath


def test_a_change_is_told_once_and_only_when_it_has_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "a.md").write_text("one")
    looks = 0

    def later(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks in (2, 3):  # still being written at two looks
            (folder / "b.md").write_text("x" * looks)
        elif looks == 8:
            os.utime(folder / "a.md", ns=(1, 1))
        elif looks == 12:
            shutil.rmtree(folder)
        elif looks == 16:
            folder.mkdir()

    monkeypatch.setattr("retrieval.watch.time", SimpleNamespace(monotonic=time.monotonic, sleep=later))
    told = [(there, looks) for _, there in zip(range(5), watch.changes([folder]), strict=False)]
    assert told == [(True, 0), (True, 4), (True, 9), (False, 13), (True, 17)]


def test_a_path_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPath):
        next(watch.changes([tmp_path / "none"]))
