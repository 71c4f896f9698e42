"""A model that does what the question says, and the resident's process with it in place of a real one."""

import os
import sys
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any

import model.open
from app.workspace import Workspace
from model.engine import Delta, EngineInfo, Event, Finished, Prefilling, Prompt, Request, Score, Usage
from model.errors import PromptTooLong, UnknownModel
from model.settings import ModelSettings
from tests.app.fakes import FakeEmbedder

WORD = 0.02
"""Seconds between two words of a long answer."""


class Talker:
    """Answers "long N" with N words, "abort" with a native abort, "refuse" with an error, all else with "Yes."."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.closed = False

    def describe(self) -> EngineInfo:
        name = f"Talker {os.getpid()}"
        return EngineInfo(self.reference, name, "torch", "fake", 4096, "none", ("cpu",), frozenset({"chat"}), 10, 10)

    def count_tokens(self, prompt: Prompt) -> int:
        return len(str(prompt)) // 4

    def generate(self, request: Request) -> Generator[Event, None, None]:
        said = request.prompt[-1].content.splitlines()[-1]  # type: ignore[union-attr]
        yield Prefilling(10, 10)
        if "abort" in said:
            yield Delta("I was going to")
            time.sleep(0.1)  # long enough for that to be sent
            os.abort()
        if "refuse" in said:
            raise PromptTooLong("It is too long.", "Shorten it.")
        words = [f"word{n} " for n in range(int(said.split("long ")[1].split()[0]))] if "long" in said else ["Yes."]
        for word in words:
            yield Delta(word)
            time.sleep(WORD if len(words) > 1 else 0)
        yield Finished("stop", Usage(10, 0, len(words)), 1.0, 1.0)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        return [Score(-1.0, 1) for _ in candidates]

    def close(self) -> None:
        self.closed = True


go_on = threading.Event()
go_on.set()
"""Cleared, it stops a load halfway."""

loads: list[str] = []
"""References of the models loaded in this process."""


def engine(self: Any) -> Talker:
    """In place of `Workspace.engine`: loading tells how far it is."""
    if self._engine is None:
        reference = self.settings.model.reference
        loads.append(reference)
        if self.loading is not None:
            self.loading(1, 2)
            go_on.wait(10)
            self.loading(2, 2)
        self._engine = Talker(reference)
    return self._engine  # type: ignore[no-any-return]


def describe_reference(reference: str, settings: ModelSettings) -> EngineInfo:
    """In place of `model.open.describe_reference`: all but the model `missing` are there."""
    if reference == "missing":
        raise UnknownModel("There is no model 'missing'.", "Check the name.")
    return Talker(reference).describe()


def talk(patch: Any = setattr) -> None:
    """Have every workspace of this process use the stand-ins."""
    patch(Workspace, "engine", engine)
    patch(model.open, "describe_reference", describe_reference)
    patch(Workspace, "embedder", property(lambda self: FakeEmbedder()))


if __name__ == "__main__":
    from app.resident.__main__ import main

    talk()
    os._exit(main(*sys.argv[1:]))
