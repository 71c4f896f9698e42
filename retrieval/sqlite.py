"""SQLite as both stores use it: opened, migrated, written and read in one way, with its failures in words.

Knows nothing about documents or memories. A migrations folder is an Alembic script folder with an `env.py` and
`versions/vNNNN_words.py`, whose `revision` is `NNNN`. Works with SQLite 3.40.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from retrieval.cipher import Key, connect, driver, driver_errors
from retrieval.errors import DatabaseProblem
from retrieval.fulltext import TOKENIZE, fts_query, fts_terms, fts_text

__all__ = [
    "TOKENIZE",
    "checkpoint",
    "disk_is_full",
    "fts_query",
    "fts_terms",
    "fts_text",
    "open_database",
    "reading",
    "writing",
]

BUSY_SECONDS = 30.0
"""How long a writer waits for another before it gives up; no transaction of ours takes a tenth of it."""

WAL_BYTES = 8 << 20
"""What a WAL is cut back to once it is folded in; a large or failed write leaves it as long as it got."""

_FULL_BYTES = 1 << 20
"""With less than this free, an I/O error that SQLite does not explain is a full disk."""


def open_database(file: Path, migrations: Path, busy_seconds: float = BUSY_SECONDS, key: Key | None = None) -> Engine:
    """Open or create the database `file`, brought to the newest schema of `migrations`; with a `key`, encrypted.

    WAL lets readers go on beside one writer. `synchronous=FULL` because what was acknowledged must survive a power
    cut: under WAL, NORMAL may lose the last commits. Migrations run under an exclusive lock on `FILE.lock`.

    :raises DatabaseProblem: damaged, under another key, of a newer schema, not writable, locked for too long, or the
        disk is full.
    :raises EncryptionMissing: a key is given and the extra is not installed.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return _open(file, migrations, busy_seconds, key)
    except OSError as error:
        if disk_is_full(error, file.parent):
            raise _full(file) from error
        raise DatabaseProblem(
            f"{file} cannot be opened: {error.strerror}.", "Check the folder and its permissions."
        ) from error


def _open(file: Path, migrations: Path, busy_seconds: float, key: Key | None) -> Engine:
    # The lock also covers the first connection: two processes that create the file must not both set WAL.
    with _in_words(file), _exclusive(file.with_name(file.name + ".lock")):
        if not file.exists():
            _create(file, migrations, busy_seconds, key)
        engine = _engine(file, busy_seconds, key)
        try:
            _upgrade(engine, file, migrations)
        except BaseException:
            engine.dispose()
            raise
    return engine


def _create(file: Path, migrations: Path, busy_seconds: float, key: Key | None) -> None:
    """Make the database under another name until it has its tables: after a kill there is none, or a whole one."""
    begun = file.with_name(file.name + ".part")
    # A log that a deleted database left would be read into the new one.
    for scrap in (begun, *(one.with_name(one.name + end) for one in (begun, file) for end in ("-wal", "-shm"))):
        scrap.unlink(missing_ok=True)
    engine = _engine(begun, busy_seconds, key)
    try:
        _upgrade(engine, begun, migrations)
    finally:
        engine.dispose()  # which folds its log in
    begun.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # what is committed from here on must not lose its name in a power cut
    finally:
        os.close(folder)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction, committed when the block ends and rolled back if it raises.

    BEGIN IMMEDIATE: waiting happens here and never in the middle, where it could not be retried.

    :raises DatabaseProblem: locked for too long, disk full, damaged.
    """
    with (
        _in_words(_file_of(engine)),
        engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent snapshot; what others commit meanwhile is not seen.

    :raises DatabaseProblem: damaged or unreadable.
    """
    with _in_words(_file_of(engine)), engine.connect() as connection, connection.begin():
        yield connection


def _file_of(engine: Engine) -> Path:
    return Path(str(engine.url.database))


def _engine(file: Path, busy_seconds: float, key: Key | None) -> Engine:
    # The driver's own BEGIN comes late and is never IMMEDIATE: `connect` turns it off, transactions are begun below.
    engine = create_engine(
        f"sqlite+pysqlite:///{file}",
        module=driver(key),
        creator=lambda: connect(file, key, timeout=busy_seconds, check_same_thread=False),
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "temp_store=MEMORY",
            f"journal_size_limit={WAL_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _upgrade(engine: Engine, file: Path, migrations: Path) -> None:
    known = sorted(path.stem[1:].split("_")[0] for path in (migrations / "versions").glob("v[0-9]*_*.py"))
    with engine.connect() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'").scalars().all()
        current = None
        if "alembic_version" in tables:
            current = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        elif tables:
            raise DatabaseProblem(
                f"{file} is an SQLite database, but not one of Loci's.", "Move it away, or use another profile folder."
            )
    if current == known[-1]:
        return
    if current is not None and current not in known:
        raise DatabaseProblem(
            f"{file} was written by a newer version of Loci (schema {current}; this one knows {known[-1]}).",
            "Update Loci, or use another profile.",
        )
    from alembic import command  # 0.2 s, paid only when there is something to migrate
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        # SQLite changes a constraint by rebuilding its table; dropping the old one would cascade to what refers to it.
        # This cannot be switched inside a transaction.
        raw.execute("PRAGMA foreign_keys=OFF")
        # One transaction for the schema and the record of its version.
        with connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise DatabaseProblem(
                    f"{file} has rows that point at rows which are gone; its schema was left as it was.",
                    "Restore a backup (`loci restore FILE`).",
                )
        raw.execute("PRAGMA foreign_keys=ON")


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    with lock.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


@contextmanager
def _in_words(file: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into a `DatabaseProblem` that names the file and the mend."""
    try:
        yield
    except DatabaseError as error:
        problem = _problem(file, error.orig or error)
        if problem is None:
            raise
        raise problem from error
    except driver_errors() as error:
        problem = _problem(file, error)
        if problem is None:
            raise
        raise problem from error


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether `error`, of SQLite or of the file system, came of writing in `folder` with no room left there.

    SQLite calls it a full disk when a page does not fit, but a bare I/O error when its shared memory or a sync fails.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = str(error).lower()
    if "disk i/o error" in said or "unable to open" in said:
        with suppress(OSError):
            return shutil.disk_usage(folder).free < _FULL_BYTES
    return "disk is full" in said


def _full(file: Path) -> DatabaseProblem:
    return DatabaseProblem(
        f"The disk is full: {file} could not be written. What was committed before is kept.",
        "Free some space and run the command again.",
    )


def _problem(file: Path, error: BaseException) -> DatabaseProblem | None:
    message = str(error)
    said = message.lower()
    if disk_is_full(error, file.parent):
        return _full(file)
    if "locked" in said or "busy" in said:
        return DatabaseProblem(f"{file} is in use by another process.", "Wait for it to end, then try again.")
    # The last two are SQLCipher's word for a page that was changed, and full text's for its own tables.
    if any(word in said for word in ("malformed", "not a database", "sql logic error", "vtable constructor failed")):
        return DatabaseProblem(
            f"{file} is damaged, or is encrypted with another key ({message}).",
            "Restore a backup (`loci restore FILE`), or move the file away and ingest anew.",
        )
    if "readonly" in said or "unable to open" in said or "disk i/o error" in said:
        return DatabaseProblem(f"{file} cannot be written ({message}).", "Check the disk and the folder's permissions.")
    return None


def checkpoint(engine: Engine) -> None:
    """Fold the WAL into the database file and truncate it, as far as other processes let it."""
    with suppress(DatabaseError), engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
