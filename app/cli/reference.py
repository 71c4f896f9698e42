"""Writes docs/CLI.md from the commands' own help: `python -m app.cli.reference`."""

import inspect
from pathlib import Path
from typing import Any

import typer

TITLE = """# Command line

Generated from `--help` by `python -m app.cli.reference`.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 nothing found or refused, 4 partial
(some files or rows failed), 130 interrupted.
"""
SETTINGS = """## Settings

`loci settings` prints what is in force, and the path of `config.toml`. A flag goes over `LOCI_GROUP__KEY` in the
environment (`LOCI_MODEL__DEVICE=cpu`), that over the file, and the file over the defaults below.
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
    """All settings with what they mean and their defaults, as a `config.toml`."""
    from app.settings import Settings
    from app.settings_text import as_toml

    return SETTINGS + "\n```toml\n" + as_toml(Settings.model_construct()) + "```\n"


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
