"""The one way to a database file, encrypted or not, and what a profile's key does for other files.

Encryption at rest is optional: databases by SQLCipher (AES-256 in CBC mode with an HMAC for each page), other files by
AES-256-GCM. Knows nothing about where a key comes from. Both packages are in the extra `encryption`.
"""

import hashlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from retrieval.errors import DatabaseProblem, EncryptionMissing, WrongKey, install_command

_PLAIN = b"SQLite format 3\0"
_PAGE = 4096  # SQLCipher 4, like the numbers below: it ends each page with the vector of its block chain and an HMAC
_SALT = 16  # stands in place of the first page's beginning
_VECTOR = 16
_HMAC = 64
_AT_ONCE = 2048  # pages
_NONCE = 12  # bytes before each sealed content, drawn anew every time


@dataclass(frozen=True, slots=True)
class Key:
    """What all of a profile is encrypted with: 32 random bytes, which no person ever sees."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Tells keys apart, and nothing about them."""
        return hashlib.blake2b(key=self.secret, person=b"loci key id", digest_size=8).hexdigest()

    def seal(self, content: bytes) -> bytes:
        """Encrypted and signed, by a key of its own that is derived from this one."""
        nonce = os.urandom(_NONCE)
        return nonce + bytes(self._aead().encrypt(nonce, content, None))

    def unseal(self, sealed: bytes) -> bytes:
        """:raises WrongKey: it was sealed with another key, or changed.
        :raises EncryptionMissing: the extra is not installed.
        """
        aead, refused = self._aead(), needed("cryptography.exceptions").InvalidTag
        try:
            return bytes(aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], None))
        except refused:
            raise WrongKey("A file of the profile cannot be read with its key.", "Restore a backup.") from None

    def _aead(self) -> Any:
        derived = hashlib.blake2b(key=self.secret, person=b"loci files", digest_size=32).digest()
        return needed("cryptography.hazmat.primitives.ciphers.aead").AESGCM(derived)


def needed(module: str, extra: str = "encryption") -> Any:
    """A module of an extra.

    :raises EncryptionMissing: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise EncryptionMissing(
            "This profile is encrypted, or is to be, and a package for that is not installed.",
            install_command(extra),
        ) from None


def driver(key: Key | None) -> Any:
    """The module of DB-API 2 for files under `key`.

    :raises EncryptionMissing: the extra is not installed.
    """
    return sqlite3 if key is None else needed("sqlcipher3.dbapi2")


def driver_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """What the drivers in use raise, and `others`, to be caught: SQLCipher's errors are no relatives of SQLite's."""
    loaded = sys.modules.get("sqlcipher3.dbapi2")
    return (sqlite3.Error, *others) if loaded is None else (sqlite3.Error, loaded.Error, *others)


def connect(file: Path, key: Key | None = None, *, read_only: bool = False, **parameters: Any) -> sqlite3.Connection:
    """A connection in autocommit mode; `parameters` are those of `sqlite3.connect`.

    Whether `key` is the file's shows when it is first read.

    :raises DatabaseProblem: the file is there and empty.
    """
    refuse_empty(file)
    name = f"{file.absolute().as_uri()}?mode=ro" if read_only else str(file)
    connection = driver(key).connect(name, uri=read_only, isolation_level=None, **parameters)
    if key is not None:
        connection.execute("PRAGMA cipher_log_level = NONE")  # it would write to stderr beside the error that it raises
        connection.execute(f'PRAGMA key = "{literal(key)}"')
    return cast(sqlite3.Connection, connection)  # SQLCipher's is of another class with the same methods


def refuse_empty(file: Path) -> None:
    """
    :raises DatabaseProblem: the file is there and empty, which SQLite would take for a new database. Ours get their
        names when they have their tables, so what this one held is lost.
    """
    try:
        empty = not file.stat().st_size
    except FileNotFoundError:
        return
    if empty:
        raise DatabaseProblem(
            f"{file} is empty: what it held is lost.",
            "Restore a backup (`loci restore FILE --force`), or delete the file to begin anew.",
        )


def literal(key: Key) -> str:
    """The key as PRAGMA key and ATTACH take it between quotes: as it is, to be derived no further."""
    return f"x'{key.secret.hex()}'"


def is_encrypted(database: Path) -> bool:
    """Whether there is a database whose first bytes are not SQLite's own."""
    try:
        with database.open("rb") as handle:
            beginning = handle.read(len(_PLAIN))
    except FileNotFoundError:
        return False
    return bool(beginning) and beginning != _PLAIN


def decrypted(file: Path, key: Key) -> Iterator[bytes]:
    """The bytes inside a database under `key` or inside its WAL, free pages included, without the help of SQLCipher.

    After its "Design" (https://www.zetetic.net/sqlcipher/design/) and SQLite's "WAL Format". HMACs are not checked:
    what is no page of the database comes out as noise.
    """
    head, frame = (32, 24) if file.name.endswith("-wal") else (0, 0)
    with file.open("rb") as handle:
        handle.seek(head)
        number = 0
        while block := handle.read(_AT_ONCE * (frame + _PAGE)):
            pages = []
            for start in range(0, len(block) - frame - _PAGE + 1, frame + _PAGE):
                number = int.from_bytes(block[start : start + 4]) if frame else number + 1
                pages.append(_page(block[start + frame : start + frame + _PAGE], key, _SALT if number == 1 else 0))
            yield b"".join(pages)


def _page(page: bytes, key: Key, skipped: int) -> bytes:
    ciphers = needed("cryptography.hazmat.primitives.ciphers")
    end = _PAGE - _VECTOR - _HMAC
    mode = ciphers.modes.CBC(page[end : end + _VECTOR])
    cipher = ciphers.Cipher(ciphers.algorithms.AES(key.secret), mode).decryptor()
    return bytes(cipher.update(page[skipped:end]) + cipher.finalize())
