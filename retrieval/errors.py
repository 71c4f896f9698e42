"""What can go wrong with documents and their library, in words for the person at the door."""

import shlex
import sys
from importlib.util import find_spec
from typing import ClassVar


def install_command(extra: str) -> str:
    """The command that installs an extra beside this very program, whose Python the `pip` of a shell may not reach
    (a virtual environment, pipx); what uv installs has no pip."""
    python = shlex.quote(sys.executable)
    tool = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return f"{tool} 'loci-assistant[{extra}]'"


class RetrievalError(Exception):
    """Base of this room's errors: a title per class, a message per case, and the mend."""

    title: ClassVar[str] = "The library failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message, mend)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


class NoSuchDocument(RetrievalError):
    """The reference names no document of the library."""

    title = "No such document"
    exit_code = 3


class NoSuchPath(RetrievalError):
    """A file or folder named on the command line does not exist."""

    title = "No such file or folder"
    exit_code = 2


class UnreadableDocument(RetrievalError):
    """A file could not be turned into text: broken, encrypted, empty, oversized or out of time."""

    title = "The file cannot be read"


class UnsupportedType(UnreadableDocument):
    """No reader knows this kind of file; it is skipped, not failed."""

    title = "Unsupported type"


class NoText(UnsupportedType):
    """A picture in which nothing is written; it is skipped."""

    title = "The picture holds no text"


class EmptyText(UnsupportedType):
    """A text file in which nothing is written: there is nothing amiss with it, and it is skipped."""

    title = "The file holds no text"


class OcrMissing(UnsupportedType):
    """A picture would have to be recognised, and tesseract or its language is not installed; it is skipped."""

    title = "Text recognition is not installed"


class EmbedderMismatch(RetrievalError):
    """The library was embedded with another model than the one in use."""

    title = "The library was made with another embedder"


class RerankerNotFound(RetrievalError):
    """The reference names no cross-encoder on this machine."""

    title = "No such reranker"
    exit_code = 2


class DatabaseProblem(RetrievalError):
    """A database is damaged, from a newer version, locked for too long, or out of disk."""

    title = "The database cannot be used"


class LibraryChanged(RetrievalError):
    """Documents were removed or replaced since the epoch that a search was pinned to."""

    title = "The library changed meanwhile"


class BadFilter(RetrievalError):
    """A filter in a query has a value that it cannot have."""

    title = "Bad filter"
    exit_code = 2


class QueryRefused(RetrievalError):
    """A query over a table is not one that may be asked, or takes more than it may."""

    title = "The query was refused"


class WrongKey(RetrievalError):
    """A passphrase or key does not open what was encrypted."""

    title = "The key does not fit"


class EncryptionMissing(RetrievalError):
    """A profile is encrypted, and the packages that can open it are not installed."""

    title = "Encryption is not installed"
