"""The commands by name, each imported when it is called for: all of them take a sixth of a short command's time."""

from collections.abc import ItemsView
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from app.cli.door import group

HOMES = {
    "ingest": "ingest",
    "search": "search",
    "ask": "ask",
    "chat": "chat",
    "batch": "batch",
    "summarize": "summarize",
    "feedback": "feedback",
    "backup": "keep",
    "restore": "keep",
    "encrypt": "encryption",
    "decrypt": "encryption",
    "settings": "settings",
    "doctor": "doctor",
    "demo": "demo",
    "memory": "memory",
    "library": "library",
    "sessions": "sessions",
    "model": "models",
    "eval": "evaluate",
    "resident": "resident",
    "serve": "serve",
}
"""Module of `app.cli` by command. One that holds a group calls it `app`; others have `register`."""


class Commands(dict[str, Any]):
    """All names from the beginning, and a command once it is looked at."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(HOMES))

    def __getitem__(self, name: str) -> Any:
        if super().__getitem__(name) is None:
            self[name] = _command(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401  that would be this very method

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]  # dict promises a view of its own kind
        for name in self:
            _ = self[name]
        return super().items()


class LazyGroup(TyperGroup):
    """`loci` itself."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.commands = Commands()


def _command(name: str) -> Any:
    module = import_module(f"app.cli.{HOMES[name]}")
    holder = group("")
    if hasattr(module, "app"):
        holder.add_typer(module.app, name=name)
    else:
        module.register(holder)
    return typer.main.get_group(holder).commands[name]
