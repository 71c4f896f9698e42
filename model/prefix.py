"""Files that hold the state after reading a prompt: its tokens and their part of the cache, tied to one model."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.errors import BadCheckpoint, ModelError

_FORMAT = "loci-prefix-2"


def write_prefix(file: Path, fingerprint: str, tokens: list[int], rows: Tensor) -> None:
    """Write atomically: rows [L, tokens, C] as the cache of the model that `fingerprint` names stores them."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.part")
    metadata = {"format": _FORMAT, "model": fingerprint, "tokens": json.dumps(tokens)}
    try:
        save_file({"rows": rows.to("cpu").contiguous()}, partial, metadata=metadata)
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be written: {error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def read_prefix(file: Path, fingerprint: str) -> tuple[list[int], Tensor]:
    """Tokens and rows [L, tokens, C].

    :raises BadCheckpoint: the file is missing, damaged, or was written with another model or dtype.
    """
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise BadCheckpoint(f"{file} is no saved prefix.")
            if metadata.get("model") != fingerprint:
                raise BadCheckpoint(f"{file} was saved with another model or dtype.", "Save the prefix again.")
            tokens = [int(token) for token in json.loads(metadata["tokens"])]
            rows: Tensor = opened.get_tensor("rows")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {error}.", "Save the prefix again.") from error
    if rows.shape[1] != len(tokens):
        raise BadCheckpoint(f"{file} is damaged: {len(tokens)} tokens, but rows of {rows.shape[1]}.")
    return tokens, rows
