"""Settings as text: a `config.toml` with what each means, and where each value comes from."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from app.settings import Settings

Origin = Literal["default", "file", "environment"]

_WIDTH = 80


def leaves(settings: Settings) -> Iterator[tuple[str, str, FieldInfo, Any]]:
    """Group, name, field and value of every setting."""
    for group in Settings.model_fields:
        values = getattr(settings, group)
        for name, field in type(values).model_fields.items():
            yield group, name, field, getattr(values, name)


def origins(config: Path) -> dict[str, Origin]:
    """By dotted key, what decides a setting where no flag is given; `config` was loaded before, so it can be read."""
    environment = EnvSettingsSource(Settings)()
    file = TomlConfigSettingsSource(Settings, config)()
    found: dict[str, Origin] = {}
    for group, name, *_ in leaves(Settings.model_construct()):
        of_environment, of_file = name in environment.get(group, {}), name in file.get(group, {})
        found[f"{group}.{name}"] = "environment" if of_environment else "file" if of_file else "default"
    return found


def as_toml(settings: Settings, origin: dict[str, Origin] | None = None) -> str:
    """A whole `config.toml`: each setting under its sentence; what is not set is commented out.

    :param origin: as `origins` gives it; values that the environment decides are marked.
    """
    lines: list[str] = []
    before = None
    for group, name, field, value in leaves(settings):
        if group != before:
            lines += ["", f"[{group}]"]
            before = group
        lines += ["", *textwrap.wrap(field.description or "", _WIDTH, initial_indent="# ", subsequent_indent="# ")]
        mark = "  # by the environment" if (origin or {}).get(f"{group}.{name}") == "environment" else ""
        lines.append(f"# {name} =" if value is None else f"{name} = {_toml(value)}{mark}")
    return "\n".join(lines).strip() + "\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is as JSON does but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)
