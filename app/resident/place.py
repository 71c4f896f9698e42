"""Where the resident of a profile is met: a socket for its owner alone, a lock that dies with its holder, and a log."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from app.answer import Profile
from app.profile import runtime

_LONGEST = 100
"""Bytes of a socket's path that every system takes."""

_WAITING = 128
"""Doors that may knock at once."""


@dataclass(frozen=True, slots=True)
class Place:
    folder: Path

    @classmethod
    def of(cls, profile: Profile) -> "Place":
        return cls(runtime(profile))

    @property
    def door(self) -> Path:
        """The socket's file."""
        return self.folder / "socket"

    @property
    def log(self) -> Path:
        """What native code and the interpreter said last; holds no content."""
        return self.folder / "log"

    def connect(self) -> socket | None:
        """A connection; None where nobody listens."""
        if not self.door.exists():
            return None
        connection = socket(AF_UNIX, SOCK_STREAM)
        try:
            with self._address() as address:
                connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return connection

    def listen(self) -> socket:
        """Listen in place of a resident that died; only the holder of the lock may."""
        with suppress(FileNotFoundError):
            self.door.unlink()
        listener = socket(AF_UNIX, SOCK_STREAM)
        closed_to_others = os.umask(0o177)
        try:
            with self._address() as address:
                listener.bind(address)
        finally:
            os.umask(closed_to_others)
        listener.listen(_WAITING)
        return listener

    def lock(self, doing: str = "") -> int | None:
        """Hold the lock, as a descriptor to keep open; None where another process holds it.

        :param doing: what the holder does to the profile where it is no resident and must not be ended.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {doing}".encode())
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # a full disk: a lock without its holder's id would be waited for without end
            os.close(descriptor)
            raise
        return descriptor

    def holder(self) -> int | None:
        """Process id of the resident, be it one that is starting or ending; None where there is none."""
        while True:
            try:
                with (self.folder / "lock").open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return None
            except FileNotFoundError:
                return None
            except BlockingIOError:
                with suppress(ValueError, FileNotFoundError):  # it has the lock and has not yet written its id
                    return int(self._written()[0])

    def doing(self) -> str:
        """What the present holder does in place of serving; empty for a resident, and where nobody holds the lock."""
        return self._written()[1] if self.holder() is not None else ""

    def _written(self) -> tuple[str, str]:
        pid, _, doing = (self.folder / "lock").read_text("ascii").partition(" ")
        return pid, doing

    @contextmanager
    def _address(self) -> Iterator[str]:
        """The socket's path, by way of its folder's descriptor where it is too long (Linux)."""
        path = str(self.door)
        if len(os.fsencode(path)) <= _LONGEST:
            yield path
            return
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{self.door.name}"
        finally:
            os.close(folder)
