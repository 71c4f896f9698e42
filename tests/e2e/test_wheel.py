"""The wheel: built from a copy of the checkout, put in a folder of its own, run from elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("app", "model", "retrieval", "memory", "tui", "data")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_everything_that_is_no_code_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in packed
    assert not any(name.startswith("tests") for name in packed)


def test_the_installed_wheel_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site), "LOCI_HOME": str(tmp_path / "home")}

    def run(*words: str) -> str:
        command = [sys.executable, "-P", *words]
        return subprocess.run(
            command, env=environment, cwd=elsewhere, check=True, capture_output=True, text=True
        ).stdout

    assert Path(run("-c", "import app; print(app.__file__)").strip()).is_relative_to(site)
    assert "loci ask" in run("-m", "app.cli.main", "--help")
    assert "--keep" in run("-m", "app.cli.main", "demo", "--help")
    assert "loci" in run(str(site / "bin" / "loci"), "--version")
    assert "[]" in run("-m", "app.cli.main", "memory", "list", "--json")  # its migrations came along
    questions = run("-c", "from app.demo import *; print(len(read_questions(sample() / 'questions.jsonl')))")
    assert int(questions) == 27
