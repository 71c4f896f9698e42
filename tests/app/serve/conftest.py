"""The endpoint on a port of its own, with an assistant that says what it is told."""

import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

import uvicorn

from app.answer import Answer, Ask, Completed, Started, Text, TurnEvent
from app.serve.http import Served
from app.serve.run import listen, server, url_of
from app.serve.turns import Turns
from tests.app.fakes import make_answer

TOKEN = "a-token"


class Talker:
    """Says `words`, one by one, then completes with `answer`; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.words = ["Forty ", "anchors [1]."]
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.before: Callable[[], object] = lambda: None
        """Called before each word."""
        self.closed = threading.Event()
        """A turn was cancelled."""

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        self.asked.append(ask)
        try:
            yield Started("answer")
            if self.error is not None:
                raise self.error
            for word in self.words:
                self.before()
                yield Text(word)
            said = replace(make_answer(ask.question, "".join(self.words)), scope=ask.scope)
            yield Completed(self.answer or said)
        except GeneratorExit:
            self.closed.set()
            raise


class Stage:
    """Endpoints that stay for the whole run, one for each set of options; who talks behind them changes."""

    def __init__(self) -> None:
        self.talker = Talker()
        self._running: dict[str, tuple[str, uvicorn.Server, threading.Thread]] = {}

    def turn(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        return self.talker.turn(ask)

    def start(self, alone: bool = False, **options: Any) -> str:
        """The URL of the endpoint with these options."""
        key = repr((alone, sorted(options.items())))
        if key not in self._running:
            given = {"token": TOKEN, "store": False} | options
            served = Served(Turns(self.turn, alone), lambda: ["main", "work"], **given)
            listener = listen("127.0.0.1", 0)
            listener.listen()
            made = server(served)
            thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]})
            thread.start()
            self._running[key] = (url_of(listener), made, thread)
        return self._running[key][0]

    def close(self) -> None:
        for _, made, _ in self._running.values():
            made.should_exit = True
        for _, _, thread in self._running.values():
            thread.join(10)
            stack = sys._current_frames().get(thread.ident or 0)
            assert not thread.is_alive(), "".join(traceback.format_stack(stack))


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.fixture
def talker() -> Talker:
    return Talker()


Serve = Callable[..., str]


@pytest.fixture
def serve(stage: Stage, talker: Talker) -> Serve:
    """Have the talker behind an endpoint; the URL."""
    stage.talker = talker
    return stage.start
