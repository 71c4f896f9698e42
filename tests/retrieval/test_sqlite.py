import errno
import os
import shutil
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import OperationalError

import retrieval
from retrieval import schema, sqlite
from retrieval.errors import DatabaseProblem
from retrieval.fulltext import TOKENIZE, fts_query, fts_text
from retrieval.sqlite import checkpoint, open_database, reading, writing

MIGRATIONS = Path(retrieval.__file__).parent / "migrations"


def test_a_new_database_is_wal_with_foreign_keys_and_full_sync(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "folder" / "library.db", MIGRATIONS)
    with reading(engine) as db:
        assert db.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert db.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert db.execute(text("PRAGMA synchronous")).scalar() == 2
    engine.dispose()


def test_the_migrated_tables_are_those_of_the_schema_module(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    found = inspect(engine)
    for table in schema.metadata.tables.values():
        columns = {column["name"]: str(column["type"]) for column in found.get_columns(table.name)}
        assert columns == {column.name: str(column.type) for column in table.columns}
    engine.dispose()


def test_a_block_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    with pytest.raises(KeyError), writing(engine) as db:
        db.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
        raise KeyError
    with reading(engine) as db:
        assert db.execute(text("SELECT count(*) FROM meta")).scalar() == 0
    engine.dispose()


def test_a_reader_keeps_its_snapshot_while_a_writer_commits(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    with reading(engine) as before:
        assert before.execute(text("SELECT count(*) FROM meta")).scalar() == 0
        with writing(engine) as db:
            db.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
        assert before.execute(text("SELECT count(*) FROM meta")).scalar() == 0
    with reading(engine) as after:
        assert after.execute(text("SELECT count(*) FROM meta")).scalar() == 1
    engine.dispose()


def test_a_second_writer_waits_and_then_is_told_who_is_in_the_way(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS, busy_seconds=0.1)
    with (
        writing(engine),
        pytest.raises(DatabaseProblem, match=r"library\.db is in use by another process"),
        writing(engine),
    ):
        pass
    engine.dispose()


def test_many_openers_at_once_migrate_once(tmp_path: Path) -> None:
    problems: list[BaseException] = []

    def open_it() -> None:
        try:
            open_database(tmp_path / "library.db", MIGRATIONS).dispose()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_database_cut_to_nothing_is_no_new_one(tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    engine = open_database(file, MIGRATIONS)
    with writing(engine) as db:
        db.execute(text("INSERT INTO meta VALUES ('kept', 'yes')"))
    engine.dispose()
    os.truncate(file, 0)
    with pytest.raises(DatabaseProblem, match=r"library\.db is empty") as caught:
        open_database(file, MIGRATIONS)
    assert "loci restore" in caught.value.mend
    file.unlink()
    (tmp_path / "library.db-wal").write_bytes(b"of the one that was deleted")
    engine = open_database(file, MIGRATIONS)
    with reading(engine) as db:
        assert db.execute(text("SELECT count(*) FROM meta")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize("step", range(4))
def test_a_kill_while_a_database_is_made_leaves_none_or_a_whole_one(tmp_path: Path, step: int) -> None:
    file = tmp_path / "library.db"
    holder: Any
    holder, name = ((sqlite, "_engine"), (sqlite, "_upgrade"), (Engine, "dispose"), (Path, "rename"))[step]
    if not (child := os.fork()):

        def killed(*_: object, **__: object) -> None:
            if step == 0:
                (tmp_path / "library.db.part").touch()  # as SQLite leaves it until it writes
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(holder, name, killed)
        open_database(file, MIGRATIONS)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not file.exists()
    engine = open_database(file, MIGRATIONS)
    with writing(engine) as db:
        db.execute(text("INSERT INTO meta VALUES ('kept', 'yes')"))
    engine.dispose()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["library.db", "library.db.lock"]


def test_a_damaged_file_is_named_with_the_mend(tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(DatabaseProblem, match=r"library\.db is damaged") as caught:
        open_database(file, MIGRATIONS)
    assert "backup" in caught.value.mend


REBUILD = (
    "CREATE TABLE fresh (id INTEGER PRIMARY KEY, kind TEXT)",
    "INSERT INTO fresh SELECT id, 'a' FROM parent",
    "DROP TABLE parent",
    "ALTER TABLE fresh RENAME TO parent",
)


def write_migration(folder: Path, number: int, statements: tuple[str, ...]) -> None:
    before = f"{number - 1:04}" if number > 1 else None
    (folder / "versions" / f"v{number:04}_x.py").write_text(
        f"from alembic import op\nrevision, down_revision = '{number:04}', {before!r}\n"
        f"def upgrade():\n    for statement in {statements!r}:\n        op.execute(statement)\n"
    )


@pytest.mark.parametrize("orphan", [False, True])
def test_a_migration_may_rebuild_a_table_and_keeps_what_refers_to_it(tmp_path: Path, orphan: bool) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_bytes((MIGRATIONS / "env.py").read_bytes())
    tables = (
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (parent INTEGER REFERENCES parent (id) ON DELETE CASCADE)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1)",
    )
    write_migration(folder, 1, tables)
    open_database(tmp_path / "x.db", folder).dispose()
    write_migration(folder, 2, (*REBUILD, "DELETE FROM parent") if orphan else REBUILD)
    if orphan:
        with pytest.raises(DatabaseProblem, match="its schema was left as it was"):
            open_database(tmp_path / "x.db", folder)
        write_migration(folder, 2, REBUILD)
    engine = open_database(tmp_path / "x.db", folder)
    with reading(engine) as db:
        assert db.execute(text("SELECT kind FROM child JOIN parent ON parent.id = child.parent")).scalars().all() == [
            "a"
        ]
        assert db.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    open_database(file, MIGRATIONS).dispose()
    with sqlite3.connect(file) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    with pytest.raises(DatabaseProblem, match="newer version of Loci"):
        open_database(file, MIGRATIONS)


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "library.db"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(DatabaseProblem, match="not one of Loci's"):
        open_database(file, MIGRATIONS)


def test_a_full_disk_is_said_in_words_and_loses_nothing(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    with writing(engine) as db:
        db.execute(text("INSERT INTO meta VALUES ('kept', 'yes')"))
    with pytest.raises(DatabaseProblem, match="disk is full"), writing(engine) as db:
        db.execute(text(f"PRAGMA max_page_count={db.execute(text('PRAGMA page_count')).scalar()}"))
        db.execute(text("INSERT INTO meta VALUES ('big', :big)"), {"big": "x" * 1_000_000})
    with reading(engine) as db:
        assert db.execute(text("SELECT key FROM meta")).scalars().all() == ["kept"]
    engine.dispose()


def test_a_checkpoint_empties_the_wal(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    with writing(engine) as db:
        db.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
    checkpoint(engine)
    assert (tmp_path / "library.db-wal").stat().st_size == 0
    engine.dispose()


@pytest.fixture
def fts() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute(f'CREATE VIRTUAL TABLE t USING fts5 (body, tokenize = "{TOKENIZE}")')
    return db


def found(db: sqlite3.Connection, query: str) -> list[int]:
    return [row[0] for row in db.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank", (fts_query(query),))]


def put(db: sqlite3.Connection, *texts: str) -> None:
    db.executemany("INSERT INTO t VALUES (?)", [(fts_text(item),) for item in texts])


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ("東京都に住んでいます", "東京都"),
        ("我们在北京大学读书", "大学"),
        ("我们在北京大学读书", "书"),
        ("我们在北京大学读书", "京"),
        ("ภาษาไทยเป็นภาษาที่สวยงาม", "ภาษาไทย"),
        ("हिन्दी एक भाषा है", "हिन्दी"),
        ("Der Zug fährt über die Brücke", "brucke"),
        ("he was running late", "runs"),
        ("ﬁle names", "file"),
        ("the C++ and C# languages", "c#"),
        ("iPhone用ケース", "ケース"),
    ],
)
def test_words_of_any_script_are_found(fts: sqlite3.Connection, body: str, query: str) -> None:
    put(fts, "something else entirely", body)
    assert found(fts, query) == [2]


@pytest.mark.parametrize("query", ['"', "a AND", "NEAR(", "x* OR ^", "heading:x", "-y", "'; DROP", "🙂", "()", ""])
def test_no_query_is_a_syntax_error(fts: sqlite3.Connection, query: str) -> None:
    put(fts, "plain words")
    if fts_query(query):
        found(fts, query)


def test_stop_words_count_only_when_there_is_nothing_else() -> None:
    assert fts_query("what is the Turing machine") == '"turing" OR "machine"'
    assert fts_query("to be or not to be") == '"to" OR "be" OR "or" OR "not"'


@pytest.mark.parametrize(
    ("said", "free", "told"),
    [
        ("database or disk is full", 10**12, "The disk is full: .*library.db"),
        ("disk I/O error", 4096, "The disk is full: .*library.db"),
        ("unable to open database file", 0, "The disk is full: .*library.db"),
        ("disk I/O error", 10**12, r"cannot be written \(disk I/O error\)"),
    ],
)
def test_a_full_disk_is_called_full_whatever_sqlite_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, free: int, told: str
) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))
    with pytest.raises(DatabaseProblem, match=told) as caught, writing(engine):
        raise OperationalError("INSERT", {}, sqlite3.OperationalError(said))
    assert ("Free some space" in caught.value.mend) == ("full" in told)
    engine.dispose()


def test_a_lock_file_without_room_is_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DatabaseProblem, match="The disk is full"):
        open_database(tmp_path / "library.db", MIGRATIONS)


def test_a_wal_that_grew_is_cut_back_after_the_next_checkpoint(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "library.db", MIGRATIONS)
    wal = tmp_path / "library.db-wal"
    with pytest.raises(KeyError), writing(engine) as db:
        for number in range(4):
            db.execute(text("INSERT INTO meta VALUES (:key, :value)"), {"key": str(number), "value": "x" * (6 << 20)})
        raise KeyError
    with writing(engine) as db:
        db.execute(text("INSERT INTO meta VALUES ('big', :value)"), {"value": "x" * (20 << 20)})
    assert wal.stat().st_size > 16 << 20
    for key in "ab":  # the first may still be folded in; the next one starts the WAL anew
        with writing(engine) as db:
            db.execute(text("INSERT INTO meta VALUES (:key, '')"), {"key": key})
    assert wal.stat().st_size <= 8 << 20
    engine.dispose()
