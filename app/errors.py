"""The assistant's own errors, and the one tuple of all that a door catches and renders."""

from typing import ClassVar

from memory.errors import RememberingError
from model.errors import ModelError
from retrieval.errors import RetrievalError


class AppError(Exception):
    """Base of this room's errors: a title per class, a message per case, and the mend."""

    title: ClassVar[str] = "Loci failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message, mend)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


class BadSettings(AppError):
    """A setting is unknown or has a value it cannot have."""

    title = "Bad settings"
    exit_code = 2


class BadInput(AppError):
    """A file or argument given to a command cannot be used."""

    title = "Bad input"
    exit_code = 2


class Locked(AppError):
    """The profile is encrypted, and neither its key nor somebody to ask for the passphrase is at hand."""

    title = "The profile is locked"
    exit_code = 2


class DiskFull(AppError):
    """A file could not be written because its disk has no room left."""

    title = "The disk is full"


class DamagedBackup(AppError):
    """A backup's content does not match its manifest."""

    title = "The backup is damaged"


class TracesLeft(AppError):
    """Something was deleted for good, and a search found that not all of it is gone."""

    title = "Traces are left"


class ResidentFailed(AppError):
    """The resident could not be started, does not answer, or met something that nobody foresaw."""

    title = "The resident failed"


class ResidentEnded(AppError):
    """The resident died while it worked for this door: an abort in native code, no memory, a kill."""

    title = "The resident ended"


class DemoFailed(AppError):
    """The sample could not be read, or the demonstration's second process did not answer."""

    title = "The demonstration failed"


LociError = (AppError, ModelError, RetrievalError, RememberingError)
"""Everything a person can meet; `except LociError` stands at each door and nowhere else."""
