"""The resident and its doors over real stores, with a model that does what the question says."""

import errno
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.answer import Answer, Ask, Begun, Completed, Found, Packed, Profile, Started, Text, UsedMemory
from app.backup import back_up, restore
from app.errors import ResidentEnded, ResidentFailed
from app.profile import make_private
from app.purge import purge_memories
from app.resident.client import status, stop
from app.resident.place import Place
from app.resident.server import Server
from app.resident.wire import pack, unpack
from app.resident.workspace import ResidentWorkspace
from memory.errors import NoSuchSession
from model.errors import PromptTooLong, UnknownModel
from retrieval.ingest import ingest
from retrieval.types import Locator, Passage
from tests.app.cli_run import Run
from tests.app.resident import talker

Door = Callable[..., ResidentWorkspace]


def plain(text: str, **more: object) -> Ask:
    return Ask(text, use_library=False, use_memory=False, **more)  # type: ignore[arg-type]


def ask(door: ResidentWorkspace, text: str, session: int | None = None) -> Answer:
    return door.assistant().ask(plain(text, session=session))


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_doors_share_a_model_and_see_the_turns_events(server: Server, door: Door) -> None:
    first = door()
    loading: list[tuple[int, int]] = []
    first.loading = lambda done, total: loading.append((done, total))
    events = list(first.assistant().turn(plain("write hello")))
    others = [type(event) for event in events if not isinstance(event, Started)]
    assert others == [Begun, Found, Packed, Text, Completed]
    assert next(event.stage for event in events if isinstance(event, Started)) == "load"
    assert loading[-1] == (2, 2) and first.model_info().name == f"Talker {os.getpid()}"
    answer = events[-1].answer  # type: ignore[union-attr]
    assert ask(door(), "write more", answer.session).session == answer.session
    assert [turn.complete for turn in door().memory.turns(answer.session or 0)] == [True, True]
    assert talker.loads == ["embedded"]


def test_a_door_goes_on_with_another_model(server: Server, door: Door) -> None:
    chat = door()
    assert chat.load().reference == "embedded"
    chat.choose_model("other")
    assert chat.load().reference == chat.settings.model.reference == "other"
    list(chat.assistant().turn(plain("write hello")))
    assert talker.loads == ["embedded", "other"]


def test_a_model_that_is_not_there_costs_the_loaded_one_nothing(server: Server, door: Door) -> None:
    chat = door()
    chat.load()
    chat.choose_model("missing")
    with pytest.raises(UnknownModel):
        chat.load()
    chat.choose_model("embedded")
    assert ask(chat, "write hello").answer == "Yes."
    assert talker.loads == ["embedded"]


def test_every_door_that_waits_is_told_how_far_the_model_is(server: Server, door: Door, profile: Profile) -> None:
    talker.go_on.clear()
    doors = [door(), door()]
    told: list[list[tuple[int, int]]] = [[], []]
    for opened, heard in zip(doors, told, strict=True):
        opened.loading = lambda done, total, heard=heard: heard.append((done, total))  # type: ignore[misc]
    with ThreadPoolExecutor(2) as threads:
        loaded = threads.map(lambda one: one.load(), doors)
        until(lambda: (status(Place.of(profile)) or {})["busy"] == 2)
        talker.go_on.set()
        list(loaded)
    assert talker.loads == ["embedded"] and all(heard[-1] == (2, 2) for heard in told)


def test_an_answer_is_the_one_that_this_process_would_give(server: Server, door: Door, tmp_path: Path) -> None:
    (tmp_path / "stock.md").write_text("# Stock\n\nThere are forty anchors in the shed.\n")
    opened = door()
    ingest(opened.library, [tmp_path / "stock.md"])
    with talker.Workspace(opened.profile) as alone:
        for question in ("how many anchors are in the shed?", "what documents do you have?", "write two lines"):
            ours, theirs = alone.assistant().ask(Ask(question, store=False)), None
            theirs = door().assistant().ask(Ask(question, store=False))
            ours_json, theirs_json = ours.to_json(), theirs.to_json()
            del ours_json["timing_ms"], theirs_json["timing_ms"]
            assert ours_json == theirs_json
        assert door().search("anchors", ["main"], 3, None) == alone.search("anchors", ["main"], 3, None)
        assert (door().embedder.encode(["a b", "c"]) == alone.embedder.encode(["a b", "c"])).all()


def test_the_memory_has_messages_read_by_the_same_model(server: Server, door: Door) -> None:
    assert door().reader()("Read it.", "write hello", "{}") == "Yes."
    assert talker.loads == ["embedded"]


