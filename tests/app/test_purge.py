"""Deletion for good, through the door: nothing is left in any file that the profile has or wrote, and a kill in its
middle is made up for.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

import app.purge
from app.answer import Profile
from app.profile import locate_profile, shelves
from app.purge_journal import Task, write
from app.workspace import Workspace
from memory.types import Source
from model.engine import SESSION
from model.shelves import Shelf
from retrieval.cipher import Key
from tests.app.cli_run import Run

SECRET = "My boat is called Whimbrelonde"


def every_byte(*places: Path) -> bytes:
    """Of all files, and of what is inside archives, in lower case."""
    found = []
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.suffix == ".zip":
                with zipfile.ZipFile(file) as archive:
                    found += [archive.read(name) for name in archive.namelist()]
            elif file.is_file():
                found.append(file.read_bytes())
    return b"\n".join(found).lower()


def tell(text: str = SECRET) -> tuple[int, int]:
    """A memory told in a turn whose answer says it back; returns both numbers."""
    with Workspace.open() as opened:
        turn = opened.memory.begin_turn(opened.memory.start_session(), f"Remember that {text}. Is it high tide?")
        memory = opened.memory.add(text, source=Source("told", 1, turn))
        answer = f"I will remember: {text.replace('My', 'your')}. It is."
        opened.memory.finish_turn(turn, answer, json.dumps({"answer": answer}), True)
    return memory.id, turn


def test_a_memory_is_gone_from_profile_and_backups_and_the_receipt_says_so(
    loci: Run, read: Path, home: Path, tmp_path: Path
) -> None:
    memory, turn = tell()
    shelf = Shelf("k", "m", SESSION, 1, 1, (), (1,), 1.0, 1.0, False)
    folder = shelves(locate_profile())
    folder.mkdir(parents=True)
    (folder / "k.json").write_text(json.dumps(asdict(shelf)))
    (folder / "k.safetensors").write_bytes(b"x")
    loci("backup", tmp_path / "old.zip")
    loci("memory", "edit", memory, "My boat is called Whimbrelonde II")
    loci("backup", tmp_path / "new.zip")
    scratch = home / "data" / "default" / "loci-backup-killed"
    scratch.mkdir()
    (scratch / "0").write_text(SECRET)
    (home / "data" / "default" / "purge.journal.x1.part").write_text(SECRET)  # killed while it was written
    (tmp_path / "old.zip.x2.part").write_text(SECRET)
    assert b"whimbrelonde" in every_byte(tmp_path / "old.zip") and b"whimbrelonde" in every_byte(home)
    tried = loci("memory", "purge", memory + 1, "--dry-run")
    assert tried.out.startswith(
        f"Would delete: memories {memory}, {memory + 1}; words in turn {turn}; title of session 1."
    )
    assert loci("memory", "purge", memory + 1).code == 2  # nobody to ask, and no --yes
    ran = loci("memory", "purge", memory + 1, "--yes", "--json")
    [receipt] = ran.json
    assert ran.code == 0 and receipt["clean"] and receipt["left"] == []
    assert (receipt["memories"], receipt["turns"]) == ([memory, memory + 1], [turn])
    assert receipt["backups"] == sorted(str(tmp_path / name) for name in ("old.zip", "new.zip"))
    assert receipt["files"] > 5 and receipt["bytes"] > 100_000 and receipt["words"] >= 1
    assert b"whimbrelonde" not in every_byte(home, tmp_path / "old.zip", tmp_path / "new.zip")
    assert not list(tmp_path.glob("*.part"))
    assert "whimbrelonde" not in ran.out.lower() + ran.err.lower()
    assert not list(folder.iterdir())
    assert loci("sessions", "show", 1).out.endswith(
        "> Remember that [forgotten]. Is it high tide?\nI will remember: [forgotten]. It is.\n"
    )
    assert loci("--profile", "second", "restore", tmp_path / "old.zip").code == 0
    assert loci("--profile", "second", "search", "anchors", "--json").json  # what is not about it is still in there


def test_several_memories_are_deleted_in_one_go_with_the_words_that_they_share(loci: Run, home: Path) -> None:
    for text in ("My boat is called Whimbrelonde.", "The Whimbrelonde lies in berth 14.", "I like tea."):
        loci("memory", "add", text)
    [receipt] = loci("memory", "purge", 2, 1, 2, "--yes", "--json").json
    assert receipt["clean"] and receipt["memories"] == [1, 2] and receipt["words"] >= 1
    assert b"whimbrelonde" not in every_byte(home)
    assert [one["text"] for one in loci("memory", "list", "--json").json] == ["I like tea."]


def test_forgetting_can_be_for_good(loci: Run, home: Path) -> None:
    memory, _ = tell()
    ran = loci("memory", "forget", memory, "--purge", "--yes")
    assert ran.code == 0 and ran.out.startswith("Deleted for good: memory 1;") and "no trace is left" in ran.out
    assert b"whimbrelonde" not in every_byte(home)


def test_a_session_is_gone_from_profile_and_backups_and_its_facts_stay(loci: Run, home: Path, tmp_path: Path) -> None:
    with Workspace.open() as opened:
        session = opened.memory.start_session()
        said = "My office is in B12. I walked along Kvistholmen with Anna yesterday evening."
        turn = opened.memory.begin_turn(session, said)
        answer = "Noted: Zanzibarquay is near Kvistholmen."
        opened.memory.finish_turn(turn, answer, json.dumps({"answer": answer}), True)
        opened.memory.observe(turn, said, recalled=[], cited=[], scope="main")
        opened.memory.feedback(turn, "bad", "Not Zanzibarquay at all")
        other = opened.memory.begin_turn(opened.memory.start_session(), "How are you?")
    loci("memory", "purge", 2, "--yes")  # the event, which is a fact of its own
    loci("backup", tmp_path / "b.zip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.purge, "search", killed)
        assert loci("sessions", "delete", session, "--yes").code == 130
    assert b"zanzibarquay" in every_byte(tmp_path / "b.zip")
    ran = loci("sessions", "delete", other, "--yes", "--json")
    [receipt, second] = ran.json
    assert ran.code == 0 and receipt["clean"] and second["clean"]
    assert receipt["ended"] == [session] and second["ended"] == [other] and receipt["turns"] == []
    assert receipt["backups"] == [str(tmp_path / "b.zip")] and receipt["words"] >= 1
    assert b"zanzibarquay" not in every_byte(home, tmp_path / "b.zip")
    assert [one["text"] for one in loci("memory", "list", "--json").json] == ["My office is in B12"]
    assert loci("sessions", "list", "--json").json == []


def test_several_sessions_are_deleted_in_one_go_with_the_words_that_they_share(
    loci: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace.open() as opened:
        for asked in ("What is Zanzibarquay?", "Where is Zanzibarquay?", "Is it high tide?"):
            opened.memory.begin_turn(opened.memory.start_session(), asked)
    loci("backup", tmp_path / "b.zip")
    tried = loci("sessions", "delete", 1, 2, "--dry-run")
    assert tried.code == 0 and tried.out == "Would delete: sessions 1, 2.\n"
    assert len(loci("sessions", "list", "--json").json) == 3
    runs: list[Task] = []

    def noted(profile: Profile, task: Task, key: Key | None) -> None:
        runs.append(task)
        write(profile, task, key)

    monkeypatch.setattr(app.purge, "write", noted)
    ran = loci("sessions", "delete", 2, 1, 2, "--yes", "--json")
    [receipt] = ran.json
    assert ran.code == 0 and receipt["clean"] and sorted(receipt["ended"]) == [1, 2] and receipt["words"] >= 1
    assert receipt["backups"] == [str(tmp_path / "b.zip")] and len(runs) == 1
    assert b"zanzibarquay" not in every_byte(home, tmp_path / "b.zip")
    assert [one["id"] for one in loci("sessions", "list", "--json").json] == [3]


def test_a_deletion_of_a_session_that_was_killed_is_ended_by_the_same_command(loci: Run, home: Path) -> None:
    with Workspace.open() as opened:
        opened.memory.begin_turn(opened.memory.start_session(), "What is Zanzibarquay?")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.purge, "search", killed)
        assert loci("sessions", "delete", 1, "--yes").code == 130
    ran = loci("sessions", "delete", 1, "--yes", "--json")
    assert ran.code == 0 and [one["ended"] for one in ran.json] == [[1]]
    assert b"zanzibarquay" not in every_byte(home)


def test_what_says_the_same_and_was_not_deleted_is_named(loci: Run, tmp_path: Path) -> None:
    (tmp_path / "boats.md").write_text(f"# Boats\n\n{SECRET}, he said.\n")
    loci("ingest", tmp_path / "boats.md")
    memory, _ = tell()
    ran = loci("memory", "purge", memory, "--yes")
    assert ran.code == 0 and "no trace is left" in ran.out
    assert "kept, says the same:" in ran.out and "extractions 1" in ran.out


def test_a_document_is_gone_from_library_caches_answers_and_backups(
    loci: Run, read: Path, home: Path, tmp_path: Path
) -> None:
    (read / "secret.md").write_text("# Cove\n\nThe treasure lies at Kvistholmen, under nine grumbling rocks.\n")
    loci("ingest", read)
    with Workspace.open() as opened:
        document = opened.library.document("secret.md")
        turn = opened.memory.begin_turn(opened.memory.start_session(), "Where does the treasure lie?")
        answer = "At Kvistholmen [1]. The crew is Ana and Bo [2]."
        cites = [
            {"document": document.id, "answer_start": 0, "answer_end": 18, "quote": "The treasure lies"},
            {"document": "d2", "answer_start": 20, "answer_end": 46, "quote": "The crew is Ana and Bo."},
        ]
        opened.memory.finish_turn(turn, answer, json.dumps({"answer": answer, "citations": cites}), True)
    loci("backup", tmp_path / "b.zip")
    tried = loci("library", "remove", "secret.md", "--purge", "--dry-run", "--json")
    assert tried.code == 0 and tried.json[0]["documents"] == [document.id] and tried.json[0]["turns"] == [turn]
    told = loci("library", "remove", "secret.md", "--purge", "--dry-run")
    assert told.out == f"Would delete: document {document.id}; words in turn {turn}; title of session 1.\n"
    assert "secret.md" in (plain := loci("library", "remove", "secret.md", "--dry-run")).err and plain.code == 0
    with Workspace.open() as opened:
        assert opened.library.document("secret.md") == document and opened.memory.turn(turn).answer == answer
    ran = loci("library", "remove", "secret.md", "--purge", "--yes", "--json")
    [receipt] = ran.json
    assert ran.code == 0 and receipt["clean"] and receipt["documents"] == [document.id] and receipt["turns"] == [turn]
    assert receipt["words"] == tried.json[0]["words"] > 0  # told before, without those that other documents have
    assert b"kvistholmen" not in every_byte(home, tmp_path / "b.zip")
    assert (read / "secret.md").exists()
    with Workspace.open() as opened:
        kept = opened.memory.turn(turn)
        assert kept.answer == "[forgotten] The crew is Ana and Bo [2]."
        assert [one["document"] for one in json.loads(kept.answer_json)["citations"]] == ["d2"]
        assert opened.library.check() == [] and opened.memory.check() == []


STEPS: list[tuple[str, Callable[[pytest.MonkeyPatch], object]]] = [
    ("shelves", lambda patch: patch.setattr(app.purge, "forget_sessions", killed)),
    ("bytes", lambda patch: patch.setattr("memory.deletion.scrub", killed)),
    ("search", lambda patch: patch.setattr(app.purge, "search", killed)),
]


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("step", "kill"), STEPS, ids=[name for name, _ in STEPS])
def test_a_deletion_that_was_cut_short_is_ended_by_the_same_command(
    loci: Run, home: Path, tmp_path: Path, step: str, kill: Callable[[pytest.MonkeyPatch], object]
) -> None:
    memory, _ = tell()
    loci("backup", tmp_path / "b.zip")
    with pytest.MonkeyPatch.context() as patch:
        kill(patch)
        assert loci("memory", "purge", memory, "--yes").code == 130
    assert b"whimbrelonde" in every_byte(home)
    assert "interrupted" in loci("doctor").out
    loci("memory", "purge", memory, "--dry-run")
    assert "interrupted" in loci("doctor").out
    if step == "bytes":
        assert loci("doctor", "--fix").code == 0
    else:
        ran = loci("memory", "purge", memory, "--yes", "--json")
        assert ran.code == 0 and [one["clean"] for one in ran.json] == [True]
    assert b"whimbrelonde" not in every_byte(home, tmp_path / "b.zip")
    assert "interrupted" not in loci("doctor").out
