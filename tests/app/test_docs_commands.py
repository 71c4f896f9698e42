"""The commands in docs/SERVING.md and docs/CLUSTERS.md are commands of this program, with options that it has."""

import re
import shlex
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[2]


def lines(page: str) -> list[str]:
    """Commands of `loci` in a page's code."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    blocks = re.findall(r"^    loci ([^=\s].*?)(?:\s+#.*)?$", text, re.MULTILINE)
    return blocks + re.findall(r"`loci ([^`]+)`", text)


@pytest.mark.parametrize("page", ["SERVING.md", "CLUSTERS.md"])
def test_commands_in_the_docs_exist(page: str) -> None:
    from app.cli.main import app

    root = typer.main.get_command(app)
    found = lines(page)
    assert len(found) >= 4
    for line in found:
        command = root
        for word in shlex.split(line):
            inner = getattr(command, "commands", {})
            if word in inner:
                command = inner[word]
            elif word.startswith("-"):
                names = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
                assert word in names, (line, word)
        assert not getattr(command, "commands", None), f"{line}: a group"
