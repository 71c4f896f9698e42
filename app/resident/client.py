"""A door's way to the resident: found or started, asked, and its death told in words.

Loads nothing heavy: a door that only asks starts in a tenth of a second.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any, cast

from app.answer import Profile
from app.errors import BadInput, ResidentEnded, ResidentFailed
from app.profile import make_private
from app.resident.failures import unpack_error
from app.resident.identity import UNLOCKING, identity
from app.resident.place import Place
from app.resident.wire import PROTOCOL, Frame, Line

STARTED_WITHIN = 60.0
"""Seconds until a process that was started listens, on a machine that is busy."""

_ACCEPTED_WITHIN = 30.0
"""Seconds until a resident takes an order: native code may hold it up, as the import of a library does."""

_ENDED_WITHIN = 10.0
"""Seconds that a resident has to end when it is told to, before it is killed."""

_PAUSE = 0.02

COMMAND = (sys.executable, "-P", "-m", "app.resident")
"""What starts a resident; -P: the current folder is not searched for modules."""


class Resident:
    """The resident of one profile, as seen by one door. Each order is a connection of its own: threads may share it."""

    def __init__(
        self,
        profile: Profile,
        may_start: Callable[[], object] = lambda: None,
        command: Sequence[str] = COMMAND,
        secret: Callable[[], bytes] = lambda: b"",
    ) -> None:
        """`may_start` is called before one is started, and raises if none can be; so is `secret`, for the key of an
        encrypted profile."""
        self.profile = profile
        self.place = Place.of(profile)
        self.identity = identity(profile)  # of this door as it started: what changes later is not what it runs
        self._may_start = may_start
        self._secret = secret
        self._command = command
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._met = False
        """Whether an order was taken since that was started."""

    def order(self, op: str, **fields: Any) -> Generator[Frame, None, Any]:
        """Have `op` done: the frames on the way, and its result. Closing the generator cancels.

        :raises LociError: what the resident met; `ResidentEnded` if it died.
        """
        with closing(self._accepted({"op": op, "cwd": _folder(), **fields})) as line:
            line.socket.settimeout(None)
            while (frame := line.receive()) is not None:
                if "failed" in frame:
                    raise unpack_error(frame["failed"])
                if "result" in frame:
                    return frame["result"]
                yield frame
        raise ResidentEnded(f"The process that holds the model {self._ending()}.", "Ask again: it starts anew.")

    def result(self, op: str, **fields: Any) -> Any:
        """The same, without the frames on the way."""
        frames = self.order(op, **fields)
        while True:
            try:
                next(frames)
            except StopIteration as stop:
                return stop.value

    def running(self) -> bool:
        """Whether a resident runs that answers as this door would: then there is no need for the settings."""
        line = self._knock({"op": "status"})
        if line is None:
            return False
        with closing(line):
            return (_first(line) or {}).get("identity") == self.identity

    def _accepted(self, order: Frame) -> Line:
        """A connection on which the order was taken, by a resident that was started or replaced if need be."""
        end = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < end:
            line = self._knock(order)
            if line is None:
                with self._starting:
                    self._start()
                time.sleep(_PAUSE)
                continue
            try:
                taken = _first(line)
            except ResidentFailed:
                line.close()
                raise
            if taken is not None and taken.get("identity") == self.identity:
                self._met = True
                self._end_loser(taken["pid"])
                return line
            line.close()
            if taken is not None:
                self._replace()
                end = time.monotonic() + STARTED_WITHIN
        raise ResidentFailed(f"The resident did not start: {self._last_words()}", "--no-resident does without.")

    def _knock(self, order: Frame) -> Line | None:
        connection = self.place.connect()
        if connection is None:
            return None
        connection.settimeout(_ACCEPTED_WITHIN)
        line = Line(connection)
        try:
            line.send({"protocol": PROTOCOL, "identity": self.identity, **order})
        except ConnectionError:  # it ended just now
            line.close()
            return None
        return line

    def _start(self) -> None:
        """Start a resident, unless one is starting or ending; of two that start at once, one ends."""
        if (self._child is not None and self._child.poll() is None) or self.place.holder() is not None:
            return
        if self._child is not None and self._child.returncode and not self._met:
            raise ResidentFailed(f"The resident did not start: {self._last_words()}", "--no-resident does without.")
        self._may_start()
        secret = self._secret()
        make_private(self.place.folder)
        root = str(Path(__file__).resolve().parents[2])
        paths = [str(Path(path).absolute()) for path in sys.path if path]
        environment = {name: value for name, value in os.environ.items() if name not in UNLOCKING}
        environment["PYTHONPATH"] = os.pathsep.join(paths if root in paths else [root, *paths])
        profile = self.profile
        folders = (profile.data, profile.cache, profile.config)
        with self.place.log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self._command, profile.name, *map(str, folders), str(self.place.folder), self.identity],
                stdin=subprocess.PIPE,  # brings the key: others see arguments and environment
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # the terminal's Ctrl+C is the door's
            )
        with suppress(BrokenPipeError), closing(cast(IO[bytes], self._child.stdin)) as pipe:
            pipe.write(secret)
        self._met = False

    def _end_loser(self, pid: int) -> None:
        """End what this door started if another door's came first: it must not take over when that one ends."""
        with self._starting:
            if self._child is not None and self._child.pid != pid:
                self._child.kill()
                self._child.wait()
                self._child = None

    def _replace(self) -> None:
        """End a resident of another version or under other settings, once it has done what it is doing."""
        if identity(self.profile) != self.identity:
            raise ResidentFailed("Loci or its settings changed after this was started.", "Leave it and start it again.")
        self._may_start()
        stop(self.place, at_once=False)

    def _ending(self) -> str:
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                code = self._child.wait(1)
                if code < 0:
                    return f"was ended by {signal.Signals(-code).name}"
        marks = [line for line in self._log() if line.startswith("Fatal Python error: ")]
        if marks:
            return f"met a fatal error ({marks[-1].removeprefix('Fatal Python error: ')})"
        return "was ended, perhaps for want of memory"

    def _last_words(self) -> str:
        lines = self._log()
        return lines[-1] if lines else f"{self.place.log} says nothing."

    def _log(self) -> list[str]:
        try:
            return self.place.log.read_text("utf-8", "replace").strip().splitlines()
        except FileNotFoundError:
            return []


