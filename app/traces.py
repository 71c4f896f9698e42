"""Looking for what was deleted, in the bytes of files.

Texts and long words are searched as bytes, in files as they are. Words under `LEAST` bytes would turn up among vectors
by chance: those are looked up in the full text. A hit in a database that one of its rows accounts for is something
that was kept and says the same; any other is a trace.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from app.answer import Profile
from app.purge_journal import journal
from memory.quoting import holds, said_back, sentences
from retrieval.cipher import Key, connect, decrypted, is_encrypted

LEAST = 6
"""Bytes from which a word or text is searched as bytes."""
MOST = 200
"""Pieces searched as bytes; of a longer list those in even steps through it."""
_BLOCK = 8 << 20
_WHOLE = 2000
"""Characters up to which a text is also searched whole."""


@dataclass(frozen=True, slots=True)
class Left:
    """A place that still says it."""

    place: str
    kept: bool
    """It is something else, which was not deleted; False for a trace."""


@dataclass(frozen=True, slots=True)
class Search:
    files: int
    bytes: int
    left: tuple[Left, ...]

    def __add__(self, other: "Search") -> "Search":
        left = tuple(dict.fromkeys((*self.left, *other.left)))
        return Search(self.files + other.files, self.bytes + other.bytes, left)


def search(
    files: Iterable[tuple[str, Path]], texts: Sequence[str], words: Sequence[str], key: Key | None = None
) -> Search:
    """Read `files`, each with the name that a person knows it by, for `texts` and `words` in any case of letters.

    Encrypted databases are read through `key`, with the pages that they no longer use.
    """
    needles = _needles(texts, [word for word in words if len(word.encode()) >= LEAST])
    short = [word for word in words if len(word.encode()) < LEAST]
    found: list[Left] = []
    count = size = 0
    for name, file in files:
        try:
            length = file.stat().st_size
            own = key if key is not None and _is_under_key(file) else None
            hits = _hits(decrypted(file, own) if own else _blocks(file), needles)
        except FileNotFoundError:
            continue  # a log that went when its database was closed
        count, size = count + 1, size + length
        if file.suffix == ".db" and length:
            with closing(connect(file, own, read_only=True)) as db:
                found += [left for hit in hits for left in _explained(name, db, hit)]
                found += _in_full_text(name, db, short)
        elif hits:
            found.append(Left(name, kept=False))
    return Search(count, size, tuple(dict.fromkeys(found)))


def every_file(profile: Profile) -> Iterator[tuple[str, Path]]:
    """Files in the profile's folders and those that a restore moved aside. Not models: nothing is written to them."""
    beside = [
        folder
        for part in (profile.data, profile.config)
        for kind in ("replaced", "restoring")
        for folder in sorted(part.parent.glob(f".{part.name}-{kind}-*"))
    ]
    for folder in (profile.data, profile.cache, profile.config, *beside):
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            inside = file.relative_to(folder)
            if file.is_file() and not file.is_symlink() and inside.parts[0] != "models" and file != journal(profile):
                yield str(file), file


def _is_under_key(file: Path) -> bool:
    """Whether it is an encrypted database or the WAL of one."""
    return is_encrypted(file.with_name(file.name.removesuffix("-wal"))) if ".db" in file.suffix else False


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as handle:
        while block := handle.read(_BLOCK):
            yield block


def _hits(blocks: Iterable[bytes], needles: Sequence[bytes]) -> list[bytes]:
    wanted, found = list(needles), []
    overlap = max((len(needle) for needle in wanted), default=1) - 1
    tail = b""
    for block in blocks:
        data = tail + block.lower()
        found += [needle for needle in wanted if needle in data]
        wanted = [needle for needle in wanted if needle not in found]
        if not wanted:
            break
        tail = data[-overlap:] if overlap else b""
    return found


def _needles(texts: Iterable[str], words: Iterable[str]) -> list[bytes]:
    """In lower case, composed and decomposed; texts also sentence by sentence, said back, and as JSON writes them."""
    pieces: dict[bytes, None] = {}
    for text in texts:
        parts = [text[slice(*span)] for span in sentences(text)]
        if len(text) <= _WHOLE:
            parts += [text.strip(), said_back(text.strip())]
        for part in parts:
            for form in (part, json.dumps(part, ensure_ascii=False)[1:-1], json.dumps(part)[1:-1]):
                pieces.update(dict.fromkeys(_forms(form)))
    for word in words:
        pieces.update(dict.fromkeys(_forms(word)))
    kept = [piece for piece in pieces if len(piece) >= LEAST]
    return kept[:: -(-len(kept) // MOST) or 1]


def _forms(text: str) -> Iterator[bytes]:
    for form in ("NFC", "NFD"):
        normal = unicodedata.normalize(form, text)
        yield normal.encode().lower()  # as the bytes of a file are made lower: ASCII alone
        yield normal.lower().encode()


def _explained(name: str, db: Connection, hit: bytes) -> Iterator[Left]:
    rows = [Left(f"{name}: {row}", kept=True) for row in _rows_with(db, hit.decode().lower())]
    yield from rows or [Left(name, kept=False)]


def _rows_with(db: Connection, text: str) -> Iterator[str]:
    """Rows of ordinary tables that hold `text`, up to three of each; the schema's own words are such a place, too."""
    db.create_function("low", 1, lambda value: str(value).lower(), deterministic=True)
    tables = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    if any(text in sql.lower() for _, sql in tables if sql):
        yield "schema"
    for table, sql in tables:
        if "_fts" in table or table.startswith("sqlite_"):
            continue  # full text is made of the rows
        columns = [row[1] for row in db.execute(f'PRAGMA table_info("{table}")') if row[2].upper() == "TEXT"]
        if columns:
            held = " OR ".join(f'instr(low("{column}"), ?)' for column in columns)
            key = f'"{columns[0]}"' if "WITHOUT ROWID" in sql.upper() else "rowid"
            for (row,) in db.execute(f'SELECT {key} FROM "{table}" WHERE {held} LIMIT 3', [text] * len(columns)):
                yield f"{table} {row}"


def _in_full_text(name: str, db: Connection, words: Sequence[str]) -> Iterator[Left]:
    tables = db.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%fts5%'").fetchall()
    for (table,) in tables:
        for word in words:
            quoted = '"' + word.replace('"', "") + '"'
            for row, *said in db.execute(f"SELECT rowid, * FROM {table} WHERE {table} MATCH ?", (quoted,)):
                if holds(" ".join(map(str, said)), word):  # and not merely another word of one stem
                    yield Left(f"{name}: {table} {row}", kept=False)
