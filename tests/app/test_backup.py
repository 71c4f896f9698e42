"""Backups: consistent while in use, verified before anything is touched, restored whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.answer import Profile
from app.backup import back_up, restore
from app.errors import BadInput, DamagedBackup, DiskFull
from app.profile import open_profile
from retrieval.errors import DatabaseProblem


def fill(profile: Profile, rows: int = 100) -> None:
    with closing(sqlite3.connect(profile.data / "memory.db")) as db, db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (x TEXT)")
        db.executemany("INSERT INTO t VALUES (?)", [(str(row),) for row in range(rows)])
    (profile.config / "config.toml").write_text("[model]\nthreads = 1\n")
    (profile.config / "templates").mkdir()
    (profile.config / "templates" / "short.txt").write_text("{question} Be short.")
    (profile.data / "models").mkdir()
    (profile.data / "models" / "big.gguf").write_text("big")
    (profile.cache / "vectors").write_text("cache")


def count(profile: Profile) -> int:
    with closing(sqlite3.connect(profile.data / "memory.db")) as db:
        return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.fixture
def profile(home: Path) -> Profile:
    made = open_profile("first")
    fill(made)
    return made


def test_what_was_backed_up_comes_back(profile: Profile, tmp_path: Path) -> None:
    manifest = back_up(profile, tmp_path / "b.zip")
    assert sorted(manifest["files"]) == ["config/config.toml", "config/templates/short.txt", "data/memory.db"]
    assert stat.S_IMODE((tmp_path / "b.zip").stat().st_mode) == 0o600
    second = open_profile("second")
    (second.cache / "stale").write_text("")
    assert restore(tmp_path / "b.zip", second) == manifest
    assert count(second) == 100
    assert (second.config / "templates" / "short.txt").read_text() == "{question} Be short."
    assert not (second.cache / "stale").exists()
    for folder in (second.data, second.cache, second.config):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    leftovers = [path.name for path in profile.data.parent.parent.rglob(".*")] + list(tmp_path.glob("*.part"))
    assert not leftovers


def test_rows_that_stand_only_in_the_wal_are_backed_up(profile: Profile, tmp_path: Path) -> None:
    with closing(sqlite3.connect(profile.data / "memory.db")) as writer:
        writer.execute("INSERT INTO t VALUES ('committed')")
        writer.commit()
        writer.execute("INSERT INTO t VALUES ('not committed')")
        assert (profile.data / "memory.db-wal").stat().st_size
        back_up(profile, tmp_path / "b.zip")
        writer.rollback()
    second = open_profile("second")
    restore(tmp_path / "b.zip", second)
    assert count(second) == 101


def test_nothing_is_overwritten_unless_forced(profile: Profile, tmp_path: Path) -> None:
    back_up(profile, tmp_path / "b.zip")
    with pytest.raises(BadInput, match="exists"):
        back_up(profile, tmp_path / "b.zip")
    back_up(profile, tmp_path / "b.zip", force=True)
    with closing(sqlite3.connect(profile.data / "memory.db")) as db, db:
        db.execute("DELETE FROM t")
    with pytest.raises(BadInput, match="not empty"):
        restore(tmp_path / "b.zip", profile)
    assert count(profile) == 0
    restore(tmp_path / "b.zip", profile, force=True)
    assert count(profile) == 100
    assert (profile.data / "models" / "big.gguf").read_text() == "big"


def test_a_full_disk_is_said_to_be_full_and_leaves_nothing(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    back_up(profile, tmp_path / "b.zip")
    with monkeypatch.context() as patch, pytest.raises(DiskFull, match="needs room") as caught:
        patch.setattr(zipfile.ZipFile, "write", full)
        back_up(profile, tmp_path / "c.zip")
    assert caught.value.exit_code == 1
    with monkeypatch.context() as patch, pytest.raises(DiskFull, match="as it was"):
        patch.setattr(shutil, "copyfileobj", full)
        restore(tmp_path / "b.zip", profile, force=True)
    assert count(profile) == 100
    assert [path.name for path in tmp_path.glob("*.zip*")] == ["b.zip"]
    assert not list(profile.data.parent.glob(".*")) and not list(profile.data.glob("loci-backup-*"))


def test_a_database_cut_to_nothing_is_not_backed_up_nor_restored(profile: Profile, tmp_path: Path) -> None:
    back_up(profile, tmp_path / "b.zip")
    os.truncate(profile.data / "memory.db", 0)
    with pytest.raises(DatabaseProblem, match=r"memory\.db is empty"):
        back_up(profile, tmp_path / "c.zip")
    assert not (tmp_path / "c.zip").exists()
    with zipfile.ZipFile(tmp_path / "b.zip") as archive, zipfile.ZipFile(tmp_path / "empty.zip", "w") as other:
        manifest = json.loads(archive.read("manifest.json"))
        manifest["files"] = {"data/memory.db": {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}}
        other.writestr("manifest.json", json.dumps(manifest))
        other.writestr("data/memory.db", b"")
    with pytest.raises(DamagedBackup, match="is empty"):
        restore(tmp_path / "empty.zip", profile, force=True)
    restore(tmp_path / "b.zip", profile, force=True)
    assert count(profile) == 100


def test_an_empty_profile_is_no_backup(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing to back up"):
        back_up(open_profile("new"), tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def rewrite(file: Path, change: dict[str, bytes | None], manifest: dict[str, object] | None = None) -> None:
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name, data in change.items():
        if data is None:
            del content[name]
        else:
            content[name] = data
    if manifest is not None:
        content["manifest.json"] = json.dumps(json.loads(content["manifest.json"]) | manifest).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "damage", ["changed", "missing", "extra", "outside", "cut", "no zip", "no manifest", "flipped"]
)
def test_a_damaged_backup_touches_nothing(profile: Profile, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "b.zip"
    back_up(profile, file)
    match damage:
        case "changed":
            rewrite(file, {"config/config.toml": b"[model]\nthreads = 9\n"})
        case "missing":
            rewrite(file, {"config/config.toml": None})
        case "extra":
            rewrite(file, {"data/more.db": b"x"})
        case "outside":
            rewrite(
                file,
                {
                    "../escape": b"",
                    "data/memory.db": None,
                    "config/config.toml": None,
                    "config/templates/short.txt": None,
                },
                {"files": {"../escape": {"bytes": 0, "sha256": "0" * 64}}},
            )
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "no zip":
            file.write_text("hello")
        case "no manifest":
            rewrite(file, {"manifest.json": None})
        case "flipped":
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 0xFF
            file.write_bytes(bytes(data))
    with pytest.raises(DamagedBackup):
        restore(file, profile, force=True)
    assert count(profile) == 100 and (profile.config / "config.toml").exists()
    assert not list(tmp_path.rglob("escape")) and not list(profile.data.parent.glob(".*"))


def test_a_newer_backup_is_refused(profile: Profile, tmp_path: Path) -> None:
    back_up(profile, tmp_path / "b.zip")
    rewrite(tmp_path / "b.zip", {}, {"format": 99})
    with pytest.raises(BadInput, match="newer"):
        restore(tmp_path / "b.zip", profile, force=True)


def test_a_failed_swap_puts_the_old_profile_back(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(profile, tmp_path / "b.zip")
    (profile.config / "config.toml").write_text("# mine\n")
    move = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if "-restoring-" in self.name and Path(target) == profile.config:
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(DiskFull, match="as it was"):
        restore(tmp_path / "b.zip", profile, force=True)
    assert (profile.config / "config.toml").read_text() == "# mine\n" and count(profile) == 100


@pytest.mark.parametrize("killed_at", range(1, 9))
def test_a_restore_that_is_killed_anywhere_is_whole_or_not_at_all(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL: from here on nothing of the process runs."""

    back_up(profile, tmp_path / "b.zip")
    with closing(sqlite3.connect(profile.data / "memory.db")) as db, db:
        db.execute("DELETE FROM t")
    (profile.config / "config.toml").write_text("# mine\n")
    steps = 0

    def counted(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def step(source: Path, target: Path) -> Path:
            nonlocal steps
            steps += 1
            if steps >= killed_at:
                raise Killed
            return move(source, target)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        if killed_at < 8:  # two folders aside, two in place, the models, two discarded
            with pytest.raises(Killed):
                restore(tmp_path / "b.zip", profile, force=True)
        else:
            restore(tmp_path / "b.zip", profile, force=True)
    again = open_profile("first")
    restored = killed_at > 6
    assert count(again) == (100 if restored else 0)
    assert ((again.config / "config.toml").read_text() == "# mine\n") != restored
    assert (again.data / "models" / "big.gguf").read_text() == "big"
    assert not list(profile.data.parent.glob(".*-replaced-*")) and not list(profile.config.parent.glob(".*-replaced-*"))


def test_a_broken_database_is_not_restored(profile: Profile, tmp_path: Path) -> None:
    shutil.copy(profile.config / "config.toml", profile.data / "library.db")  # a text file under a database's name
    with pytest.raises(BadInput, match="cannot be written"):
        back_up(profile, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()
