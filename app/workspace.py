"""One opened profile: its library, memory, model and assistant, each made when first asked for and closed together."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from app.answer import Profile
from app.errors import LociError
from app.keys import Keys, is_encrypted
from app.profile import config_file, open_profile, plan_notes, shelves

if TYPE_CHECKING:
    from app.answer import Assists
    from app.pinned import Kept
    from app.settings import Settings
    from memory.reading import Complete
    from memory.store import MemoryStore
    from model.engine import Engine, EngineInfo
    from model.settings import ModelSettings
    from retrieval.cipher import Key
    from retrieval.embedder import Embedder
    from retrieval.library import Library
    from retrieval.types import Passage


class Workspace:
    """What a door works with. Opening one costs nothing; a context manager."""

    def __init__(self, profile: Profile, flags: Mapping[str, Any] | None = None) -> None:
        """`flags` by dotted key go over the settings of the profile."""
        self.profile = profile
        self._flags = flags
        self.keys = Keys()
        self.loading: Callable[[int, int], None] | None = None
        """Called with the bytes read and those to read, where an engine tells while its model loads."""
        self._engine: Engine | None = None
        self._answers = False

    @classmethod
    def open(cls, name: str | None = None, flags: Mapping[str, Any] | None = None) -> Self:
        """Open the profile `name` with its settings; `flags` by dotted key go over them.

        :raises BadSettings: an unknown key or impossible value.
        """
        opened = cls(open_profile(name), flags)
        _ = opened.settings
        return opened

    @cached_property
    def settings(self) -> "Settings":
        """
        :raises BadSettings: an unknown key or impossible value.
        """
        from app.settings import load_settings  # pydantic, 0.2 s

        return load_settings(config_file(self.profile), self._flags)

    @cached_property
    def key(self) -> "Key | None":
        """What the profile is encrypted with; None where it is not.

        :raises Locked, WrongKey, EncryptionMissing: as `Keys.of`.
        """
        return self.keys.of(self.profile)

    @cached_property
    def embedder(self) -> "Embedder":
        from retrieval.embedder import load_embedder

        return load_embedder(self.settings.retrieval.embedder)

    @cached_property
    def library(self) -> "Library":
        from retrieval.library import Library

        return Library(self.profile.data, self.profile.cache, self.settings.retrieval, lambda: self.embedder, self.key)

    @cached_property
    def memory(self) -> "MemoryStore":
        from memory.store import MemoryStore

        embedder = self.embedder
        return MemoryStore(self.profile.data, self.settings.memory, embedder.encode, embedder.id, self.key)

    def search(
        self, query: str, collections: Sequence[str], limit: int, documents: Sequence[str] | None
    ) -> "list[Passage]":
        """As `Library.search`, of what a person wrote.

        :raises BadFilter: a date in it is none.
        """
        from retrieval.query import check_dates

        check_dates(query)
        return self.library.search(query, collections=collections, limit=limit, documents=documents)

    def engine(self) -> "Engine":
        """The model, loaded on the first call.

        :raises ModelError: it cannot be found or loaded.
        """
        if self._engine is None:
            from model.open import open_engine

            model = self.settings.model
            # What a model read of texts would lie on disk as it is.
            folder = None if is_encrypted(self.profile) else shelves(self.profile)
            self._engine = open_engine(model.reference, model, self.loading, folder, plan_notes(self.profile))
        return self._engine

    def load(self) -> "EngineInfo":
        """What the model says of itself, loaded if it was not.

        :raises ModelError: it cannot be found or loaded.
        """
        return self.engine().describe()

    def keep_pinned(self, collection: str) -> "Kept | None":
        """As `app.pinned.keep`."""
        from app.pinned import keep  # takes what a question takes

        return keep(self, collection)

    def reader(self) -> "Complete":
        """The model as it reads messages for the memory."""
        from app.reading import reader

        return reader(self.engine())

    def use_model(self, settings: "ModelSettings") -> None:
        """Have another model answer, or the same run otherwise; the one that is loaded makes room.

        :raises ModelError: it cannot be found, and the one that is loaded stays.
        """
        if self._engine is not None:
            from model.open import describe_reference

            describe_reference(settings.reference, settings)
        self.settings = self.settings.model_copy(update={"model": settings})
        if self._engine is not None:
            engine, self._engine = self._engine, None
            engine.close()

    def choose_model(self, reference: str) -> None:
        """Have another model answer from here on; it is loaded when it is needed."""
        self.use_model(self.settings.model.model_copy(update={"reference": reference}))

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

    def last_session(self, collections: Sequence[str]) -> int:
        """The session of these collections that was used last.

        :raises NoSuchSession: there is none.
        """
        from memory.errors import NoSuchSession

        sessions = self.memory.sessions(collections)
        if not sessions:
            names = ", ".join(collections)
            raise NoSuchSession(f"There is no session in {names} yet.", "Ask without --continue first.")
        return sessions[0].id

    def assistant(self) -> "Assists":
        """The one turn's owner, over this profile; as cheap as its rooms, which it opens when they are needed."""
        from app.assistant import Assistant

        self._answers = True
        memory = self.memory if self.settings.memory.enabled else None
        return Assistant(self.engine, self.library, memory, self.settings.assistant)

    def close_stores(self) -> None:
        """Close library and memory; who needs them opens them anew."""
        with ExitStack() as closing:  # everything, whatever one of them raises: a full disk, a lost process
            for room in ("library", "memory"):
                if room in self.__dict__:
                    closing.callback(self.__dict__.pop(room).close)

    def close(self) -> None:
        """Close what was opened; the workspace is not used afterwards."""
        with ExitStack() as closing:
            closing.callback(self.close_stores)
            if self._engine is not None:
                closing.callback(self._engine.close)
                self._engine = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._tidy()
        self.close()

    def _tidy(self) -> None:
        """What the turns that this process answered have left to do; what fails is done after a later one."""
        if self._answers and "memory" in self.__dict__:
            from app.upkeep import tidy

            with suppress(*LociError):
                for _ in tidy(self.memory):
                    pass
