"""Bytes of a text file as text: a byte-order mark, a declared charset, UTF-8, then a guess."""

import codecs
import re
from pathlib import Path

from retrieval.errors import UnreadableDocument

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_GUESSED_BYTES = 256 * 1024


def read_text(path: Path) -> str:
    """A text file, whatever its encoding. Raises UnreadableDocument for a binary one."""
    return decode(path.read_bytes())


def decode(data: bytes, *, declared: bool = False) -> str:
    """Text of `data`; `declared` also believes a charset named in its first 2 KiB, as HTML and XML do.

    Raises UnreadableDocument when the bytes are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    if b"\0" in data:
        raise UnreadableDocument("It is a binary file, not text.")
    named = _DECLARED.search(data[:2048]) if declared else None
    for encoding in (named.group(1).decode("ascii") if named else "utf-8", "utf-8"):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return _damaged_utf8(data) or _guess(data)


def _damaged_utf8(data: bytes) -> str | None:
    """UTF-8 in which a few bytes are broken: at least ten sound characters beyond ASCII for each broken one."""
    text = data.decode("utf-8", errors="replace")
    beyond = sum(1 for char in text if char > "\x7f")
    return text if 11 * text.count("\ufffd") <= beyond else None


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_GUESSED_BYTES]).best()
    if best is None:
        raise UnreadableDocument("Its text encoding cannot be recognised.", "Save it as UTF-8.")
    return data.decode(best.encoding, errors="replace")


def looks_like_text(path: Path) -> bool:
    """Whether the first 4 KiB are UTF-8 without control characters; false for what cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except (OSError, UnicodeDecodeError):
        return False
    return bool(text.strip()) and not any(ord(char) < 32 and char not in "\t\n\r\f" for char in text)
