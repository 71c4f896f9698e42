"""The token: one for a profile, closed to others, in no backup."""

import stat
import zipfile
from pathlib import Path

import pytest

from app.errors import BadInput
from app.profile import open_profile, serve_token
from app.serve.token import renew, shows, token_of
from tests.app.cli_run import Run


def test_it_is_made_once_and_only_its_owner_can_read_it(home: Path) -> None:
    profile = open_profile()
    token, made = token_of(profile)
    assert made and len(token) >= 40
    assert token_of(profile) == (token, False)
    file = serve_token(profile)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    token_of(profile)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token_of(open_profile("other"))[0] != token


def test_another_one_takes_its_place(home: Path) -> None:
    profile = open_profile()
    old, _ = token_of(profile)
    assert renew(profile) == token_of(profile)[0] != old
    assert [one.name for one in profile.config.iterdir()] == ["serve-token"]


def test_an_empty_file_is_no_token_and_one_that_cannot_be_read_is_named(home: Path) -> None:
    profile = open_profile()
    serve_token(profile).write_text("\n")
    assert token_of(profile)[0]
    serve_token(profile).write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="serve-token"):
        token_of(profile)


@pytest.mark.parametrize(
    ("header", "shown"),
    [("Bearer abc", True), ("bearer abc ", True), ("Bearer abcd", False), ("abc", False), ("", False), (None, False)],
)
def test_it_is_shown_as_a_bearer(header: str | None, shown: bool) -> None:
    assert shows(header, "abc") is shown


def test_the_command_shows_it_and_a_backup_does_not_hold_it(loci: Run, read: Path, tmp_path: Path) -> None:
    token = loci("serve", "--token").out.strip()
    assert loci("serve", "--token", "--json").json == {"token": token}
    new = loci("serve", "--new-token").out.strip()
    assert new != token == token and loci("serve", "--token").out.strip() == new
    assert loci("backup", tmp_path / "b.zip").code == 0
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert not [name for name in archive.namelist() if "token" in name]


def test_no_token_goes_with_the_loopback_alone(loci: Run) -> None:
    ran = loci("serve", "--no-token", "--host", "0.0.0.0", "--port", 0)
    assert ran.code == 2 and "--no-token" in ran.err


@pytest.mark.parametrize(
    ("option", "value"), [("--allow-host", "*"), ("--allow-host", "a*.b"), ("--origin", "https://chat.example/"),
                          ("--origin", "chat.example")],
)  # fmt: skip
def test_a_wildcard_and_an_origin_that_no_browser_sends_are_refused(loci: Run, option: str, value: str) -> None:
    ran = loci("serve", "--port", 0, option, value)
    assert ran.code == 2 and "serve." in ran.err
