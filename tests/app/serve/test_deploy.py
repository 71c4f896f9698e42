"""The systemd unit and the container file, as far as they can be tested without a manager and a builder."""

import configparser
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer

from app.settings import keys, variable_of

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "deploy" / "loci-serve.service"
CONTAINER = ROOT / "deploy" / "Containerfile"


def exists(words: list[str]) -> bool:
    """Whether the command line has these words as commands."""
    from app.cli.main import app

    command = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)  # type: ignore[assignment]
        if command is None:
            return False
    return True


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / ".local" / "bin" / "loci"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(UNIT)],
        env=os.environ | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_unit_starts_a_command_that_exists_and_leaves_the_resident_alone() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    program, *words = unit["Service"]["ExecStart"].split()
    assert program == "%h/.local/bin/loci" and exists(words)
    assert unit["Service"]["KillMode"] == "process"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) of the container file, continued lines joined."""
    lines = [line for line in CONTAINER.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).split("\n")
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined]


KNOWN = {"FROM", "ARG", "COPY", "RUN", "USER", "WORKDIR", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL",
         "ENTRYPOINT", "CMD"}  # fmt: skip


def test_the_container_file_is_well_formed_and_names_what_there_is() -> None:
    found = instructions()
    assert {name for name, _ in found} <= KNOWN
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (installed,) = re.findall(r"/src\[([a-z,]+)\]", CONTAINER.read_text("utf-8"))
    assert set(installed.split(",")) <= set(extras)
    (environment,) = [words for name, words in found if name == "ENV"]
    variables = [word.partition("=")[0] for word in environment.split() if word.startswith("LOCI_")]
    assert set(variables) <= {variable_of(key) for key in keys()} | {"LOCI_HOME"}
    for name in re.findall(r"/src/(\S+)", CONTAINER.read_text("utf-8")):
        assert (ROOT / name).exists(), name


def test_the_container_serves_as_a_plain_user_and_starts_a_command_that_exists() -> None:
    found = instructions()
    last = dict(found)
    assert last["USER"] == "loci" and last["ENTRYPOINT"] == '["loci"]' and exists([last["CMD"].strip('["]')])
    assert last["EXPOSE"] == "5624" and "5624" in last["HEALTHCHECK"]


def test_the_build_is_not_sent_what_it_does_not_need() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv"} <= set(ignored)
    assert not {"data", "app", "model", "memory", "retrieval", "tui", "README.md", "LICENSE"} & set(ignored)
