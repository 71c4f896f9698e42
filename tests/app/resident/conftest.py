"""A resident in a thread of the tests, or in a process of its own, and doors to it."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.answer import Profile
from app.profile import make_private, open_profile
from app.resident.client import Resident, stop
from app.resident.identity import identity
from app.resident.place import Place
from app.resident.server import Server
from app.resident.workspace import ResidentWorkspace
from app.workspace import Workspace
from tests.app.resident import talker

TALKER = (sys.executable, "-P", "-m", "tests.app.resident.talker")

Door = Callable[..., ResidentWorkspace]


@pytest.fixture
def profile(home: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    monkeypatch.setenv("LOCI_RESIDENT__ENABLED", "true")
    talker.talk(monkeypatch.setattr)
    talker.loads.clear()
    return open_profile()


@pytest.fixture
def door(profile: Profile) -> Iterator[Door]:
    """Open the profile as a command does; what it starts is a process with the stand-ins."""
    opened: list[ResidentWorkspace] = []

    def open_(model: str | None = None) -> ResidentWorkspace:
        workspace = ResidentWorkspace(profile, {"model.reference": model})
        workspace.__dict__["resident"] = Resident(profile, command=TALKER)
        opened.append(workspace)
        return workspace

    yield open_
    for workspace in opened:
        workspace.close()
    stop(Place.of(profile))


@pytest.fixture
def server(profile: Profile) -> Iterator[Server]:
    """The resident, in a thread."""
    place = Place.of(profile)
    make_private(place.folder)
    lock = place.lock()
    assert lock is not None
    served = Server(Workspace(profile), place, identity(profile), lock)
    ready = threading.Event()

    def serve() -> None:
        served.run(ready.set)
        served.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    yield served
    served.stop(at_once=True)
    thread.join(10)
    assert not thread.is_alive()
