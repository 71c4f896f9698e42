"""The same question of every document: cells with proof or absent, three forms, and the same bytes after a stop."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.batch import Outcome, Pins
from app.each_document import read_questions, run_each
from app.errors import BadInput
from app.settings_assistant import AssistantSettings
from model.errors import PromptTooLong
from retrieval.types import DocumentInfo
from tests.app.cli_run import Run
from tests.app.fakes import FakeAssistant, make_answer
from tests.app.fakes_engine import FakeEngine, FakeLibrary

QUESTIONS = ["Who signed it?", "What is the fee?"]


def document(n: int, name: str) -> DocumentInfo:
    return DocumentInfo(f"d{n}", f"/docs/{name}", name, "main", "text/plain", 9, 9, None, 1, "a" * 64, "2026-01-01")


DOCUMENTS = [document(1, "lease.md"), document(2, "a|b.md"), document(3, "note.md")]


def reply(question: str, one: DocumentInfo, pins: Pins) -> Answer:
    if one.id == "d2" and "fee" in question:
        raise PromptTooLong("Too long.")
    if one.id == "d3":
        return make_answer(question, abstained=True)
    if one.id == "d2":
        return make_answer(question, "Signed it [1]")  # repeats the question
    return make_answer(question, f"Ana Holm,\n{pins.seed} [1]")


def run(out: Path, ask: Any = reply, stop_after: int = -1, **more: Any) -> Outcome:
    steps = run_each(QUESTIONS, DOCUMENTS, out, ask, Pins(7, 3, "r"), options={"model": "m"}, **more)
    done = 0
    while True:
        try:
            if done == stop_after:
                steps.close()
                return Outcome()
            next(steps)
            done += 1
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome


def test_a_cell_is_an_answer_with_its_proof_or_absent_or_an_error(tmp_path: Path) -> None:
    outcome = run(tmp_path / "out.jsonl")
    assert outcome.statuses == {"ok": 1, "abstained": 1, "error": 1}
    lease, ab, note = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [cell["status"] for cell in lease["cells"]] == ["verified", "verified"]
    assert lease["cells"][0]["answer"] == "Ana Holm,\n3" and lease["cells"][0]["citation"]["quote"] == "Forty."
    assert [cell["status"] for cell in ab["cells"]] == ["absent", "error"] and "Too long" in ab["error"]
    assert [cell["status"] for cell in note["cells"]] == ["absent", "absent"] and note["cells"][0]["citation"] is None


def test_what_no_citation_proves_is_absent(tmp_path: Path) -> None:
    def unproven(question: str, one: DocumentInfo, pins: Pins) -> Answer:
        found = make_answer(question, "Ana Holm [1]")
        return replace(found, citations=(replace(found.citations[0], status="not_found"),))

    assert run(tmp_path / "out.jsonl", unproven).statuses == {"ok": 0, "abstained": 3, "error": 0}


def test_it_is_written_as_a_table_for_programs_and_for_people(tmp_path: Path) -> None:
    run(tmp_path / "out.csv")
    header, lease, *_ = csv.reader((tmp_path / "out.csv").read_text().splitlines(keepends=True))
    assert header[:5] == ["document", "path", "title", QUESTIONS[0], f"{QUESTIONS[0]} (status)"]
    assert lease[3:6] == ["Ana Holm,\n3", "verified", "a.md:3, § Stock: Forty."]
    run(tmp_path / "out.md")
    lines = (tmp_path / "out.md").read_text().splitlines()
    assert lines[:2] == ["| Document | Who signed it? | What is the fee? |", "|---|---|---|"]
    assert lines[2].startswith("| lease.md | Ana Holm, 3 (✓ a.md:3, § Stock) |")
    assert lines[3] == "| a\\|b.md | absent | error |"


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.md"])
def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole" / name)
    run(tmp_path / name, stop_after=1)
    asked: list[str] = []

    def counting(question: str, one: DocumentInfo, pins: Pins) -> Answer:
        asked.append(one.id)
        return reply(question, one, pins)

    assert run(tmp_path / name, counting).resumed == 1
    assert "d1" not in asked and asked
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_over_other_documents_is_not_resumed(tmp_path: Path) -> None:
    run(tmp_path / "out.md", stop_after=1)
    with pytest.raises(BadInput, match="another input"):
        steps = run_each(QUESTIONS, DOCUMENTS[:2], tmp_path / "out.md", reply, Pins(7, 3), options={"model": "m"})
        next(steps)


def test_questions_are_one_or_a_files(tmp_path: Path) -> None:
    assert read_questions(" Who signed it? ") == ["Who signed it?"]
    (tmp_path / "q.txt").write_text("One?\n\nTwo?\n")
    (tmp_path / "q.jsonl").write_text('{"question": "One?"}\n{"question": "Two?"}\n')
    for name in ("q.txt", "q.jsonl"):
        assert read_questions(str(tmp_path / name)) == ["One?", "Two?"]
    (tmp_path / "twice.txt").write_text("One?\nOne?\n")
    for wrong in (" ", str(tmp_path / "twice.txt")):
        with pytest.raises(BadInput):
            read_questions(wrong)


def test_a_question_within_a_document_looks_nowhere_else() -> None:
    sought: list[Any] = []

    class Watched(FakeLibrary):
        def search(self, query: str, *, documents: Any = None, **more: Any) -> Any:
            sought.append(documents)
            return super().search(query, documents=documents, **more)

    library = Watched(rules="The dock opens at nine.", ropes="The museum opens at ten.")
    engine = FakeEngine("It opens at ten [1].")
    one = Assistant(lambda: engine, library, None, AssistantSettings())
    answer = one.ask(Ask("When does the museum open?", within=("d2",), store=False))
    assert set(sought) == {("d2",)} and answer.citations[0].document == "d2"


def test_the_command_asks_the_documents_that_filters_let_through(
    loci: Run, read: Path, assistant: FakeAssistant, tmp_path: Path
) -> None:
    out = tmp_path / "table.md"
    ran = loci("batch", "--each-document", "Where are the anchors?", "--where", "type:md", "-o", out)
    assert ran.code == 0, ran.err
    assert [ask.within for ask in assistant.asked] == [("d2",)] and not assistant.asked[0].use_memory
    assert "| Stock | absent |" in out.read_text()  # the fake repeats the question
    for wrong in (
        ("batch", "-o", out),
        ("batch", out, "--each-document", "x", "-o", tmp_path / "o"),
        ("batch", "--each-document", "x", "--where", "anchors", "-o", tmp_path / "o"),
        ("batch", "--each-document", "x", "--memory", "-o", tmp_path / "o"),
        ("batch", out, "--where", "type:md", "-o", tmp_path / "o"),
    ):
        assert loci(*wrong).code == 2
    ran = loci("batch", "--each-document", "x", "--where", "type:pdf", "-o", tmp_path / "none.csv")
    assert ran.code == 3
