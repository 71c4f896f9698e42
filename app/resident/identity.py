"""What a door and a resident must have in common, as one hash: the code, the settings and the surroundings.

A resident with another identity would answer as another version or under other settings do, so it is replaced.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from app.answer import Profile
from app.keys import DESCRIPTOR, PASSPHRASE
from app.profile import config_file
from app.resident.wire import PROTOCOL

_ROOMS = ("app", "memory", "model", "retrieval")
_PREFIXES = (
    "LOCI_", "CUDA_", "GGML_", "HF_", "LLAMA_", "MKL_", "NCCL_", "OMP_", "OPENBLAS_", "PYTORCH_", "TORCH", "TRITON_",
    "TRANSFORMERS_",
)  # fmt: skip
_SUFFIXES = ("_API_KEY", "_PROXY", "_proxy")
"""Keys of remote models, and the way to them. Not all that ends in _KEY: shells have some that differ by window."""
_NAMES = frozenset({"TZ", "LD_LIBRARY_PATH", "LD_PRELOAD"})
UNLOCKING = frozenset({PASSPHRASE, DESCRIPTOR})
"""What opens an encrypted profile; nothing that is started needs to see it."""

_OWN = UNLOCKING | frozenset({"LOCI_HOME", "LOCI_PROFILE", "LOCI_DEBUG", "LOCI_EVAL", "LOCI_RESIDENT__ENABLED"})
"""Variables that say which profile is meant, or nothing about how it answers."""


def identity(profile: Profile) -> str:
    """The identity of a resident of `profile` that this process would start, with `config.toml` as it is now."""
    digest = hashlib.sha256()
    for part in (PROTOCOL, sys.version, sys.prefix, profile, *_code(), *_surroundings()):
        digest.update(f"{part}\0".encode("utf-8", "surrogateescape"))
    config = config_file(profile)
    digest.update(config.read_bytes() if config.is_file() else b"")
    return digest.hexdigest()


def _surroundings() -> Iterator[str]:
    for name, value in sorted(os.environ.items()):
        if name not in _OWN and (name.startswith(_PREFIXES) or name.endswith(_SUFFIXES) or name in _NAMES):
            yield f"{name}={value}"


def _code() -> Iterator[str]:
    """Each module's file with its size and time of change: an update, or an edit, makes another."""
    waiting = [Path(__file__).parents[2] / room for room in _ROOMS]
    while waiting:
        folder = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.endswith(".py"):
                stat = entry.stat()
                yield f"{entry.path} {stat.st_size} {stat.st_mtime_ns}"
            elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                waiting.append(Path(entry.path))
