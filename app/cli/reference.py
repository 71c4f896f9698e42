"""Writes docs/CLI.md from the commands' own help: `python -m app.cli.reference`."""

import inspect
import json
from pathlib import Path
from typing import Any

import typer

TITLE = """# Command line

Generated from `--help` by `python -m app.cli.reference`.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 nothing found or refused, 4 partial
(some files or rows failed), 130 interrupted.
"""


def commands(command: Any, path: tuple[str, ...] = ("loci",)) -> "list[tuple[tuple[str, ...], Any]]":
    """Every command with its words, groups before what is in them."""
    found = [(path, command)]
    for name, inner in getattr(command, "commands", {}).items():
        found += commands(inner, (*path, name))
    return found


def reference() -> str:
    """The whole page."""
    from app.cli.main import app

    parts = [TITLE]
    for words, command in commands(typer.main.get_command(app)):
        context: Any = None
        for depth in range(len(words)):
            # A context per word, or usage lines would lack the words before the last.
            context = typer.Context(
                _at(words[: depth + 1]),
                info_name=words[depth],
                parent=context,
                terminal_width=100,
                help_option_names=["-h", "--help"],
            )
        parts.append(f"## {' '.join(words)}\n\n```\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join([*parts, settings()])


def settings() -> str:
    """All settings with their defaults, as a `config.toml`."""
    from app.settings import Settings

    lines = ["# LOCI_GROUP__KEY in the environment goes over config.toml in the profile's configuration folder.", ""]
    for group, field in Settings.model_fields.items():
        lines.append(f"[{group}]")
        for key, default in field.get_default(call_default_factory=True, validated_data={}).model_dump().items():
            lines.append(f"# {key} =" if default is None else f"{key} = {json.dumps(default)}")
        lines.append("")
    return "## Settings\n\n```toml\n" + "\n".join(lines).rstrip() + "\n```\n"


def _at(words: tuple[str, ...]) -> Any:
    from app.cli.main import app

    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        command = command.commands[word]
    return command


def main() -> None:
    """Write the page where the checkout keeps it."""
    file = Path(inspect.getfile(main)).parents[2] / "docs" / "CLI.md"
    file.write_text(reference(), "utf-8")
    print(file)


if __name__ == "__main__":
    main()
