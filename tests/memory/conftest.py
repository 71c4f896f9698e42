"""A memory store with a small deterministic embedder: words hashed into directions, so that shared words mean near."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from memory.settings import MemorySettings
from memory.store import MemoryStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def word_embedding(texts: Sequence[str]) -> NDArray[np.float32]:
    """[N, 128]: the sum of one fixed random direction per word, normalised."""
    rows = np.zeros((len(texts), 128), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
            row += np.random.default_rng(seed).standard_normal(128).astype(np.float32)
        row /= np.linalg.norm(row) or 1.0
    return rows


def open_store(folder: Path, embedder: str = "words", **settings: object) -> MemoryStore:
    return MemoryStore(folder, MemorySettings.model_validate(settings), word_embedding, embedder)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Callable[..., MemoryStore]]:
    """Opens further stores on the same folder, closed after the test."""
    opened: list[MemoryStore] = []

    def open_another(**arguments: object) -> MemoryStore:
        opened.append(open_store(**({"folder": tmp_path} | arguments)))  # type: ignore[arg-type]
        return opened[-1]

    yield open_another
    for one in opened:
        one.close()
