"""Files that a command writes for a person: whole or not at all, and closed to other users."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.errors import BadInput, DiskFull
from retrieval.sqlite import disk_is_full


@contextmanager
def private_file(file: Path, *, force: bool = False) -> Iterator[IO[bytes]]:
    """A new file, open for writing, that takes `file`'s place when the block ends and vanishes if it raises.

    What is written on a device or a pipe goes there as it comes. Mode 0600: it holds what a person said.

    :raises BadInput: the file exists and `force` is not given.
    :raises DiskFull: there is no room for it.
    """
    if file.exists() and not file.is_file() and not file.is_dir():
        with file.open("wb") as out:
            yield out
        return
    if file.exists() and not force:
        raise BadInput(f"{file} exists.", "Give --force to replace it, or another name.")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{file.name}.", suffix=".part", dir=file.parent)
    except OSError as error:
        error.filename = str(file)  # the passing name says nothing to the person who gave this one
        raise
    part = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as error:
        if disk_is_full(error, file.parent):
            raise DiskFull(f"{file} was not written.", "Free some space and run the command again.") from error
        raise
    finally:
        part.unlink(missing_ok=True)
