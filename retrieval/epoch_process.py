"""A process of its own that builds the next epoch of a library's vectors, so that a search or an ingest never waits for
it, and the end of a command does not end it. `python -m retrieval.epoch_process DATA CACHE DIMENSION IDENTITY`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.chunk_rows import ChunkRows
from retrieval.epoch_build import build_epoch, is_building
from retrieval.sqlite import open_database

_NICE = 10
"""Whoever is at the machine comes first."""


class Builder:
    """Starts builders for one library, one at a time, and does not wait for them."""

    def __init__(self, data: Path, cache: Path, dimension: int, identity: Mapping[str, Any]) -> None:
        self._arguments = [str(data), str(cache), str(dimension), json.dumps(dict(identity))]
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Start a builder unless one is at work, here or in another process."""
        if (self._process is not None and self._process.poll() is None) or is_building(self._cache):
            return
        root = str(Path(__file__).parents[1])
        paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH")) if path)
        # A session of its own: Ctrl+C in the terminal, or its end, is not meant for it.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "retrieval.epoch_process", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths},
        )


def main() -> None:
    data, cache, dimension, identity = sys.argv[1:]
    os.nice(_NICE)
    engine = open_database(Path(data) / "library.db", Path(__file__).parent / "migrations")
    build_epoch(Path(cache), ChunkRows(engine, int(dimension)), int(dimension), json.loads(identity))
    engine.dispose()


if __name__ == "__main__":
    main()
