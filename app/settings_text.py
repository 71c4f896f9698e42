"""Settings as text: a `config.toml` with what each means, and where each value comes from."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from app.settings import Settings

Origin = Literal["default", "file", "environment"]

_WIDTH = 80


def leaves(settings: Settings) -> Iterator[tuple[str, str, str, Any]]:
    """Group, name, what it means, and value of every setting."""
    for group in Settings.model_fields:
        values = getattr(settings, group)
        meant = _meanings(type(values))
        for name in type(values).model_fields:
            yield group, name, meant[name], getattr(values, name)


def _meanings(group: type[BaseModel]) -> dict[str, str]:
    """What stands beneath each field of a group.

    Pydantic reads it too (`use_attribute_docstrings`), but whenever the class is made: a tenth of the time until the
    chat stands.
    """
    (own,) = ast.parse(textwrap.dedent(inspect.getsource(group))).body
    assert isinstance(own, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(words.value.value)
        for field, words in pairwise(own.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(words, ast.Expr)
        and isinstance(words.value, ast.Constant)
        and isinstance(words.value.value, str)
    }


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
    for group, name, meant, value in leaves(settings):
        if group != before:
            lines += ["", f"[{group}]"]
            before = group
        lines += ["", *textwrap.wrap(meant, _WIDTH, initial_indent="# ", subsequent_indent="# ")]
        mark = "  # by the environment" if (origin or {}).get(f"{group}.{name}") == "environment" else ""
        lines.append(f"# {name} =" if value is None else f"{name} = {_toml(value)}{mark}")
    return "\n".join(lines).strip() + "\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is as JSON does but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)