def test_errors_are_raised_in_the_door_as_they_were_there(server: Server, door: Door) -> None:
    with pytest.raises(PromptTooLong, match=r"It is too long\. Shorten it\."):
        ask(door(), "write refuse")
    with pytest.raises(NoSuchSession):
        door().last_session(["elsewhere"])
    with pytest.raises(ResidentFailed, match="KeyError"):
        door().resident.result("dance")  # type: ignore[union-attr]
    assert ask(door(), "write hello").answer == "Yes."


def test_a_door_that_goes_away_cancels_its_question_and_what_came_is_kept(server: Server, door: Door) -> None:
    opened = door()
    turn = opened.assistant().turn(plain("write long 500"))
    next(event for event in turn if isinstance(event, Text))
    turn.close()
    began = time.monotonic()
    assert ask(opened, "write hello").answer == "Yes."
    assert time.monotonic() - began < 3  # of the ten that the first would have taken
    kept = opened.memory.turns(opened.memory.sessions()[-1].id)[0]
    assert not kept.complete and kept.answer.startswith("word0")


def test_a_door_that_goes_away_before_its_turn_is_not_answered(server: Server, door: Door) -> None:
    opened = door()
    first = opened.assistant().turn(plain("write long 500"))
    next(event for event in first if isinstance(event, Text))
    second = door().assistant().turn(plain("write more"))
    assert next(second) == Started("wait")
    second.close()
    time.sleep(0.3)  # the resident looks ten times a second
    first.close()
    ask(opened, "write hello")
    asked = [turn.question for one in opened.memory.sessions() for turn in opened.memory.turns(one.id)]
    assert sorted(asked) == ["write hello", "write long 500"]


def test_a_question_comes_between_two_rows_of_a_batch(server: Server, door: Door, profile: Profile) -> None:
    rows = door().assistant()
    first = rows.turn(plain("write long 30"))
    next(event for event in first if isinstance(event, Text))
    with ThreadPoolExecutor() as threads:
        question = threads.submit(ask, door(), "write hello")
        until(lambda: (status(Place.of(profile)) or {})["busy"] == 2)
        list(first)
        second = rows.turn(plain("write long 500"))
        next(event for event in second if isinstance(event, Text))
        assert question.done() or question.result(2)  # of the ten that the second row takes
    second.close()


def test_searches_do_not_wait_for_an_answer(server: Server, door: Door) -> None:
    opened = door()
    turn = opened.assistant().turn(plain("write long 500"))
    next(event for event in turn if isinstance(event, Text))
    assert door().embedder.encode(["anchors"]).shape == (1, 64)
    turn.close()


