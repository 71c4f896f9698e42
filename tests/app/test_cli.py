"""The command line: what goes to stdout, what to stderr, the shapes of --json, and the exit codes."""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.cli import door
from app.cli.main import main
from app.profile import open_profile, shelves
from app.workspace import Workspace
from model.engine import SESSION
from model.shelves import Shelf
from tests.app import schemas
from tests.app.fakes import FakeAssistant, FakeEmbedder, FakeEngine
from tests.model.hub_server import serve


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def assistant() -> FakeAssistant:
    return FakeAssistant()


@pytest.fixture
def loci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], assistant: FakeAssistant
) -> Run:
    """Run a command in this process, with the real stores and a fake model and embedder; `stdin` as a file."""
    monkeypatch.setattr(Workspace, "embedder", property(lambda self: FakeEmbedder()))
    monkeypatch.setattr(Workspace, "engine", lambda self: FakeEngine())
    monkeypatch.setattr(Workspace, "model_loaded", True)
    monkeypatch.setattr(Workspace, "model_info", lambda self: FakeEngine().describe())
    monkeypatch.setattr(Workspace, "assistant", lambda self: assistant)

    def run(*words: object, stdin: str | None = None) -> Ran:
        piped = tmp_path / "stdin"
        piped.write_text(stdin or "", "utf-8")
        monkeypatch.setattr(sys, "argv", ["loci", *map(str, words)])
        with piped.open(encoding="utf-8") if stdin is not None else Path("/dev/null").open() as source:
            monkeypatch.setattr(sys, "stdin", source)
            capfd.readouterr()
            try:
                code = main()
            except SystemExit as stop:
                code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


# --- the door


def test_help_version_and_usage(loci: Run) -> None:
    assert loci("--help").code == 0 and "loci ask" in loci("--help").out
    assert loci("--version").out.startswith("loci ")
    for words in (["no-such"], ["ask"], ["search", "x", "--limit", "0"], ["memory", "add", "x", "--kind", "y"]):
        ran = loci(*words)
        assert (ran.code, ran.out) == (2, ""), words


