"""The resident as a process: started once, killed, replaced; and a door that only asks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.answer import Ask, Profile, Text
from app.errors import ResidentEnded, ResidentFailed
from app.resident import client
from app.resident.client import Resident, status, stop, tell_to_forget
from app.resident.place import Place
from app.resident.workspace import ResidentWorkspace

Door = Callable[..., ResidentWorkspace]
ROOT = Path(__file__).parents[3]


def plain(text: str, session: int | None = None) -> Ask:
    return Ask(text, use_library=False, use_memory=False, session=session)


def pid(profile: Profile) -> int:
    found = status(Place.of(profile))
    assert found is not None
    return int(found["pid"])


def test_an_abort_is_an_error_the_session_is_intact_and_the_next_question_answered(
    door: Door, profile: Profile
) -> None:
    chat, other = door(), door()
    session = chat.assistant().ask(plain("write hello")).session
    first, began = pid(profile), 0.0
    # This door does not know the process as its child, and reads how it ended in the log; the chat's test knows it.
    with pytest.raises(ResidentEnded, match="Aborted"):
        for event in other.assistant().turn(plain("write abort", session)):
            if isinstance(event, Text):
                began = time.monotonic()
    assert time.monotonic() - began < 2
    assert chat.assistant().ask(plain("write more", session)).answer == "Yes."
    assert pid(profile) != first
    kept = [(turn.question, turn.complete) for turn in chat.memory.turns(session or 0)]
    assert kept == [("write hello", True), ("write abort", False), ("write more", True)]


def test_a_resident_that_hangs_is_named_with_the_way_out(
    door: Door, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    door().assistant().ask(plain("write hello"))
    place, hung = Place.of(profile), pid(profile)
    monkeypatch.setattr(client, "_ACCEPTED_WITHIN", 0.2)
    os.kill(hung, signal.SIGSTOP)
    try:
        for ask in (lambda: status(place), lambda: tell_to_forget(profile), Resident(profile).running):
            with pytest.raises(ResidentFailed, match="loci resident stop"):
                ask()
    finally:
        os.kill(hung, signal.SIGCONT)


def test_a_killed_resident_leaves_nothing_in_the_way(door: Door, profile: Profile) -> None:
    place = Place.of(profile)
    door().assistant().ask(plain("write hello"))
    killed = pid(profile)
    os.kill(killed, signal.SIGKILL)
    assert door().assistant().ask(plain("write hello")).answer == "Yes."  # over the socket's file of the dead one
    assert pid(profile) != killed
    assert stop(place) and not place.door.exists() and place.holder() is None
    assert not stop(place)


def test_doors_that_come_at_once_start_one_resident(door: Door, profile: Profile) -> None:
    with ThreadPoolExecutor(4) as threads:
        doors = [door() for _ in range(4)]
        names = {info.name for info in threads.map(lambda one: one.load(), doors)}
    assert names == {f"Talker {pid(profile)}"}
    started = [one.resident._child for one in doors if one.resident is not None]
    assert [child.pid for child in started if child is not None] == [pid(profile)]


def test_a_resident_of_another_version_or_settings_is_replaced_when_it_has_finished(
    door: Door, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = door()
    turn = old.assistant().turn(plain("write long 50"))
    next(event for event in turn if isinstance(event, Text))
    first = pid(profile)
    monkeypatch.setenv("LOCI_ASSISTANT__PASSAGES", "3")
    with ThreadPoolExecutor() as threads:
        new = threads.submit(door().load)
        assert len(list(turn)) > 49  # to its end
        assert new.result().name != f"Talker {first}"
    with pytest.raises(ResidentFailed, match="changed after"):
        old.assistant().ask(plain("write hello"))


def test_one_that_cannot_start_says_why(profile: Profile) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no room')")
    with pytest.raises(ResidentFailed, match="no room"):
        Resident(profile, command=command).result("load")


def test_a_killed_door_leaves_the_resident_free(door: Door, profile: Profile) -> None:
    door().load()
    command = [sys.executable, "-m", "app.cli.main", "ask", "write long 500", "--no-library", "--no-memory"]
    asking = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    opened = door()
    while not any(turn.answer for one in opened.memory.sessions() for turn in opened.memory.turns(one.id)):
        assert asking.poll() is None
        time.sleep(0.05)
    asking.kill()
    asking.wait()
    began = time.monotonic()
    assert opened.assistant().ask(plain("write hello")).answer == "Yes."
    assert time.monotonic() - began < 3


def test_a_door_that_asks_loads_nothing_heavy(door: Door, profile: Profile) -> None:
    door().load()
    code = (
        "import json, sys\nfrom app.cli.main import main\ntry: main()\nexcept SystemExit as stop: code = stop.code\n"
        "heavy = ('torch', 'sentence_transformers', 'sqlalchemy', 'numpy', 'pydantic_settings', 'rich')\n"
        "print(json.dumps([code, [name for name in heavy if name in sys.modules]]))"
    )
    words = ("ask", "write hello", "--no-library")
    ran = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    answer, loaded = ran.stdout.decode().strip().splitlines()
    assert answer == "Yes." and json.loads(loaded) == [0, []]
    assert f"Talker {pid(profile)}" in ran.stderr.decode()
