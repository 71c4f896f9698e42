"""Names of a checkpoint's weight files, the small JSON files beside them, and what people write there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.errors import BadCheckpoint, why

Progress = Callable[[int, int], None]
"""Called with the bytes read so far and those that will be; what it raises stops the loading."""

SINGLE = "model.safetensors"
"""The file of a checkpoint that has only one."""
INDEX = "model.safetensors.index.json"
"""Says in which file each tensor is, where there are several."""


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, empty where there is no such file.

    :raises BadCheckpoint: it cannot be read, or is none.
    """
    if not file.exists():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {why(error)}.", "Download or copy it again.") from error
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{file} is not a JSON object.", "Download or copy it again.")
    return value


def as_path(text: str) -> Path:
    """What a person wrote as a path; `~` is a home. That of an unknown user is a folder that is not there."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_number(value: object) -> bool:
    """Whether it is one that a tensor can be multiplied by: `json` also reads NaN and integers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
