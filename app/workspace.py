"""One opened profile: its library, memory, model and assistant, each made when first asked for and closed together."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from app.answer import Profile
from app.profile import config_file, open_profile, shelves
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from app.assistant import Assistant
    from memory.store import MemoryStore
    from model.engine import Engine, EngineInfo
    from retrieval.embedder import Embedder
    from retrieval.library import Library


class Workspace:
    """What a door works with. Opening one costs nothing; a context manager."""

    def __init__(self, profile: Profile, settings: Settings) -> None:
        self.profile = profile
        self.settings = settings
        self.loading: Callable[[int, int], None] | None = None
        """Called with the bytes read and those to read, where an engine tells while its model loads."""
        self._engine: Engine | None = None

    @classmethod
    def open(cls, name: str | None = None, flags: Mapping[str, Any] | None = None) -> Self:
        """Open the profile `name` with its settings; `flags` by dotted key go over them.

        :raises BadSettings: an unknown key or impossible value.
        """
        profile = open_profile(name)
        return cls(profile, load_settings(config_file(profile), flags))

    @cached_property
    def embedder(self) -> "Embedder":
        from retrieval.embedder import load_embedder

        return load_embedder(self.settings.retrieval.embedder)

    @cached_property
    def library(self) -> "Library":
        from retrieval.library import Library

        return Library(self.profile.data, self.profile.cache, self.settings.retrieval, lambda: self.embedder)

    @cached_property
    def memory(self) -> "MemoryStore":
        from memory.store import MemoryStore

        return MemoryStore(self.profile.data, self.settings.memory, self.embedder.encode, self.embedder.id)

    def engine(self) -> "Engine":
        """The model, loaded on the first call.

        :raises ModelError: it cannot be found or loaded.
        """
        if self._engine is None:
            from model.open import open_engine

            model = self.settings.model
            self._engine = open_engine(model.reference, model, self.loading, shelves(self.profile))
        return self._engine

    @property
    def model_loaded(self) -> bool:
        return self._engine is not None

    def model_info(self) -> "EngineInfo":
        """What is known of the model: from itself if it is loaded, else without loading it.

        :raises ModelError: it cannot be found.
        """
        if self._engine is not None:
            return self._engine.describe()
        from model.open import describe_reference

        return describe_reference(self.settings.model.reference, self.settings.model)

    def assistant(self) -> "Assistant":
        """The one turn's owner, over this profile; as cheap as its rooms, which it opens when they are needed."""
        from app.assistant import Assistant

        memory = self.memory if self.settings.memory.enabled else None
        return Assistant(self.engine, self.library, memory, self.settings.assistant)

    def close(self) -> None:
        """Close what was opened; the workspace is not used afterwards."""
        opened = self.__dict__
        with ExitStack() as closing:  # everything, whatever one of them raises: a full disk, a lost process
            for room in ("library", "memory"):
                if room in opened:
                    closing.callback(opened.pop(room).close)
            if self._engine is not None:
                closing.callback(self._engine.close)
                self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
