"""A profile encrypted, or decrypted, as a whole: a second one is made beside it, verified, and put in its place.

Until the moment of the exchange (`app.swap`) the profile is as it was; after it, the other. A kill at any moment leaves
one of the two, readable. Caches are not converted: they are made anew, and while a profile is encrypted not written.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from app.answer import Profile
from app.backup_register import known_backups, no_copies
from app.errors import BadInput, DiskFull
from app.keys import SLOT, leave_keyring, read_slot, write_slot
from app.profile import make_private
from app.profile_files import own_files
from app.purge_journal import journal
from app.resident.client import stop
from app.resident.place import Place
from app.swap import exchange, staging
from retrieval.cipher import Key, connect, driver, driver_errors, is_encrypted, literal, refuse_empty
from retrieval.epoch_build import drop_epochs
from retrieval.errors import DatabaseProblem
from retrieval.sqlite import disk_is_full

_BLOCK = b"\0" * (1 << 20)
WAIT = 5.0
"""Seconds that other commands have to let go of a database."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was done."""

    databases: tuple[str, ...]
    backups: tuple[str, ...]
    """Backups that were written before and are as they were: of the other kind."""


def encrypt(profile: Profile, passphrase: str, *, keyring: bool = False) -> Converted:
    """Encrypt the profile under a new key, sealed with `passphrase`.

    :raises BadInput: it is encrypted, the passphrase is empty, or something is under way.
    :raises DatabaseProblem: another process has a database open.
    :raises EncryptionMissing: the packages are not installed.
    """
    if read_slot(profile.data) is not None:
        raise BadInput(
            f"The profile {profile.name!r} is encrypted already.",
            "`loci decrypt` and `loci encrypt` give it another key and passphrase.",
        )
    if not passphrase:
        raise BadInput("An empty passphrase protects nothing.")
    key = Key(os.urandom(32))
    driver(key)  # is there one?
    return _convert(profile, None, key, lambda data: write_slot(data, key, passphrase, keyring=keyring))


def decrypt(profile: Profile, key: Key | None) -> Converted:
    """Write the profile as it is read, without encryption.

    :raises BadInput: it is not encrypted, or something is under way.
    :raises DatabaseProblem: another process has a database open.
    """
    slot = read_slot(profile.data)
    if slot is None or key is None:
        raise BadInput(f"The profile {profile.name!r} is not encrypted.")
    done = _convert(profile, key, None, lambda data: None)
    leave_keyring(slot)
    return done


def _convert(profile: Profile, old: Key | None, new: Key | None, finish: Callable[[Path], None]) -> Converted:
    if journal(profile).exists():
        raise BadInput("A deletion for good was interrupted, and is to be ended first.", "loci doctor --fix")
    doing = "decrypted" if new is None else "encrypted"
    try:
        with _nobody_else(profile, doing), no_copies(profile), staging(profile) as staged, ExitStack() as held:
            if (read_slot(profile.data) is None) != (old is None):
                raise BadInput("Another process converted the profile meanwhile.", "`loci doctor` says how it is now.")
            files = sorted(profile.data.glob("*.db"))
            # 1. Each database, which nobody else can open until the end.
            for file in files:
                database = held.enter_context(_alone_with(file, old, new))
                _export(database, file, staged["data"] / file.name, new)
            # 2. What else there is, and the new key's slot.
            _copy(profile.data, staged["data"], {SLOT, *(file.name for file in files)})
            _copy(profile.config, staged["config"])
            finish(staged["data"])
            for folder in staged.values():
                _settle(folder)
            # 3. Caches, which no opening of the profile would sweep after a kill.
            _clear_caches(profile)
            # 4. The exchange, and the end of the old bytes.
            doomed = [held.enter_context(file.open("r+b", buffering=0)) for file in files]
            exchange(profile, staged["data"], staged["config"])
            for handle in doomed:
                _overwrite(handle.fileno())
    except driver_errors(OSError) as error:
        if disk_is_full(error, profile.data.parent):
            raise DiskFull(
                "The profile is as it was: there is no room for a second one beside it.",
                f"Free some space at {profile.data.parent}.",
            ) from error
        raise
    return Converted(tuple(file.name for file in files), tuple(map(str, known_backups(profile))))


@contextmanager
def _nobody_else(profile: Profile, doing: str) -> Iterator[None]:
    """Without a resident, and none can start."""
    place = Place.of(profile)
    stop(place)
    make_private(place.folder)
    lock = place.lock(doing)
    if lock is None:
        raise BadInput("A resident is starting.", "Try again.")
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def _alone_with(file: Path, old: Key | None, new: Key | None) -> Iterator[Connection]:
    """A connection that no other process shares the database with.

    :raises DatabaseProblem: another one has it open.
    """
    if is_encrypted(file) != (old is not None):
        raise DatabaseProblem(f"{file} is not as the profile says it is.", "Restore a backup (`loci restore FILE`).")
    with closing(connect(file, old, timeout=WAIT) if old else _plain(file, new)) as database:
        try:
            database.execute("PRAGMA main.locking_mode = EXCLUSIVE")
            database.execute("PRAGMA main.journal_mode = DELETE")  # only the last to have a WAL open can end it
            database.execute("BEGIN EXCLUSIVE")
            database.execute("COMMIT")
        except driver_errors() as error:
            if "locked" not in str(error):
                raise
            raise DatabaseProblem(
                f"{file} is in use by another process.", "Close the other chats and commands, then try again."
            ) from error
        yield database


def _plain(file: Path, new: Key | None) -> Connection:
    """A plain database as SQLCipher opens it, to write an encrypted one beside it."""
    refuse_empty(file)
    opened: Connection = driver(new).connect(str(file), isolation_level=None, timeout=WAIT)
    return opened


def _export(database: Connection, file: Path, target: Path, key: Key | None) -> None:
    """Write all of `database` to `target` under `key`, and see that it is there."""
    database.execute(f'ATTACH ? AS other KEY "{literal(key) if key else ""}"', (str(target),))
    database.execute("SELECT sqlcipher_export('other')")
    database.execute("DETACH other")
    with closing(connect(target, key)) as copy:
        (said,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok" or _counts(copy) != _counts(database):
            raise DatabaseProblem(f"{file} was not copied whole ({said}).", "See what `loci doctor` says.")


def _counts(database: Connection) -> dict[str, int]:
    """Rows of each table."""
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {one: database.execute(f'SELECT count(*) FROM "{one}"').fetchone()[0] for one in tables}


def _copy(source: Path, target: Path, without: Collection[str] = ()) -> None:
    """What else a folder of the profile has than the files named `without`."""
    for path in own_files(source):
        inside = path.relative_to(source)
        if str(inside) not in without:
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / inside, follow_symlinks=False)


def _clear_caches(profile: Profile) -> None:
    """Remove what lies in the cache folder, but for the lock that keeps a resident from starting."""
    drop_epochs(profile.cache)  # and stop a builder that is at work there
    for path in profile.cache.iterdir():
        if path == Place.of(profile).folder:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _settle(folder: Path) -> None:
    """Have all of a folder on disk before it takes another's place."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _overwrite(descriptor: int) -> None:
    """Zeros over a file that is going: its bytes, as far as the disk works in place, and whoever still reads it."""
    left = os.fstat(descriptor).st_size
    while left > 0:
        left -= os.write(descriptor, _BLOCK[: min(left, len(_BLOCK))])
    os.fsync(descriptor)