def test_an_error_is_words_on_stderr_with_its_own_code(loci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = loci("ask", "break")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.strip() == "The prompt does not fit the model's window: The question is too long. Shorten it."
    assert loci("memory", "show", "99").code == 3
    monkeypatch.setenv("LOCI_MODEL__THREADS", "0")
    assert loci("ask", "x").code == 2


def test_an_unexpected_error_is_a_line_unless_debugging(loci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = loci("ask", "crash")
    assert ran.code == 1 and "Traceback" not in ran.err and "ZeroDivisionError: oops" in ran.err
    monkeypatch.setenv("LOCI_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        loci("ask", "crash")


def test_an_interruption_has_its_code(loci: Run) -> None:
    assert loci("ask", "interrupt").code == 130


def test_profiles_share_nothing(loci: Run) -> None:
    loci("memory", "add", "The dog is called Rufus.")
    assert len(loci("memory", "list", "--json").json) == 1
    assert loci("--profile", "work", "memory", "list", "--json").json == []
    assert loci("--profile", "../x", "memory", "list").code == 2


# --- ask


def test_ask_prints_the_answer_and_its_citations(loci: Run) -> None:
    ran = loci("ask", "how many?")
    assert ran.code == 0
    assert ran.out.startswith("HOW MANY?\n") and "[1] ✓ verified  /docs/a.md:3, § Stock: “Forty.”" in ran.out
    assert "loci-small" in ran.err and "71.9M parameters, 30.8M active" in ran.err


def test_ask_json_has_the_stable_shape(loci: Run) -> None:
    ran = loci("ask", "how many?", "--json")
    schemas.check(ran.json, schemas.ASK)
    assert next(iter(ran.json)) == "schema"


def test_a_streamed_answer_leaves_only_its_checked_form_on_stdout(loci: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loci("ask", "how many?").out
    monkeypatch.setattr("app.cli.ask._watched", lambda as_json: True)
    assert loci("ask", "how many?").out == plain


def test_a_load_is_shown_once_it_takes_over_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[int, int, str]] = []
    now = [10.0]

    @contextmanager
    def progress(label: str) -> Iterator[Callable[[int, int, str], None]]:
        yield lambda done, total, detail: shown.append((done, total, detail))

    monkeypatch.setattr("app.cli.door.progress", progress)
    monkeypatch.setattr("app.loading.time.monotonic", lambda: now[0])
    with door.loading() as moved:
        moved(0, 4 * 10**9)
        now[0] = 10.5
        moved(10**9, 4 * 10**9)
        assert not shown
        now[0] = 12.0
        moved(3 * 10**9, 4 * 10**9)
    assert shown == [(3 * 10**9, 4 * 10**9, "3.0/4.0 GB, 1,500 MB/s")]


def test_a_refusal_is_code_3(loci: Run) -> None:
    ran = loci("ask", "about nothing", "--json")
    assert ran.code == 3 and ran.json["abstained"] and ran.json["reason"] in ran.err


def test_options_reach_the_turn(loci: Run, assistant: FakeAssistant, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    loci(
        "ask",
        "q",
        "--in",
        "a",
        "--in",
        "b",
        "--in",
        "a",
        "-s",
        "Be kind.",
        "--seed",
        7,
        "--schema",
        schema,
        "--no-library",
    )
    (asked,) = assistant.asked
    assert (asked.scope, asked.system, asked.seed, asked.schema) == (("a", "b"), "Be kind.", 7, '{"type": "object"}')
    assert (asked.use_library, asked.use_memory, asked.store) == (False, True, True)
    loci("ask", "q", "--incognito")
    assert (assistant.asked[1].use_memory, assistant.asked[1].store) == (False, False)


def test_piped_text_is_an_attachment_or_with_a_dash_the_question(loci: Run, assistant: FakeAssistant) -> None:
    loci("ask", "what changed?", stdin="+ added é\n")
    assert assistant.asked[-1].attachments == (("stdin", "+ added é\n"),)
    loci("ask", "-", stdin="the question\n")
    assert (assistant.asked[-1].question, assistant.asked[-1].attachments) == ("the question", ())
    loci("ask", "alone")
    assert assistant.asked[-1].attachments == ()
    assert loci("ask", "-", stdin=" ").code == 2


def test_a_template_is_filled(loci: Run, assistant: FakeAssistant, home: Path) -> None:
    assert loci("ask", "q", "-t", "short").code == 2
    folder = home / "config" / "default" / "templates"
    folder.mkdir()
    (folder / "short.md").write_text('Answer as {"a": 1}: {question}\n---\n{input}')
    loci("ask", "who {input}?", "-t", "short", stdin="text with {question}")
    assert assistant.asked[-1].question == 'Answer as {"a": 1}: who {input}?\n---\ntext with {question}'
    assert assistant.asked[-1].attachments == ()


def test_continue_takes_the_last_session_of_the_scope(loci: Run, assistant: FakeAssistant) -> None:
    assert loci("ask", "-c", "and then?").code == 3
    with Workspace.open() as opened:
        opened.memory.start_session("main", "older")
        wanted = opened.memory.start_session("main", "newer")
        opened.memory.start_session("work", "elsewhere")
    loci("ask", "-c", "and then?")
    assert assistant.asked[-1].session == wanted


def test_a_schema_that_is_none_is_refused(loci: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[1]")
    assert loci("ask", "q", "--schema", tmp_path / "bad.json").code == 2
    assert loci("ask", "q", "--schema", tmp_path / "none.json").code == 2


# --- chat, plain


def test_chat_continues_the_last_session(loci: Run, assistant: FakeAssistant) -> None:
    assert loci("chat", "--plain", "-c", stdin="one\n").code == 3
    with Workspace.open() as opened:
        session = opened.memory.start_session("main", "older")
    loci("chat", "--plain", "-c", stdin="one\n")
    assert assistant.asked[-1].session == session


def test_plain_chat_answers_line_by_line_and_survives_a_bad_turn(loci: Run, assistant: FakeAssistant) -> None:
    ran = loci("chat", "--plain", stdin="one\n\nbreak\ntwo\n")
    assert ran.code == 0 and "ONE" in ran.out and "TWO" in ran.out
    assert "too long" in ran.err
    ran = loci("chat", "--plain", stdin="/help\n/etc/hosts is what?\n/quit\nnever\n")
    assert ran.code == 0 and "/help: the plain chat has no commands" in ran.err
    assert "/ETC/HOSTS" in ran.out and "NEVER" not in ran.out
    lines = loci("chat", "--json", stdin="one\ntwo\n").out.strip().split("\n")
    for line in lines:
        schemas.check(json.loads(line), schemas.ASK)
    assert len(lines) == 2


# --- batch


def test_batch_writes_rows_of_the_stable_shape(loci: Run, tmp_path: Path, assistant: FakeAssistant) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"question": "a", "gold": 1}\n{"question": "nothing"}\n')
    ran = loci("batch", source, "-o", out, "--seed", 5, "--json")
    assert ran.code == 0
    assert ran.json == {"rows": 2, "resumed": 0, "ok": 1, "abstained": 1, "error": 0}
    for line in out.read_text().splitlines():
        schemas.check(json.loads(line), schemas.BATCH)
    for asked in assistant.asked:
        assert (asked.use_memory, asked.store, asked.seed, asked.session) == (False, False, 5, None)
        assert asked.library_epoch is not None
    loci("batch", source, "-o", out, "--force", "--remember")
    assert (assistant.asked[-1].use_memory, assistant.asked[-1].store) == (True, True)


def test_failed_rows_are_code_4(loci: Run, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"question": "break"}\nnot json\n{"question": "ok"}\n')
    ran = loci("batch", source, "-o", out)
    assert ran.code == 4 and f"Why rows failed stands in {out}" in ran.err
    assert "does not exist" in loci("batch", tmp_path / "none.csv", "-o", out).err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["error", "error", "ok"]
    for row in rows:
        schemas.check(row, schemas.BATCH)
    assert loci("batch", source, "-o", out).code == 2  # it exists
    assert loci("batch", tmp_path / "none", "-o", out).code == 2
    assert loci("batch", source, "-o", tmp_path / "no" / "such" / "out").code == 2


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
    assert loci("memory", "recall", "what is my boat called", "--in", "work", "--json").code == 3
    assert loci("memory", "pin", added["id"], "--json").json["pinned"]
    assert not loci("memory", "pin", added["id"], "--off", "--json").json["pinned"]
    assert loci("memory", "why", added["id"], "--json").json
    edited = loci("memory", "edit", added["id"], "My boat is called Curlew.", "--json").json
    assert edited["text"] == "My boat is called Curlew."
    assert loci("memory", "forget", edited["id"]).code == 2  # nobody to ask, and no --yes
    ran = loci("memory", "forget", edited["id"], "--yes")
    assert ran.code == 0 and f"`loci memory restore {edited['id']}`" in ran.err
    assert loci("memory", "list", "--in", "main", "--json").json == []
    assert loci("memory", "restore", edited["id"], "--json").json["state"] == "active"
    assert loci("memory", "export", tmp_path / "m.jsonl").code == 0
    assert loci("memory", "export").out == (tmp_path / "m.jsonl").read_text("utf-8")
    imported = loci("--profile", "second", "memory", "import", tmp_path / "m.jsonl", "--json").json
    assert imported["added"] >= 2 and imported["bad"] == []
    with (tmp_path / "m.jsonl").open("a") as file:
        file.write("not a memory\n")
    assert loci("--profile", "second", "memory", "import", tmp_path / "m.jsonl").code == 4
    assert loci("memory", "purge", edited["id"], "--yes", "--json").json[0]["memories"]
    assert loci("memory", "show", edited["id"]).code == 3
    assert loci("memory", "stats", "--json").json


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
    assert "At nine." in json.dumps(json.loads((tmp_path / "s.json").read_text()))
    assert loci("feedback", "last", "--good").code == 0
    assert loci("feedback", "last").code == 2
    assert loci("feedback", "last", "--good", "--bad").code == 2
    assert loci("feedback", "99", "--bad").code == 3
    assert loci("sessions", "delete", session).code == 2
    assert loci("sessions", "delete", session, "--yes").code == 0
    assert loci("sessions", "list", "--json").json == []


# --- library


@pytest.fixture
def read(loci: Run, tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "stock.md").write_text("# Stock\n\nThere are forty anchors in the shed.\n")
    (folder / "crew.txt").write_text("The crew is Ana and Bo.\n")
    ran = loci("ingest", folder, "--json")
    assert ran.code == 0 and ran.json["counts"] == {"added": 2}
    return folder


def test_search_finds_what_was_ingested_in_its_collection_only(loci: Run, read: Path) -> None:
    found = loci("search", "forty", "anchors", "--json").json
    schemas.check(found, schemas.SEARCH)
    best = found[0]
    assert best["path"].endswith("stock.md") and "forty anchors" in best["text"]
    assert loci("library", "show", best["document"], "--text").out[best["start"] : best["end"]] == best["text"]
    assert "stock.md" in loci("search", "forty anchors").out
    ran = loci("search", "forty anchors", "--in", "work", "--json")
    assert (ran.code, ran.json) == (3, []) and "The collection work holds no documents" in ran.err
    only = loci("search", "anchors crew", "--document", "crew.txt", "--json").json
    assert {passage["path"].rsplit("/")[-1] for passage in only} == {"crew.txt"}


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


def test_a_dry_run_reads_nothing_in(loci: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Words.")
    assert loci("ingest", tmp_path / "a.txt", "--dry-run", "--json").json["files"] == 1
    assert loci("library", "list", "--json").json == []
    assert "To read: 1 files" in loci("ingest", tmp_path / "a.txt").err


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
    assert loci("library", "pin", "stock.md").code == 0
    assert loci("library", "show", "stock.md", "--json").json["pinned"]
    assert "yes" in loci("library", "list").out
    assert loci("library", "unpin", "stock.md").code == 0
    assert not loci("library", "show", "stock.md", "--json").json["pinned"]
    assert loci("library", "reindex").code == 0
    assert loci("library", "stats", "--json").json
    assert loci("library", "remove", "stock.md").code == 2
    assert loci("library", "remove", "stock.md", "--yes").code == 0
    assert loci("search", "forty anchors", "--json").json == [] or "anchors" not in loci("search", "forty anchors").out


# --- keeping, doctor, models


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


def test_the_doctor_finds_a_sound_profile_and_an_open_folder(loci: Run, read: Path, home: Path) -> None:
    ran = loci("doctor", "--json")
    assert ran.code == 0, ran.out
    assert {"library", "memory", "model"} <= {finding["check"] for finding in ran.json}
    assert {finding["state"] for finding in ran.json} <= {"ok", "warning"}


def test_a_model_is_pulled_and_told(loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serve({"name-Q8_0.gguf": b"GGUF"}) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        told = loci("model", "pull", "hf:org/name:Q8_0", "--json").json
        assert told["files"] == ["name-Q8_0.gguf"] and told["bytes"] == told["fetched"] == 4
        again = loci("model", "pull", "hf:org/name:Q8_0")
        assert again.out.strip() == told["folder"] and "0.00 of them fetched now" in again.err
        absent = loci("model", "pull", "hf:org/name:Q2_K")
        assert (absent.code, absent.out) == (2, "") and "It has Q8_0." in absent.err
    assert loci("model", "pull", "org/name").code == 2


def test_a_model_is_measured_beside_its_ceiling(loci: Run, tmp_path: Path) -> None:
    drawn = tmp_path / "rates.svg"
    words = ("model", "bench", "--random", "embedded", "--tokens", "2", "--repeats", "1", "--contexts", "8,16")
    told = loci(*words, "--batches", "1,2", "--json", "--plot", drawn).json
    assert [(row["context"], row["batch"]) for row in told["rows"]] == [(8, 1), (16, 1), (8, 2), (16, 2)]
    assert all(row["decode"] > 0 and row["decode_ceiling"] > 0 for row in told["rows"])
    assert told["cache_bytes_per_token"] == 7 * 160 * 4 and told["device"]["measured"]
    assert drawn.read_text("utf-8").startswith("<?xml") and "batch 2" in drawn.read_text("utf-8")
    shown = loci("model", "bench", "embedded", "--tokens", "2", "--repeats", "1", "--contexts", "8")
    assert "decode tok/s" in shown.out and len(shown.out.splitlines()) == 2 and "GB/s" in shown.err


def test_weights_that_no_memory_holds_are_not_drawn(loci: Run) -> None:
    refused = loci("model", "bench", "--random", "v3")
    assert refused.code == 1 and "The weights take" in refused.err
    assert "Drawing" not in refused.err


def test_experts_are_mapped_by_kind_of_text(loci: Run, tmp_path: Path) -> None:
    for name, text in (("code", "def f(x):\n    return x + 1\n" * 9), ("prose", "The harbour lay still. " * 9)):
        (tmp_path / name).with_suffix(".txt").write_text(text, "utf-8")
    words = ("model", "bench", "--experts", "--text", tmp_path / "code.txt", "--text", tmp_path / "prose.txt")
    drawn = tmp_path / "experts.png"
    told = loci(*words, "--thresholds", "0,0.2", "--plot", drawn, "--json").json
    assert [domain["domain"] for domain in told["domains"]] == ["code", "prose"]
    assert all(len(domain["counts"]) == 6 and len(domain["counts"][0]) == 11 for domain in told["domains"])
    assert told["specialists"][0]["lift"] > 1 and min(one["layer"] for one in told["specialists"]) >= 1
    assert [one["threshold"] for one in told["thresholds"]] == [0, 0.2] and told["thresholds"][1]["skipped"] > 0.1
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert "LIFT" in loci(*words).out
    assert loci("model", "bench", "--experts", "--in", "nothing").code == 2
    assert loci("model", "bench", "--thresholds", "0.1").code == 2
    assert loci(*words, "--thresholds", "2").code == 2


def test_a_bench_that_cannot_be_is_refused_first(loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loci("model", "bench", "--contexts", "0").code == 2
    assert loci("model", "bench", "--random", "v9").code == 2
    assert loci("model", "bench", "--plot", tmp_path / "a.gif").code == 2
    monkeypatch.setattr("app.bench_plot.find_spec", lambda name: None)
    missing = loci("model", "bench", "--plot", tmp_path / "a.svg")
    assert missing.code == 1 and "[plot]" in missing.err


def test_models_are_listed_and_shown(loci: Run, home: Path) -> None:
    assert loci("model", "list", "--json").json == [{"reference": "embedded", "in_use": True}]
    assert loci("model", "show", "--json").json["active_parameters"] == 30_800_000
    assert loci("model", "convert", home, home / "x.gguf").code != 0
    assert loci("model", "card").code in (0, 2)


def test_evaluations_print_the_stable_shape(loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import app.evaluation.retrieval as room

    result = {
        "dataset": "xquad",
        "items": 2,
        "metrics": {"recall@1": 0.5},
        "baselines": {"bm25": {"recall@1": 0.25}},
        "settings": {},
        "seconds": 0.1,
    }
    monkeypatch.setattr(room, "evaluate", lambda dataset, path, **settings: result | {"settings": settings})
    ran = loci("eval", "retrieval", "--dataset", "xquad", "--path", tmp_path, "--limit", 2, "--json")
    schemas.check(ran.json, schemas.EVAL)
    assert ran.json["settings"] == {"limit": 2}
    assert "recall@1 (bm25)" in loci("eval", "retrieval", "--dataset", "xquad", "--path", tmp_path).out
    assert loci("eval", "retrieval", "--dataset", "xquad", "--path", tmp_path / "none").code == 2


# --- text of strangers


def test_control_characters_are_written_out_for_people_and_escaped_in_json(loci: Run, tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b[2J\x9b31m\x07.md"
    evil.write_text("The quay is 90 metres long.", "utf-8")
    assert loci("ingest", evil).code == 0
    assert loci("memory", "add", "The boat\x1b]0;owned\x07 is red.").code == 0
    for words in (
        ["library", "list"],
        ["library", "show", "d1"],
        ["search", "quay"],
        ["memory", "list"],
        ["memory", "show", "1"],
    ):
        ran = loci(*words)
        assert not set("\x1b\x9b\x07") & set(ran.out + ran.err), words
        assert "\\x1b" in ran.out, words
        raw = loci(*words, "--json")
        assert not set("\x1b\x9b\x07") & set(raw.out)
        assert "\x1b" in str(raw.json[0] if isinstance(raw.json, list) else raw.json).encode().decode("unicode_escape")
    missing = loci("library", "show", "x\x1b[31m")
    assert missing.code == 3 and "\x1b[31m" not in missing.err


def test_names_and_words_that_are_not_utf8_are_refused_in_words(loci: Run, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "good.md").write_text("The quay is 90 metres long.", "utf-8")
    (folder / "b\udcffd.md").write_text("Its name is latin-1.", "utf-8")
    ran = loci("ingest", folder, "--json")
    assert ran.code == 4
    assert ran.json["counts"] == {"failed": 1, "added": 1}
    assert "not valid UTF-8" in ran.json["files"][0]["reason"]
    assert "b\\udcffd.md" in loci("ingest", folder).err
    assert loci("ingest", folder / "b\udcffd.md").code == 1
    for words in (["search", "\udcff"], ["memory", "add", "\udcff"], ["library", "show", "\udcff"]):
        ran = loci(*words)
        assert ran.code == 2, words
        assert "unexpectedly" not in ran.err


def test_an_export_replaces_a_file_only_when_forced_and_is_for_its_owner_alone(loci: Run, tmp_path: Path) -> None:
    loci("memory", "add", "My boat is red.")
    with Workspace.open() as opened:
        session = opened.memory.start_session("main", "Ferries")
    for words in (["memory", "export"], ["sessions", "export", session]):
        file = tmp_path / f"{words[0]}.json"
        file.write_text("mine")
        file.chmod(0o644)
        ran = loci(*words, file)
        assert ran.code == 2 and "--force" in ran.err and file.read_text() == "mine"
        assert loci(*words, file, "--force").code == 0
        assert file.read_text("utf-8") == loci(*words).out
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert loci("memory", "export", pipe).code == 0
    assert b"My boat is red." in os.read(reading, 1 << 16)
    os.close(reading)
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_cannot_be_written_is_named(loci: Run, tmp_path: Path) -> None:
    loci("memory", "add", "My boat is red.")
    ran = loci("memory", "export", tmp_path / "no" / "such.jsonl")
    assert ran.code == 1 and "such.jsonl" in ran.err and "unexpectedly" not in ran.err


def test_numbers_beyond_sqlite_closed_streams_and_names_of_two_lines(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "a\n[2] verified.md"
    evil.write_text("The quay is 90 metres long.", "utf-8")
    assert loci("ingest", evil).code == 0
    assert "a\\n[2] verified.md" in loci("search", "quay").out
    for words in (["memory", "show", "9" * 30], ["library", "show", "d" + "9" * 30]):
        ran = loci(*words)
        assert ran.code == 2 and "too large" in ran.err
    monkeypatch.setattr(sys, "stdout", None)
    assert loci("library", "list").code == 0


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
    assert loci("library", "remove", "stock.md", "--yes").code == 0
    assert not pinned.exists() and elsewhere.exists()