def _first(line: Line) -> Frame | None:
    """What a resident says first; None if it ended.

    :raises ResidentFailed: it says nothing.
    """
    try:
        return line.receive()
    except TimeoutError:
        raise ResidentFailed("The resident does not answer.", "End it with: loci resident stop") from None


def _folder() -> str:
    """Where relative paths begin; nowhere, if the working folder is gone."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"


def tell_to_forget(profile: Profile) -> None:
    """Have the resident, if there is one, forget what its model read in conversations (`app.pinned`)."""
    connection = Place.of(profile).connect()
    if connection is None:
        return
    connection.settimeout(_ACCEPTED_WITHIN)
    with closing(Line(connection)) as line, suppress(ConnectionError):
        line.send({"protocol": PROTOCOL, "identity": "", "op": "forget_sessions"})
        frame = _first(line)
        connection.settimeout(None)  # the model may be at work for another door
        while frame is not None:
            if "failed" in frame:
                raise unpack_error(frame["failed"])
            if "result" in frame:
                return
            frame = line.receive()


def held_key(profile: Profile) -> bytes | None:
    """The key that the resident, if there is one, holds in memory; it tells its owner alone, who owns its socket."""
    connection = Place.of(profile).connect()
    if connection is None:
        return None
    connection.settimeout(_ACCEPTED_WITHIN)
    with closing(Line(connection)) as line, suppress(ConnectionError):
        line.send({"protocol": PROTOCOL, "identity": "", "op": "key"})
        return bytes.fromhex((_first(line) or {}).get("key") or "") or None
    return None


def status(place: Place) -> Frame | None:
    """What the resident says of itself, whatever its version; None where there is none."""
    connection = place.connect()
    if connection is None:
        return None
    connection.settimeout(_ACCEPTED_WITHIN)
    with closing(Line(connection)) as line, suppress(ConnectionError):
        line.send({"protocol": PROTOCOL, "identity": "", "op": "status"})
        return _first(line)
    return None


def stop(place: Place, *, at_once: bool = True) -> bool:
    """End the resident, if there is one, and wait for its end; whether there was one.

    :param at_once: questions under way are cancelled, else finished.
    :raises BadInput: the profile is held by what must not be ended.
    """
    pid = place.holder()
    if pid is None:
        return False
    if doing := place.doing():
        raise BadInput(f"The profile is being {doing} by process {pid}.", "Wait until that has ended.")
    connection = place.connect()
    if connection is not None:
        connection.settimeout(_ENDED_WITHIN if at_once else None)
        with closing(Line(connection)) as line, suppress(ConnectionError, TimeoutError):
            line.send({"protocol": PROTOCOL, "identity": "", "op": "stop", "at_once": at_once})
            line.receive()
            line.receive()  # the end of the connection is that of the process
    end = time.monotonic() + _ENDED_WITHIN
    while place.holder() == pid:
        if time.monotonic() > end:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)
    return True
