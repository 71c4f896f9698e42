"""Profiles: separate, private folders under XDG or LOCI_HOME."""

import stat
from pathlib import Path

import pytest

from app.errors import BadInput
from app.profile import config_file, locate_profile, open_profile


def test_folders_are_private_and_separate(home: Path) -> None:
    first, second = open_profile(), open_profile("work")
    assert first.name == "default"
    folders = [first.data, first.cache, first.config, second.data, second.cache, second.config]
    assert len(set(folders)) == 6
    for folder in folders:
        assert folder.is_relative_to(home) and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert config_file(second).parent == second.config


def test_an_open_folder_is_closed(home: Path) -> None:
    profile = open_profile()
    profile.data.chmod(0o755)
    open_profile()
    assert stat.S_IMODE(profile.data.stat().st_mode) == 0o700


def test_xdg_folders_without_loci_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCI_HOME")
    for kind in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    monkeypatch.setenv("LOCI_PROFILE", "second")
    profile = locate_profile()
    assert profile.data == tmp_path / "DATA" / "loci" / "second"
    assert profile.cache == tmp_path / "CACHE" / "loci" / "second"
    assert profile.config == tmp_path / "CONFIG" / "loci" / "second"
    assert not (tmp_path / "DATA").exists()


@pytest.mark.parametrize("name", ["..", "a/b", "", " ", ".hidden", "x" * 65])
def test_a_name_cannot_leave_the_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not name:
        assert locate_profile(name).name == "default"
        return
    with pytest.raises(BadInput):
        locate_profile(name)


def test_a_home_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOCI_HOME", str(tmp_path / "file"))
    with pytest.raises(BadInput, match="LOCI_HOME"):
        open_profile()
