"""Many questions under way at once at a remote server, with one of them at a time at work in this process.

A worker holds the baton while it retrieves, packs and checks, and lays it down while it waits for the server: the rooms
are used as by one thread, and what is gained is the waiting. Knows nothing about rows and files.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.workspace import Workspace
from model.engine import EngineInfo, Event, Prompt, Request, Score
from model.remote_engine import RemoteEngine


class InFlight:
    """Questions to the remote model of an opened profile, from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        engine = workspace.engine()
        assert isinstance(engine, RemoteEngine), "others answer one question at a time"
        self._baton = threading.Lock()
        self._engine = _Waiting(engine, self._baton)
        self._workspace = workspace

    def describe(self) -> EngineInfo:
        return self._engine.describe()

    def ask(self, ask: Ask) -> Answer:
        """The answer, from any thread.

        :raises LociError: any of `app.errors.LociError`.
        """
        with self._baton:
            opened = self._workspace
            memory = opened.memory if opened.settings.memory.enabled else None
            # One of its own for each: what a turn learns of the server's speed would depend on what else was under way.
            return Assistant(lambda: self._engine, opened.library, memory, opened.settings.assistant).ask(ask)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the workers from going on, for good: who leaves early closes the rooms under them."""
        try:
            yield
        finally:
            self._baton.acquire()


class _Waiting:
    """The engine, with the baton laid down while the server is at work."""

    def __init__(self, engine: RemoteEngine, baton: threading.Lock) -> None:
        self._engine = engine
        self._baton = baton

    def describe(self) -> EngineInfo:
        return self._engine.describe()

    def count_tokens(self, prompt: Prompt) -> int:
        with self._without_baton():
            return self._engine.count_tokens(prompt)

    def generate(self, request: Request) -> Generator[Event, None, None]:
        with self._without_baton():
            events = self._engine.generate_whole(request)
        yield from events

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        return self._engine.score(prompt, candidates)

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        self._engine.save_prefix(prompt, file)

    def load_prefix(self, file: Path) -> int:
        return self._engine.load_prefix(file)

    def close(self) -> None:
        self._engine.close()

    @contextmanager
    def _without_baton(self) -> Iterator[None]:
        self._baton.release()
        try:
            yield
        finally:
            self._baton.acquire()
