"""Small JSON files beside a checkpoint's weights."""

import json
from pathlib import Path
from typing import Any

from model.errors import BadCheckpoint


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`, empty where there is no such file."""
    if not file.exists():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {error}.") from error
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{file} is not a JSON object.")
    return value
