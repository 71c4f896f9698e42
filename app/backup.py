"""A profile in one file, and back: consistent while Loci runs, verified before anything is touched, swapped in whole.

The file is a zip: `manifest.json`, then the profile's databases (copied with SQLite's backup API) and configuration.
Caches are left out, since they are rebuilt; so are models, which are large and come from elsewhere.
"""

import errno
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from app.answer import Profile
from app.backup_register import REGISTER, known_backups, no_copies, register, remember_backups
from app.errors import BadInput, DamagedBackup, DiskFull
from app.files import private_file
from app.keys import Keys
from app.profile import SERVE_TOKEN, make_private
from app.profile_files import SCRATCH, own_files
from app.resident.client import stop
from app.resident.place import Place
from app.swap import exchange, staging
from model.errors import why
from retrieval.cipher import Key, connect, driver_errors
from retrieval.digest import sha256_of
from retrieval.epoch_build import drop_epochs
from retrieval.errors import DatabaseProblem
from retrieval.sqlite import disk_is_full

FORMAT = 1
BLOCK = 1 << 20
_HERE = (REGISTER, SERVE_TOKEN)
"""How the names of files begin that say nothing to another machine, or nothing it should know."""


def back_up(
    profile: Profile, file: Path, key: Key | None = None, *, force: bool = False, created: str | None = None
) -> dict[str, Any]:
    """Write the profile to `file`, which appears whole or not at all; returns the manifest.

    :param key: the profile's, if it is encrypted: what is in the file is as well.
    :param created: when it was first made, for one that is packed again; None is now.
    :raises BadInput: there is nothing to back up, or the file exists and `force` is not given.
    :raises DiskFull: the copy or the file has no room.
    """
    sources = dict(_sources(profile))
    if not sources:
        raise BadInput(f"The profile {profile.name!r} is empty: there is nothing to back up.")
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "loci": version("loci-assistant"),
        "profile": profile.name,
        "created": created or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": {},
    }
    try:
        with (
            no_copies(profile),
            private_file(file, force=force) as out,
            tempfile.TemporaryDirectory(prefix=SCRATCH, dir=profile.data) as scratch,
        ):
            copies = {
                name: _copy(path, Path(scratch) / str(index), key) for index, (name, path) in enumerate(sources.items())
            }
            manifest["files"] = {
                name: {"bytes": copy.stat().st_size, "sha256": sha256_of(copy)} for name, copy in copies.items()
            }
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("manifest.json", json.dumps(manifest, indent=2))
                for name, copy in copies.items():
                    archive.write(copy, name)
    except driver_errors(OSError, DiskFull) as error:
        if isinstance(error, DiskFull) or disk_is_full(error, profile.data):
            raise DiskFull(
                f"{file} was not written.",
                f"A backup needs room for a copy of the profile in {profile.data} and for the file itself: free some.",
            ) from error
        raise BadInput(
            f"{file} cannot be written: {why(error)}.", "Check the disk and the profile (`loci doctor`)."
        ) from error
    remember_backups(profile, [file])
    return manifest


def restore(file: Path, profile: Profile, keys: Keys | None = None, *, force: bool = False) -> dict[str, Any]:
    """Bring the profile to what `file` holds; returns the manifest.

    What is encrypted in there is opened once with `keys`, to see that it can be.

    Everything is unpacked beside the profile and verified first. With `force` an existing profile is replaced, and is
    back in place if that fails.

    :raises BadInput: the file is no backup, or the profile is not empty and `force` is not given.
    :raises DamagedBackup: a hash, a name or a database is not as the manifest says.
    :raises DiskFull: what the file holds has no room beside the profile.
    """
    if not force and any(True for _ in _sources(profile)):
        raise BadInput(
            f"The profile {profile.name!r} is not empty.", "Restore into another (--profile NAME), or give --force."
        )
    try:
        with staging(profile) as staged:
            manifest = unpack(file, staged, keys or Keys())
            (staged["data"] / REGISTER).write_bytes(register([file, *known_backups(profile)]))
            stop(Place.of(profile))  # the resident has the stores open that go
            # Caches describe the library that was here before, and no opening would sweep them after a kill.
            drop_epochs(profile.cache)  # and stop a builder that is at work there
            shutil.rmtree(profile.cache, ignore_errors=True)
            exchange(profile, staged["data"], staged["config"])
    except OSError as error:
        if disk_is_full(error, profile.data):
            raise DiskFull(
                f"{file} was not restored; the profile is as it was.", f"Free some space at {profile.data.parent}."
            ) from error
        raise BadInput(
            f"{file} cannot be restored: {why(error)}.", "Check the file, the disk and its free space."
        ) from error
    make_private(profile.cache)
    return manifest


