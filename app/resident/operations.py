"""What the resident does for doors, over one opened profile: each operation a generator of frames, its result last.

Knows nothing about sockets and processes.
"""

import base64
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from app.answer import Ask, Assists
from app.resident.desk import Order
from app.resident.wire import Frame, pack, unpack
from app.upkeep import upkeep
from app.workspace import Workspace
from model.open import EMBEDDED
from model.settings import ModelSettings

Frames = Generator[Frame, None, None]

_TOLD_EVERY = 0.1
"""Seconds between two words on the progress of loading."""


class Operations:
    """The rooms of one profile, opened once. `model_lane` and `search_lane` are each called by one thread."""

    def __init__(
        self, workspace: Workspace, tell: Callable[[Frame], None], wanted: Callable[[], bool] = lambda: False
    ) -> None:
        """`tell` reaches every door that waits for the model; `wanted` says whether one does."""
        self._workspace = workspace
        self._settings = workspace.settings.model
        self._tell = tell
        self._wanted = wanted
        self._left: Iterator[float] = iter(())
        """What turns have left to do."""
        self._assistant: Assists | None = None
        self._opening = threading.Lock()
        self._data = _identity(workspace.profile.data)
        self._told = 0.0
        workspace.loading = self._loading

    def model_lane(self, order: Order) -> Frames:
        """Operations that take the model, or what must not happen beside a turn."""
        self._look_at_profile()
        if "cwd" in order.frame:
            self._use(order.frame)
        operation = {
            "turn": self._turn,
            "load": self._load,
            "describe": self._describe,
            "last_session": self._last_session,
            "keep": self._keep,
            "read": self._read,
            "forget_sessions": self._forget_sessions,
        }[order.frame["op"]]
        yield from operation(order.frame)

    def rest(self) -> float | None:
        """Do a piece of what turns have left to do; the seconds until the next, None where nothing is left."""
        return next(self._left, None)

    def search_lane(self, order: Order) -> Frames:
        """Operations that take the embedder alone, and need not wait for an answer to end."""
        operation = {"search": self._search, "encode": self._encode}[order.frame["op"]]
        yield from operation(order.frame)

    def describe(self) -> Frame:
        """What is loaded."""
        return {"model": self._workspace.settings.model.reference if self._workspace.model_loaded else None}

    # ---- with the model ----------------------------------------------------------------------------

    def _turn(self, frame: Frame) -> Frames:
        ask = unpack(Ask, frame["ask"])
        told = False
        for event in self._assist().turn(ask):
            if self._workspace.model_loaded and not told:
                told = True
                yield {"model": pack(self._workspace.model_info())}
            yield {"event": type(event).__name__, "is": pack(event)}
        if ask.store and self._workspace.settings.memory.enabled:
            self._left = upkeep(self._workspace, self._wanted)
        yield {"result": None}

    def _load(self, frame: Frame) -> Frames:
        yield {"result": pack(self._workspace.engine().describe())}

    def _describe(self, frame: Frame) -> Frames:
        yield {"result": pack(self._workspace.model_info())}

    def _last_session(self, frame: Frame) -> Frames:
        yield {"result": self._workspace.last_session(frame["scope"])}

    def _keep(self, frame: Frame) -> Frames:
        yield {"result": pack(self._workspace.keep_pinned(frame["collection"]))}

    def _read(self, frame: Frame) -> Frames:
        yield {"result": self._workspace.reader()(frame["instructions"], frame["message"], frame["schema"])}

    def _forget_sessions(self, frame: Frame) -> Frames:
        from app.pinned import forget_own_sessions

        forget_own_sessions(self._workspace)
        self._close_stores()  # with the vectors of what is being deleted
        yield {"result": None}

    # ---- with the embedder -------------------------------------------------------------------------

    def _search(self, frame: Frame) -> Frames:
        with self._opening:
            _ = self._workspace.library  # opened by one of the two lanes
        found = self._workspace.search(frame["query"], frame["scope"], frame["limit"], frame["documents"])
        yield {"result": pack(found)}

    def _encode(self, frame: Frame) -> Frames:
        with self._opening:
            embedder = self._workspace.embedder
        vectors = embedder.encode(frame["texts"])  # [N, D]
        yield {"result": {"shape": vectors.shape, "float32": base64.b64encode(vectors.tobytes()).decode()}}

    # ---- what is opened ----------------------------------------------------------------------------

    def _assist(self) -> Assists:
        if self._assistant is None:
            with self._opening:
                self._assistant = self._workspace.assistant()
        return self._assistant

    def _use(self, frame: Frame) -> None:
        """Take the model that the door means; another one's place is freed first."""
        model = _at(frame["cwd"], self._settings, frame.get("model"))
        if model != self._workspace.settings.model:
            self._workspace.use_model(model)
            self._assistant = None

    def _look_at_profile(self) -> None:
        """Open the stores anew if the profile's folder is another than it was: a restore puts a new one in place."""
        data = _identity(self._workspace.profile.data)
        if data != self._data:
            self._data = data
            self._close_stores()

    def _close_stores(self) -> None:
        self._assistant = None
        self._left = iter(())
        with self._opening:
            self._workspace.close_stores()

    def _loading(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._told >= _TOLD_EVERY:
            self._told = time.monotonic()
            self._tell({"loading": [done, total]})


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _at(folder: str, settings: ModelSettings, reference: str | None) -> ModelSettings:
    """The settings with the model that a door asks for, and with paths as they read in the folder it works in."""
    there = {"reference": reference or settings.reference, "adapter": settings.adapter}
    found = {name: _absolute(folder, path) for name, path in there.items() if path is not None}
    return settings.model_copy(update=found)


def _absolute(folder: str, path: str) -> str:
    """The path as it reads in `folder`, if something is there; `embedded`, hf: and URLs are no paths."""
    here = Path(folder, path)
    return str(here) if path != EMBEDDED and not Path(path).is_absolute() and here.exists() else path