def test_another_model_takes_the_place_of_the_first(server: Server, door: Door, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    os.chdir(tmp_path)
    ask(door(), "write hello")
    assert ask(door("other"), "write hello").model.reference == str(tmp_path / "other")
    ask(door("other"), "write hello")
    assert talker.loads == ["embedded", str(tmp_path / "other")]


def test_the_socket_is_its_owners_alone(server: Server, profile: Profile) -> None:
    place = Place.of(profile)
    assert stat.S_IMODE(place.door.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700


def test_a_visitor_with_no_order_or_half_of_one_is_sent_away(server: Server, door: Door, profile: Profile) -> None:
    for said in (b"", b"{", b"GET / HTTP/1.1\n", b"[]\n", b'{"op": 7}\n'):
        visitor = Place.of(profile).connect()
        assert visitor is not None
        visitor.sendall(said)
        visitor.shutdown(socket.SHUT_WR)
        assert visitor.recv(1) == b""
        visitor.close()
    assert ask(door(), "write hello").answer == "Yes."


def test_purging_finds_no_hindrance(server: Server, door: Door) -> None:
    opened = door()
    assert opened.assistant().ask(Ask("remember that my boat is called Zanzibarina")).session
    memory = next(one for one in opened.memory.list() if "Zanzibarina" in one.text)
    opened.assistant().ask(Ask("what is my boat called?"))
    assert purge_memories(opened, [memory.id]).clean
    assert b"Zanzibarina" not in b"".join(file.read_bytes() for file in opened.profile.data.glob("memory.db*"))
    assert not server._workspace.__dict__.keys() & {"memory", "library"}
    assert ask(opened, "write hello").answer == "Yes."


def test_it_ends_for_a_restore_and_answers_from_what_was_restored(server: Server, door: Door, tmp_path: Path) -> None:
    opened = door()
    session = ask(opened, "write hello").session
    back_up(opened.profile, tmp_path / "backup.zip")
    turn = opened.assistant().turn(plain("write long 500", session=session))
    next(event for event in turn if isinstance(event, Text))
    restore(tmp_path / "backup.zip", opened.profile, force=True)
    with pytest.raises(ResidentEnded, match="told to stop"):
        list(turn)
    ask(door(), "write the third", session)
    with talker.Workspace(opened.profile) as alone:
        asked = [turn.question for turn in alone.memory.turns(session or 0)]
    assert asked == ["write hello", "write the third"]


def test_a_profile_whose_folder_was_replaced_is_opened_anew(server: Server, door: Door, profile: Profile) -> None:
    ask(door(), "write hello")
    profile.data.rename(profile.data.with_name("old"))
    profile.data.mkdir()
    ask(door(), "write more")
    with talker.Workspace(profile) as alone:
        assert [one.turns for one in alone.memory.sessions()] == [1]
    assert talker.loads == ["embedded"]


def test_it_ends_when_it_is_idle_and_leaves_nothing(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("LOCI_RESIDENT__IDLE_SECONDS", "1")
    server: Server = request.getfixturevalue("server")
    door: Door = request.getfixturevalue("door")
    ask(door(), "write long 60")  # more than the second
    place = Place.of(profile)
    assert status(place) is not None
    until(lambda: place.holder() is None)
    assert not place.door.exists() and server._workspace._engine is None


def test_stopping_ends_answers_in_words(server: Server, door: Door, profile: Profile) -> None:
    turn = door().assistant().turn(plain("write long 500"))
    next(event for event in turn if isinstance(event, Text))
    busy = status(Place.of(profile))
    assert busy is not None and busy["busy"] == 1 and busy["model"] == "embedded"
    threading.Timer(0.2, stop, [Place.of(profile)]).start()
    with pytest.raises(ResidentEnded, match="told to stop"):
        list(turn)


def test_a_command_that_loads_models_itself_makes_it_end(server: Server, profile: Profile, loci: Run) -> None:
    assert loci("resident", "status", "--json").json["running"]
    assert "The resident has ended" in loci("eval", "grounding", "--dataset", "clapnq", "--path", ".").err
    assert Place.of(profile).holder() is None
    ran = loci("resident", "status")
    assert ran.code == 3 and "No resident runs" in ran.err


@pytest.mark.parametrize("options", [[], ["--model", "embedded"]])
def test_the_doctor_leaves_it_running(server: Server, profile: Profile, loci: Run, options: list[str]) -> None:
    pid = Place.of(profile).holder()
    assert pid is not None
    found = {one["check"]: one["state"] for one in loci("doctor", "--json", *options).json}
    assert found["model"] == "ok" and found["library"] == "ok"
    assert Place.of(profile).holder() == pid


def test_who_converts_the_profile_is_waited_for_and_not_ended(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, loci: Run
) -> None:
    place = Place.of(profile)
    make_private(place.folder)
    held = place.lock("encrypted")
    assert held is not None
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a conversion was killed"))
    try:
        ran = loci("resident", "stop")
        assert ran.code == 2 and f"being encrypted by process {os.getpid()}" in ran.err
    finally:
        os.close(held)
    assert place.doing() == "" and not stop(place)


def test_it_notices_that_its_place_is_gone(server: Server, profile: Profile) -> None:
    place = Place.of(profile)
    place.door.unlink()
    until(lambda: place.holder() is None)


def test_whatever_a_text_holds_crosses_as_it_is() -> None:
    passage = Passage(
        1, "d1", "a\n.md", "\u2028", 3, 1, 0, 2, Locator(section="§ \ud800"), "x\r\n", "", "main", 0.1, None, 2e-9
    )
    found = Found((passage,), (UsedMemory(1, "🛶", 0.5, True),))
    assert unpack(Found, json.loads(json.dumps(pack(found)))) == found


def test_the_memory_is_tidied_after_the_answer_and_a_question_does_not_wait_for_it_to_begin(
    server: Server, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied, go_on = threading.Event(), threading.Event()

    def tidy(self: object, now: object = None) -> None:
        tidied.set()
        assert go_on.wait(10)

    monkeypatch.setattr("memory.retention.desk.RetentionDesk.tidy", tidy)
    first = ask(door(), "write hello")
    assert first.answer == "Yes." and tidied.wait(10)  # the answer was there while it went on
    go_on.set()
    assert ask(door(), "write more", first.session).answer == "Yes."


def test_a_full_disk_leaves_no_lock_that_nobody_holds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(home)
    home.mkdir()
    with monkeypatch.context() as full:
        full.setattr(os, "write", _no_room)
        with pytest.raises(OSError, match="No space"):
            place.lock()
    lock = place.lock()
    assert lock is not None
    os.close(lock)


def _no_room(descriptor: int, content: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