def _sources(profile: Profile) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file) of all that a backup holds, in a fixed order."""
    for part, folder in (("data", profile.data), ("config", profile.config)):
        for path in own_files(folder):
            inside = path.relative_to(folder)
            if not path.is_symlink() and not inside.parts[0].startswith(_HERE):
                yield f"{part}/{inside.as_posix()}", path


def _copy(source: Path, target: Path, key: Key | None) -> Path:
    if source.suffix != ".db":
        shutil.copyfile(source, target)
        return target
    with closing(connect(source, key)) as live, closing(connect(target, key)) as copy:
        try:
            live.backup(copy)
            # A copy that says WAL would leave -wal and -shm files beside it when it is checked.
            copy.execute("PRAGMA journal_mode=DELETE")
        except driver_errors() as error:
            # Asked here: the caller looks when the copy is gone and there is room again.
            if disk_is_full(error, target.parent):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
            raise
    return target


def unpack(file: Path, folders: dict[str, Path], keys: Keys) -> dict[str, Any]:
    """Lay out the backup `file` in `folders`, its parts `data` and `config`, verified; returns the manifest.

    :raises Locked, WrongKey, EncryptionMissing: it is encrypted, and cannot be opened.
    :raises BadInput: it is no backup, or of a newer version.
    :raises DamagedBackup: a hash, a name or a database is not as the manifest says.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
            if manifest["format"] > FORMAT:
                raise BadInput(f"{file} was written by a newer version of Loci.", "Update Loci.")
            expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
            found = [name for name in archive.namelist() if name != "manifest.json"]
            if sorted(found) != sorted(expected):
                raise DamagedBackup(f"{file} does not hold the files that its manifest names.", "Use another backup.")
            for name, (size, sha256) in expected.items():
                target = _inside(file, name, folders)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, BLOCK)
                if target.stat().st_size != size or sha256_of(target) != sha256:
                    raise DamagedBackup(f"{file}: {name} is not what was backed up.", "Use another backup.")
    except (zipfile.BadZipFile, KeyError, TypeError, AttributeError, ValueError, EOFError, zlib.error) as error:
        raise DamagedBackup(f"{file} is no whole backup: {error}.", "Give a file that `loci backup` wrote.") from None
    key = keys.of(Profile(str(manifest.get("profile")), folders["data"], folders["data"], folders["config"]))
    for name in expected:
        if name.endswith(".db"):
            _check_database(file, name, _inside(file, name, folders), key)
    return manifest


def _inside(file: Path, name: str, folders: dict[str, Path]) -> Path:
    part, *rest = PurePosixPath(name).parts
    if part not in folders or not rest or ".." in rest or "\\" in name:
        raise DamagedBackup(f"{file}: {name!r} lies outside a profile.", "Do not trust this file.")
    return folders[part].joinpath(*rest)


def _check_database(file: Path, name: str, database: Path, key: Key | None) -> None:
    try:
        with closing(connect(database, key)) as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except driver_errors(DatabaseProblem) as error:
        result = str(error)
    if result != "ok":
        raise DamagedBackup(f"{file}: the database {name} is broken ({result}).", "Use another backup.")
