"""The command line: what goes to stdout, what to stderr, the shapes of --json, and the exit codes."""

import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.cli import door
from app.cli.ask import _input
from app.cli.chat import has_screen
from app.workspace import Workspace
from tests.app import schemas
from tests.app.cli_run import Run
from tests.app.fakes import FakeAssistant

# --- the door


def test_help_version_and_usage(loci: Run) -> None:
    assert loci("--help").code == 0 and "loci ask" in loci("--help").out
    assert loci("--version").out.startswith("loci ")
    for words in (["no-such"], ["ask"], ["search", "x", "--limit", "0"], ["memory", "add", "x", "--kind", "y"]):
        ran = loci(*words)
        assert (ran.code, ran.out) == (2, ""), words
    ran = loci("ask", "x", "--gpu-layers", "2")
    assert ran.code == 2 and "model.gpu_layers: LOCI_MODEL__GPU_LAYERS=" in ran.err
    assert "setting" not in loci("ask", "x", "--no-such", "2").err


def test_settings_are_shown_with_their_file(loci: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "config" / "default" / "config.toml"
    none = loci("settings")
    assert none.code == 0 and "[assistant]" in none.out and f"no {file} yet" in none.err
    file.write_text("[model]\ncontext = 512", "utf-8")
    assert "sets model.context." in loci("settings").err
    monkeypatch.setenv("LOCI_MEMORY__ENABLED", "false")
    told = loci("settings", "--json").json
    assert told["file"] == str(file) and told["exists"]
    rows = {row["key"]: row for row in told["settings"]}
    assert (rows["model.context"]["value"], rows["model.context"]["from"]) == (512, "file")
    assert (rows["memory.enabled"]["value"], rows["memory.enabled"]["from"]) == (False, "environment")
    assert (
        rows["model.expert_threshold"]["from"] == "default"
        and "gate weight" in rows["model.expert_threshold"]["help"].lower()
    )


def test_a_time_is_told_in_the_unit_that_suits_it() -> None:
    told = {0.2: "1 s", 89: "89 s", 720: "12 min", 10_800: "3 h", 777_600: "9 days"}
    assert {seconds: door.lasting(seconds) for seconds in told} == {
        one: f"about {words}" for one, words in told.items()
    }


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
    made = loci("--profile", "work", "memory", "list", "--json")
    assert made.json == [] and "The profile work is new. There is: default." in made.err  # or a misspelt one
    assert "is new" not in loci("--profile", "work", "memory", "list").err
    assert loci("--profile", "../x", "memory", "list").code == 2


# --- ask


def test_ask_prints_the_answer_and_its_citations(loci: Run) -> None:
    ran = loci("ask", "how many?")
    assert ran.code == 0
    assert ran.out.startswith("HOW MANY?\n") and "[1] ✓ verified  /docs/a.md:3, § Stock: “Forty.”" in ran.out
    assert "loci-small" in ran.err and "71.9M parameters, 30.8M active" in ran.err
    assert "loci-small" not in loci("ask", "how many?").err  # told once
    assert "loci-small" in loci("--profile", "work", "ask", "how many?").err


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
    # Only this module's clock: a loop of a server in another thread would sleep for as long as the two differ.
    monkeypatch.setattr("app.loading.time", SimpleNamespace(monotonic=lambda: now[0]))
    with door.loading() as moved:
        moved(0, 4 * 10**9)
        now[0] = 10.5
        moved(10**9, 4 * 10**9)
        assert not shown
        now[0] = 12.0
        moved(3 * 10**9, 4 * 10**9)
        now[0] = 14.0
        moved(10 * 10**6, 20 * 10**6)
    assert [words for _, _, words in shown] == ["3.0/4.0 GB, 1,500 MB/s", "10.0/20.0 MB, 2 MB/s"]


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


@pytest.mark.parametrize("redirected", ["stdin", "stdout", "stderr"])
def test_the_chat_fills_the_screen_only_where_no_stream_is_redirected(
    monkeypatch: pytest.MonkeyPatch, redirected: str
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, SimpleNamespace(isatty=lambda: True))
    assert has_screen()
    monkeypatch.setattr(sys, redirected, SimpleNamespace(isatty=lambda: False))
    assert not has_screen()


def test_plain_chat_answers_line_by_line_and_survives_a_bad_turn(loci: Run, assistant: FakeAssistant) -> None:
    ran = loci("chat", "--plain", stdin="one\n\nbreak\ntwo\n")
    assert ran.code == 0 and "ONE" in ran.out and "TWO" in ran.out
    assert "too long" in ran.err
    ran = loci("chat", "--plain", stdin="/help\n/etc/hosts is what?\n/quit\nnever\n")
    assert ran.code == 0 and "/remember TEXT: Store something about you" in ran.err
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


def test_an_output_that_is_there_is_refused_before_the_model_is_loaded(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"question": "one"}\n')
    (tmp_path / "out.jsonl").write_text("kept")
    monkeypatch.setattr(Workspace, "engine", lambda self: pytest.fail("the model was loaded"))
    ran = loci("batch", source, "-o", tmp_path / "out.jsonl")
    assert ran.code == 2 and "exists. Give --force" in ran.err
    assert loci("batch", source, "-o", source, "--force").code == 2
    assert (tmp_path / "out.jsonl").read_text() == "kept"


def test_failed_rows_are_code_4(loci: Run, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('\n{"question": "break"}\n\nnot json\n{"question": "ok"}\n')
    ran = loci("batch", source, "-o", out)
    assert ran.code == 4 and f"Why rows failed stands in {out}" in ran.err
    assert f"{source}, line 2: The question is too long." in ran.err and f"{source}, line 4: not JSON" in ran.err
    assert "is no file" in loci("batch", tmp_path / "none.csv", "-o", out).err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["error", "error", "ok"]
    for row in rows:
        schemas.check(row, schemas.BATCH)
    assert loci("batch", source, "-o", out).code == 2  # it exists
    assert loci("batch", tmp_path / "none", "-o", out).code == 2
    assert loci("batch", source, "-o", tmp_path / "no" / "such" / "out").code == 2


def test_an_input_without_rows_is_code_3(loci: Run, tmp_path: Path) -> None:
    for name, text in (("in.jsonl", "\n"), ("in.csv", "question\n")):
        (tmp_path / name).write_text(text)
        ran = loci("batch", tmp_path / name, "-o", tmp_path / f"out-{name}")
        assert ran.code == 3 and "0 rows" in ran.err


# --- text of strangers


def test_control_characters_are_written_out_for_people_and_escaped_in_json(loci: Run, tmp_path: Path) -> None:
    evil = tmp_path / "a\x1b[2J\x9b31m\x07.md"
    evil.write_text("The quay is 90 metres long.", "utf-8")
    assert loci("ingest", evil).code == 0
    assert loci("memory", "add", "The boat\x1b]0;owned\x07 \u202eis red.").code == 0
    for words in (
        ["library", "list"],
        ["library", "show", "d1"],
        ["search", "quay"],
        ["memory", "list"],
        ["memory", "show", "1"],
    ):
        ran = loci(*words)
        assert not set("\x1b\x9b\x07\u202e") & set(ran.out + ran.err), words
        assert "\\x1b" in ran.out, words
        raw = loci(*words, "--json")
        assert not set("\x1b\x9b\x07") & set(raw.out)
        assert "\x1b" in str(raw.json[0] if isinstance(raw.json, list) else raw.json).encode().decode("unicode_escape")
    missing = loci("library", "show", "x\x1b[31m")
    assert missing.code == 3 and "\x1b[31m" not in missing.err


def test_a_path_in_a_narrow_terminal_keeps_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    rows = [["d1", "/home/ada/papers/lease.md"], ["d2", "/a.md"]]
    door.table(["id", "path"], rows, keep_end=True)
    assert capsys.readouterr().out.splitlines() == ["ID  PATH", "d1  …papers/lease.md", "d2  /a.md"]
    door.table(["id", "path"], rows)
    assert capsys.readouterr().out.splitlines()[1] == "d1  /home/ada/paper…"


def test_the_widest_columns_of_a_table_are_cut_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    door.table(["", "question", "answer", "s"], [["✓", "a" * 50, "b" * 40, "1.5"], ["✗", "a", "b", "22.6"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"✓  {'a' * 23}…  {'b' * 23}…  1.5" and max(map(len, lines)) <= 60
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    door.table(["", "question"], [["✓", "a" * 150]])
    assert capsys.readouterr().out.splitlines()[1] == f"✓  {'a' * 150}"


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
        assert str(file) in loci(*words, file, "--force").err
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


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_what_is_piped_is_read_in_its_own_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = "Wann öffnet das Café am Äußeren Tor? Es öffnet früh, sagt die Wirtin."
    kept = written.encode(encoding).decode("utf-8", "surrogateescape")  # as the interpreter reads it in a C locale
    monkeypatch.setattr("sys.stdin", io.StringIO(kept))
    assert _input("-") == (written, ())
