"""What can go wrong with the memory, in words for the person at the door."""

from typing import ClassVar


class RememberingError(Exception):
    """Base of this room's errors: a title per class, a message per case, and the mend."""

    title: ClassVar[str] = "The memory failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message, mend)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


class NoSuchMemory(RememberingError):
    """The id names no memory."""

    title = "No such memory"
    exit_code = 3


class OnlySecrets(RememberingError):
    """A text to be remembered says nothing but secrets, which are not stored."""

    title = "Nothing was stored"
    exit_code = 3


class NoSuchSession(RememberingError):
    """The id names no session or turn."""

    title = "No such session"
    exit_code = 3


class NoSuchModel(RememberingError):
    """The number names no version of the retention model."""

    title = "No such model"
    exit_code = 3


class BadExamples(RememberingError):
    """A file of examples for the retention model cannot be used."""

    title = "These examples teach nothing"
    exit_code = 2
