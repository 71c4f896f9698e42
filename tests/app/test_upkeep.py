"""What is done for the memory after an answer: in pieces, never before a question, and by what models."""

import json
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from app.answer import Ask
from app.profile import open_profile
from app.resident.desk import Lane, Order
from app.upkeep import PAUSE, upkeep
from app.workspace import Workspace
from memory.retention.desk import RetentionDesk
from model.engine import Event, Request
from model.settings import ModelSettings
from tests.app.fakes import FakeEmbedder
from tests.app.fakes_engine import FakeEngine

SAID = "So the kids need lunch by seven on schooldays. What should I cook?"
MARKED = json.dumps({"statements": [{"words": "the kids need lunch by seven on schooldays", "kind": "fact"}]})


@pytest.fixture
def workspace(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    monkeypatch.setenv("LOCI_MODEL__REFERENCE", "larger.gguf")
    with Workspace(open_profile()) as opened:
        opened.memory.begin_turn(opened.memory.start_session(), SAID)
        yield opened


def test_a_larger_model_reads_a_message_after_a_pause(workspace: Workspace) -> None:
    workspace._engine = engine = FakeEngine(MARKED)  # type: ignore[assignment]
    assert list(upkeep(workspace, lambda: False)) == [0.0, 0.0, PAUSE, PAUSE, PAUSE]
    assert [one.text for one in workspace.memory.list()] == ["the kids need lunch by seven on schooldays"]
    assert SAID in str(engine.requests[0].prompt) and len(engine.requests) == 1  # there is no second message


@pytest.mark.parametrize("why", ["embedded", "off"])
def test_the_embedded_model_reads_nothing_nor_does_one_that_may_not(
    workspace: Workspace, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "embedded":
        workspace.use_model(ModelSettings())
    else:
        workspace.settings.memory.background_reads = 0
    monkeypatch.setattr(Workspace, "engine", lambda self: pytest.fail("it was loaded"))
    assert list(upkeep(workspace, lambda: False)) == [0.0, 0.0, PAUSE]


def test_a_question_ends_the_reading_and_the_message_is_read_another_time(workspace: Workspace) -> None:
    wanted = False

    class Slow(FakeEngine):
        def generate(self, request: Request) -> Generator[Event, None, None]:
            nonlocal wanted
            for event in super().generate(request):
                wanted = not wanted if len(self.requests) == 1 else False
                yield event

    workspace._engine = engine = Slow(MARKED, MARKED)  # type: ignore[assignment]
    assert list(upkeep(workspace, lambda: wanted)) == [0.0, 0.0, PAUSE, PAUSE]
    assert workspace.memory.list() == []
    wanted = False
    list(upkeep(workspace, lambda: wanted))
    assert len(engine.requests) == 2 and len(workspace.memory.list()) == 1


def test_a_lane_rests_between_orders_and_an_order_goes_first() -> None:
    done: list[str] = []
    begun, go_on = threading.Event(), threading.Event()
    pauses = iter([0.0, 60.0])

    def do(order: Order) -> Generator[dict[str, Any], None, None]:
        done.append(order.frame["op"])
        yield {"result": None}

    def rest() -> float | None:
        done.append("rest")
        begun.set()
        assert go_on.wait(10)
        return next(pauses, None)

    lane = Lane("test", do, rest)
    lane.add(Order({"op": "first"}))
    assert begun.wait(10) and not lane.wanted
    second = Order({"op": "second"})
    lane.add(second)
    assert lane.wanted
    go_on.set()
    assert second.frames.get(timeout=10) == {"result": None}
    lane.finish(lambda: done.append("end"))
    assert done[:3] == ["first", "rest", "second"] and done[-1] == "end"


def test_what_fails_at_rest_ends_no_lane(capfd: pytest.CaptureFixture[str]) -> None:
    def rest() -> float | None:
        raise ZeroDivisionError("of what was said")

    lane = Lane("test", lambda order: iter([{"result": 1}]), rest)  # type: ignore[arg-type, return-value]
    for number in range(2):
        order = Order({"op": str(number)})
        lane.add(order)
        assert order.frames.get(timeout=10) == {"result": 1}
    lane.finish(lambda: None)
    said = capfd.readouterr().err
    assert "ZeroDivisionError" in said and "of what" not in said


def test_without_a_resident_the_memory_is_tidied_when_the_command_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    monkeypatch.setattr(RetentionDesk, "tidy", lambda self, now=None: order.append("tidied"))
    with Workspace(open_profile()) as opened:
        opened._engine = FakeEngine("Yes.")  # type: ignore[assignment]
        opened.assistant().ask(Ask("write hello", use_library=False))
        order.append("answered")
    assert order == ["answered", "tidied"]
    with Workspace(open_profile()) as other:
        other.memory.list()
    assert order == ["answered", "tidied"]
