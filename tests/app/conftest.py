"""A private home for every test: no test sees the settings or profiles of whoever runs it; and `loci` to run in it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from app.cli.main import main
from app.workspace import Workspace
from tests.app.cli_run import Ran, Run
from tests.app.fakes import FakeAssistant, FakeEmbedder, FakeEngine


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith("LOCI_") and name != "LOCI_EVAL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOCI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCI_RESIDENT__ENABLED", "false")  # the tests of the resident start it themselves
    return tmp_path / "home"


@pytest.fixture
def assistant() -> FakeAssistant:
    return FakeAssistant()


@pytest.fixture
def loci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], assistant: FakeAssistant
) -> Run:
    """Run a command in this process, with the real stores and a fake model and embedder; `stdin` as a file."""
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    monkeypatch.setattr(Workspace, "engine", lambda self: FakeEngine())
    monkeypatch.setattr(Workspace, "model_loaded", True)
    monkeypatch.setattr(Workspace, "model_info", lambda self: FakeEngine().describe())
    monkeypatch.setattr(Workspace, "assistant", lambda self: assistant)

    def run(*words: object, stdin: str | None = None) -> Ran:
        piped = tmp_path / "stdin"
        piped.write_text(stdin or "", "utf-8")
        monkeypatch.setattr(sys, "argv", ["loci", *map(str, words)])
        with piped.open(encoding="utf-8") if stdin is not None else Path("/dev/null").open() as source:
            monkeypatch.setattr(sys, "stdin", source)
            capfd.readouterr()
            interrupt = signal.getsignal(signal.SIGINT)
            try:
                code = main()
            except SystemExit as stop:
                code = int(stop.code or 0)
            finally:
                signal.signal(signal.SIGINT, interrupt)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def read(loci: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "stock.md").write_text("# Stock\n\nThere are forty anchors in the shed.\n")
    (folder / "crew.txt").write_text("The crew is Ana and Bo.\n")
    ran = loci("ingest", folder, "--json")
    assert ran.code == 0 and ran.json["counts"] == {"added": 2}
    return folder
