"""A library over a fake embedder, and two files for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.library import Library
from tests.retrieval.libraries import opened


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    found = opened(tmp_path)
    yield found
    found.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "boats.md").write_text(
        "# Boats\n\nThe ferry Aurora leaves at nine.\n\n## Prices\n\nA ticket is 12 crowns.\n"
    )
    (folder / "birds.txt").write_text("Puffins nest on the northern cliff.\nGulls nest everywhere.\n")
    return folder
