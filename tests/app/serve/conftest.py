"""The endpoint on a port of its own, with an assistant that says what it is told."""

import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

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


@pytest.fixture
def talker() -> Talker:
    return Talker()


Serve = Callable[..., str]


@pytest.fixture
def serve(talker: Talker) -> Iterator[Serve]:
    """Start the endpoint; the URL."""
    running: list[tuple[object, threading.Thread]] = []

    def start(alone: bool = False, **options: object) -> str:
        given = {"token": TOKEN, "store": False} | options
        served = Served(Turns(talker.turn, alone), lambda: ["main", "work"], **given)  # type: ignore[arg-type]
        listener = listen("127.0.0.1", 0)
        listener.listen()
        made = server(served)
        thread = threading.Thread(target=made.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((made, thread))
        return url_of(listener)

    yield start
    for made, thread in running:
        made.should_exit = True  # type: ignore[attr-defined]
        thread.join(10)
        assert not thread.is_alive()
