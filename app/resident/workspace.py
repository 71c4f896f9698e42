"""A profile opened by a door whose model and embedder are the resident's."""

import base64
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.answer import Answer, Ask, Assists, Begun, Completed, Found, Packed, Profile, Started, Text, TurnEvent
from app.profile import open_profile
from app.resident.client import Resident
from app.resident.wire import Frame, pack, unpack
from app.workspace import Workspace
from model.engine import EngineInfo
from retrieval.types import Passage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.pinned import Kept
    from memory.reading import Complete
    from retrieval.embedder import Embedder


_EVENTS: dict[str, type[TurnEvent]] = {kind.__name__: kind for kind in (Begun, Started, Found, Packed, Text, Completed)}


class ResidentWorkspace(Workspace):
    """The same rooms; what takes the model or the embedder happens in the resident, if the settings want one.

    A door that only asks or searches opens no store and does not even read the settings: a resident with its identity
    has them.
    """

    def __init__(self, profile: Profile, flags: Mapping[str, Any] | None = None) -> None:
        super().__init__(profile, flags)
        self._info: EngineInfo | None = None

    @classmethod
    def open(cls, name: str | None = None, flags: Mapping[str, Any] | None = None) -> "ResidentWorkspace":
        return cls(open_profile(name), flags)

    @cached_property
    def resident(self) -> Resident | None:
        """The resident, which need not run yet; None where the settings want none."""
        found = Resident(
            self.profile, may_start=lambda: self.settings, secret=lambda: self.key.secret if self.key else b""
        )
        return found if found.running() or self.settings.resident.enabled else None

    @cached_property
    def embedder(self) -> "Embedder":
        own = super().embedder  # its tokenizer counts here, its weights are not loaded
        return own if self.resident is None else ResidentEmbedder(own, self.resident)

    def assistant(self) -> Assists:
        return super().assistant() if self.resident is None else ResidentAssistant(self)

    def search(
        self, query: str, collections: Sequence[str], limit: int, documents: Sequence[str] | None
    ) -> list[Passage]:
        if self.resident is None:
            return super().search(query, collections, limit, documents)
        found = self.resident.result("search", query=query, scope=collections, limit=limit, documents=documents)
        return unpack(list[Passage], found)

    def load(self) -> EngineInfo:
        if self.resident is None:
            return super().load()
        if self._info is None:  # else it is loaded, or will be by the turn that needs it
            self._info = unpack(EngineInfo, self._drawn(self.order("load")))
        return self._info

    def choose_model(self, reference: str) -> None:
        super().choose_model(reference)
        self._flags = {**(self._flags or {}), "model.reference": reference}
        self._info = None

    @property
    def model_loaded(self) -> bool:
        return super().model_loaded or self._info is not None

    def model_info(self) -> EngineInfo:
        if self.resident is None:
            return super().model_info()
        return self._info or unpack(EngineInfo, self._drawn(self.order("describe")))

    def last_session(self, collections: Sequence[str]) -> int:
        if self.resident is None:
            return super().last_session(collections)
        return int(self._drawn(self.order("last_session", scope=collections)))

    def keep_pinned(self, collection: str) -> "Kept | None":
        if self.resident is None:
            return super().keep_pinned(collection)
        from app.pinned import Kept

        kept = self._drawn(self.order("keep", collection=collection))
        return None if kept is None else unpack(Kept, kept)

    def reader(self) -> "Complete":
        if self.resident is None:
            return super().reader()
        return lambda instructions, message, schema: str(
            self._drawn(self.order("read", instructions=instructions, message=message, schema=schema))
        )

    def order(self, op: str, **fields: Any) -> Generator[Frame, None, Any]:
        """Have the resident do what takes the model that this door means."""
        assert self.resident is not None  # each caller has looked
        reference = (self._flags or {}).get("model.reference")
        with closing(self.resident.order(op, model=reference, **fields)) as frames:
            while True:
                try:
                    frame = next(frames)
                except StopIteration as stop:
                    return stop.value
                if "loading" in frame:
                    if self.loading is not None:
                        self.loading(*frame["loading"])
                elif "model" in frame:
                    self._info = unpack(EngineInfo, frame["model"])
                else:
                    yield frame

    @staticmethod
    def _drawn(frames: Generator[Frame, None, Any]) -> Any:
        while True:
            try:
                next(frames)
            except StopIteration as stop:
                return stop.value


class ResidentAssistant:
    """The resident's assistant, asked from this process."""

    def __init__(self, workspace: ResidentWorkspace) -> None:
        self._workspace = workspace

    def ask(self, ask: Ask) -> Answer:
        answers = [event.answer for event in self.turn(ask) if isinstance(event, Completed)]
        return answers[0]

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        with closing(self._workspace.order("turn", ask=pack(ask))) as frames:
            for frame in frames:
                if "waiting" in frame:
                    yield Started("wait")
                else:
                    yield unpack(_EVENTS[frame["event"]], frame["is"])


class ResidentEmbedder:
    """An embedder whose weights are in the resident; all else about it is known here."""

    def __init__(self, own: "Embedder", resident: Resident) -> None:
        self._own = own
        self._resident = resident

    @property
    def id(self) -> str:
        return self._own.id

    @property
    def sha256(self) -> str:
        return self._own.sha256

    @property
    def dimension(self) -> int:
        return self._own.dimension

    @property
    def max_tokens(self) -> int:
        return self._own.max_tokens

    def count_tokens(self, text: str) -> int:
        return self._own.count_tokens(text)

    def encode(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        import numpy as np

        found = self._resident.result("encode", texts=list(texts))
        return np.frombuffer(base64.b64decode(found["float32"]), np.float32).reshape(found["shape"]).copy()  # [N, D]
