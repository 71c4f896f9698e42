"""The fingerprint of a file."""

import hashlib
from pathlib import Path


def sha256_of(file: Path) -> str:
    """SHA-256 of the file's bytes in hexadecimal, read a block at a time.

    :raises OSError: it cannot be read.
    """
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
