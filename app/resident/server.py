"""The resident as a process: it listens, hands orders to its two lanes, and ends when nobody needs it.

Started by `app.resident.client` as `python -m app.resident NAME DATA CACHE CONFIG RUNTIME IDENTITY`.
"""

import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from queue import Empty
from typing import Any

from app.held import gpu_memory, main_memory
from app.resident.desk import Lane, Order
from app.resident.operations import Operations
from app.resident.place import Place
from app.resident.wire import PROTOCOL, Frame, Line
from app.workspace import Workspace

_TICK = 1.0
"""Seconds between two looks at the clock and at the socket's place."""

_HEARD_WITHIN = 10.0
"""Seconds that a door has to say what it wants."""

_SENT_WITHIN = 2.0
"""Seconds that the last frames have to reach their doors before the process ends."""

_GONE_AFTER = 0.1
"""Seconds between two looks whether a waiting door is still there."""


class Server:
    """Serves one profile until it is told to stop, has been idle, or its socket's place is gone."""

    def __init__(self, workspace: Workspace, place: Place, identity: str, lock: int) -> None:
        """`lock` is held until `close`."""
        self._workspace = workspace
        self._place = place
        self._identity = identity
        self._lock = lock
        self._idle = workspace.settings.resident.idle_seconds
        self._operations = Operations(workspace, lambda frame: self._model.tell(frame), lambda: self._model.wanted)
        self._model = Lane("model", self._operations.model_lane, self._operations.rest)
        self._search = Lane("search", self._operations.search_lane)
        self._started = self._used = time.time()
        self._wake, self._woken = socket.socketpair()
        self._stopping = False
        self._served = 0
        self._threads: list[threading.Thread] = []
        self._last: list[Line] = []
        """Connections that end with the process: who asked for its end waits for that."""

    def stop(self, at_once: bool) -> None:
        """End soon, from any thread or signal handler; what is under way is finished, or given up `at_once`."""
        self._stopping = True
        if at_once:
            self._model.cancel()
            self._search.cancel()
        self._wake.send(b".")

    def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Listen and serve; `ready` is called when doors can connect. The holder of the lock calls this."""
        listener = self._place.listen()
        own = self._place.door.stat()
        ready()
        with closing(listener), selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select(_TICK):
                    if key.fileobj is listener:
                        self._accept(listener)
                if self._is_idle() or not self._is_here(own):
                    break
            if self._is_here(own):
                self._place.door.unlink()  # from here on, doors start another
        self._search.finish(lambda: None)
        self._model.finish(self._workspace.close)
        end = time.monotonic() + _SENT_WITHIN
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def close(self) -> None:
        """Let another be the resident, and those go on who wait for this one's end; the process's end does it, too."""
        os.close(self._lock)
        for line in self._last:
            line.close()

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _is_here(self, own: os.stat_result) -> bool:
        with suppress(FileNotFoundError):
            found = self._place.door.stat()
            return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
        return False

    def _is_idle(self) -> bool:
        if len(self._model) or len(self._search):
            self._used = time.time()
        return time.time() - self._used > self._idle

    # ---- one connection ----------------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        line = Line(connection)
        connection.settimeout(_HEARD_WITHIN)
        with suppress(OSError, ValueError, KeyError, TypeError):  # the door has gone, or it is none of ours
            frame = line.receive()
            if frame is not None and self._heard(line, frame):
                return
        line.close()

    def _heard(self, line: Line, frame: Frame) -> bool:
        """Do what a door asks; whether its connection stays open until the end."""
        if frame["op"] == "status":
            line.send(self._status())
        elif frame["op"] == "key":
            key = self._workspace.key
            line.send(self._hello() | {"key": key and key.secret.hex()})
        elif frame["op"] == "stop":
            line.send(self._hello())
            self._last.append(line)
            self.stop(frame["at_once"])
            return True
        elif frame["identity"] != self._identity and frame["op"] != "forget_sessions":
            line.send(self._hello())
        else:
            self._do(line, Order(frame))
        return False

    def _do(self, line: Line, order: Order) -> None:
        self._used = time.time()
        lane = self._search if order.frame["op"] in ("search", "encode") else self._model
        if not lane.add(order):
            return  # it ends: the door, which hears nothing, starts another
        self._served += 1
        line.socket.settimeout(None)
        line.send(self._hello())
        while True:
            try:
                frame = order.frames.get(timeout=_GONE_AFTER)
                line.send(frame)
                if "result" in frame or "failed" in frame:
                    break
            except Empty:
                pass
            except OSError:
                order.cancelled = True
                break
            if _gone(line.socket):
                order.cancelled = True
                break
        self._used = time.time()

    def _hello(self) -> Frame:
        return {"protocol": PROTOCOL, "identity": self._identity, "pid": os.getpid()}

    def _status(self) -> Frame:
        now = time.time()
        busy = len(self._model) + len(self._search)
        return self._hello() | {
            "profile": self._workspace.profile.name,
            **self._operations.describe(),
            "busy": busy,
            "served": self._served,
            "uptime_seconds": round(now - self._started, 1),
            "ends_in_seconds": None if busy else round(max(self._used + self._idle - now, 0.0), 1),
            "memory_bytes": main_memory(),
            "gpu_bytes": gpu_memory(),
        }


def _gone(connection: socket.socket) -> bool:
    """Whether the other side has closed; it has nothing more to say, so anything to read is the end."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def serve(workspace: Workspace, place: Place, identity: str, lock: int) -> None:
    """Be the resident, in the main thread of a process that holds the lock, and end on SIGTERM."""
    server = Server(workspace, place, identity, lock)
    stop: Callable[[int, Any], None] = lambda number, frame: server.stop(at_once=True)  # noqa: E731
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()
