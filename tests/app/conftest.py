"""A private home for every test: no test sees the settings or profiles of whoever runs it."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith("LOCI_") and name != "LOCI_EVAL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOCI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
