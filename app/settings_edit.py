"""One key of `config.toml` changed by a command; all else in the file stays as its owner wrote it."""

import json
import re
import tomllib
from pathlib import Path

from app.errors import BadSettings
from app.files import private_file


def set_value(file: Path, group: str, name: str, value: bool | str) -> None:
    """Set `name` in the table `group` of `file`, which need not exist.

    :raises BadSettings: the file cannot be read, or writes the key in a way that only its owner can change.
    """
    try:
        before = file.read_text("utf-8") if file.exists() else ""
        wanted = tomllib.loads(before)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"{file} cannot be read: {error}.", "Correct or move the file.") from None
    wanted.setdefault(group, {})[name] = value
    line = f"{name} = {json.dumps(value)}"  # as TOML writes both
    after = _edited(before, group, line, name)
    try:
        same = tomllib.loads(after) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise BadSettings(f"{file} sets {group}.{name} in a way of its own.", f"Write {line}.")
    with private_file(file, force=True) as out:
        out.write(after.encode())


def _edited(text: str, group: str, line: str, name: str) -> str:
    lines, inside, header = text.splitlines(), False, None
    for number, one in enumerate(lines):
        if table := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", one):
            inside = table[1] == group
            header = number if inside else header
        elif inside and re.match(rf"\s*{name}\s*=", one):
            return "\n".join([*lines[:number], line, *lines[number + 1 :]]) + "\n"
    if header is None:
        return "\n".join([*lines, *([""] if lines else []), f"[{group}]", line]) + "\n"
    return "\n".join([*lines[: header + 1], line, *lines[header + 1 :]]) + "\n"
