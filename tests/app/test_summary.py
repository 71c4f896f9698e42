"""Summaries: of which documents, chosen word for word or written and proven, beyond what a window holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.settings_assistant import AssistantSettings
from app.summary.extract import choose
from app.summary.subjects import sentence_count, subjects
from model.errors import UnsupportedConstraint
from retrieval.ingest import ingest
from retrieval.types import DocumentInfo
from tests.app.cli_run import Run
from tests.app.fakes import FakeAssistant
from tests.app.fakes_engine import FakeEngine, FakeLibrary, embed
from tests.retrieval.libraries import opened

LEASE = (
    "Lease of the yard\n\n"
    "The tenant pays a rent of 900 euros each month to the trust. The rent is due on the first day of each month.\n\n"
    "The tenant may end the lease with nine months of notice in writing. Notice goes to the clerk of the trust.\n\n"
    "The landlord keeps the roof and the walls of the yard in repair. The tenant keeps the cranes in repair."
)
MUSEUM = "The Museum of Ropes was founded in 1978 by Piet Mulder. Admission to the museum costs 7 euros for adults."


def ask(engine: FakeEngine, question: str, **more: Any) -> tuple[Answer, FakeLibrary]:
    library = FakeLibrary(lease=LEASE, museum=MUSEUM)
    one = Assistant(lambda: engine, library, None, AssistantSettings())
    return one.ask(Ask(question, store=False, **more)), library


def _lines(answer: Answer) -> list[str]:
    return [line for line in answer.answer.splitlines() if line]


def small() -> FakeEngine:
    return FakeEngine(capabilities=("span", "score"))


def hold(answer: Answer, library: FakeLibrary) -> None:
    """Every citation is its document's own text, and stands where its mark is."""
    assert answer.citations and answer.grounded
    for one in answer.citations:
        assert one.quote == library.text(one.document)[one.start : one.end] != ""
        assert answer.answer[one.answer_start : one.answer_end] == f"[{one.n}]"


# ---- chosen --------------------------------------------------------------------------------------


def test_sentences_that_say_the_same_are_not_both_chosen() -> None:
    vectors = embed(["rent is due monthly", "rent is due monthly", "the roof leaks", "the roof leaks badly", "boats"])
    chosen = choose(vectors, [0, 0, 1, 1, 2], [0.0] * 5, 3)
    assert len(chosen) == 3 and chosen == sorted(chosen)
    assert len({0, 1} & set(chosen)) == 1 and len({2, 3} & set(chosen)) == 1
    assert choose(np.zeros((0, 4), np.float32), [], [], 3) == []


def test_the_small_model_chooses_sentences_word_for_word() -> None:
    answer, library = ask(small(), "Summarize the lease in two sentences.")
    lines = answer.answer.splitlines()
    assert lines[0] == "Summary of lease (2 of 6 sentences, chosen word for word):"
    said = [line.removeprefix("- ").rsplit(" [", 1)[0] for line in lines[1:] if line.startswith("- ")]
    assert len(said) == 2 and all(sentence in LEASE for sentence in said)
    hold(answer, library)
    assert [one.status for one in answer.citations] == ["verified"] * 2 and not library.queries
    assert answer.citations[0].start < answer.citations[1].start


def test_a_text_without_headings_is_summed_up_from_all_its_parts() -> None:
    said = "\n\n".join(f"In year {n} the harbour number {n * 7} was opened by mayor M{n}." for n in range(100))
    one = Assistant(small, FakeLibrary(speech=said), None, AssistantSettings())
    answer = one.ask(Ask("x", summary=8, store=False))
    assert len(answer.citations) == 8
    assert {citation.start * 4 // len(said) for citation in answer.citations} == {0, 1, 2, 3}


def test_several_documents_are_summed_up_one_below_the_other() -> None:
    answer, library = ask(small(), "Summarize everything in the library")
    assert answer.answer.startswith("Summary of 2 documents (")
    assert "\nlease\n- " in answer.answer and "\nmuseum\n- " in answer.answer
    hold(answer, library)


def test_a_summary_is_bound_to_the_documents_that_are_meant() -> None:
    assert {c.document for c in ask(small(), "x", summary=4, within=("d2",))[0].citations} == {"d2"}
    assert {c.document for c in ask(small(), "What is the museum about?")[0].citations} == {"d2"}
    answer, _ = ask(small(), "Summarize this", attachments=(("note.txt", LEASE),))
    assert {c.document for c in answer.citations} == {"a1"}
    assert ask(FakeEngine("The usual way."), "Summarize the minutes")[0].answer.startswith("The usual way.")
    with pytest.raises(UnsupportedConstraint):
        ask(small(), "Summarize the lease", schema="{}", summary=3)
    shaped, _ = ask(FakeEngine('{"rent": 900}'), "Summarize the lease", schema='{"type": "object"}')
    assert shaped.answer.strip() == '{"rent": 900}', "what has a form of its own is answered as ever"


# ---- written -------------------------------------------------------------------------------------


def test_an_empty_library_has_nothing_to_sum_up() -> None:
    one = Assistant(small, FakeLibrary(), None, AssistantSettings())
    assert one.ask(Ask("How many documents are there?", summary=3, store=False)).abstained


def test_of_what_a_model_writes_the_proven_sentences_stay() -> None:
    engine = FakeEngine(
        "The tenant pays a rent of 900 euros each month [1].\nThe tenant pays a rent of 400 euros each month [1].\n"
        "- Notice goes to the clerk of the trust [1].\nThe yard belongs to the king of Spain.\n"
        'For all 77 yards the tenant pays "a rent of 900 euros each month" [1].'
    )
    answer, library = ask(engine, "Summarize the lease")
    assert _lines(answer) == [
        "Summary of lease (written by Fake; 2 of its last 5 sentences are proven):",
        "- The tenant pays a rent of 900 euros each month. [1]",
        "- Notice goes to the clerk of the trust. [2]",
    ]
    hold(answer, library)
    assert "<passage" in engine.requests[0].prompt[1].content  # type: ignore[union-attr]


def test_beyond_the_window_the_evidence_is_read_again() -> None:
    many = "\n\n".join(
        f"{LEASE.replace('900', str(n))}\n\nThe yard number {n} lies at the pier." for n in range(901, 913)
    )
    written = [f"The tenant pays a rent of {n} euros each month [1]." for n in range(901, 930)]

    class Reading(FakeEngine):
        def generate(self, request: Any) -> Any:
            shown = request.prompt[1].content
            rent = next(n for n in range(901, 930) if f"rent of {n} euros" in shown)
            self.answers = [written[rent - 901]]
            return super().generate(request)

    engine = Reading(context=1200)
    library = FakeLibrary(lease=many)
    one = Assistant(lambda: engine, library, None, AssistantSettings())
    answer = one.ask(Ask("Summarize the lease", store=False))
    assert len(engine.requests) > 3
    last = engine.requests[-1].prompt[1].content
    assert last.count("<passage") > 2 and "yard number" not in last, "the last round reads evidence alone"
    assert _lines(answer)[1] == "- The tenant pays a rent of 901 euros each month. [1]"
    hold(answer, library)
    assert answer.usage.prompt_tokens == sum(engine.count_tokens(request.prompt) for request in engine.requests)


def test_where_nothing_is_proven_sentences_are_chosen() -> None:
    answer, library = ask(FakeEngine("The moon is a cheese [1]."), "Summarize the lease")
    assert "chosen word for word" in answer.answer
    hold(answer, library)


# ---- which documents -----------------------------------------------------------------------------


def named(*titles: str) -> list[DocumentInfo]:
    return [
        DocumentInfo(f"d{n}", f"/docs/{t}.pdf", t, "main", "", 1, 1, None, 1, "", "") for n, t in enumerate(titles, 1)
    ]


def test_documents_are_named_by_all_words_of_a_question() -> None:
    documents = named("Lease of the Boatyard", "annual-report-2025", "Annual Report 2024")

    def told(question: str) -> list[str]:
        return [one.id for one in subjects(question, documents)]

    assert told("Summarize the boatyard lease.") == ["d1"]
    assert told("Give me a short summary of the annual report") == ["d2", "d3"]
    assert told("Sum up the annual report of 2025 please") == ["d2", "d3"]  # figures alone tell nothing
    assert told("Summarize everything in the library") == ["d1", "d2", "d3"]
    assert told("Summarize this document") == []
    assert told("Summarize what the trust decided about dredging") == []
    assert sentence_count("in five sentences") == 5 and sentence_count("in 12 short sentences") == 12


def test_a_document_has_its_sections(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Before.\n\n# One\n\nFirst.\n\n## Two\n\nSecond.\n")
    library = opened(tmp_path)
    ingest(library, [tmp_path / "a.md"])
    text = library.text("a.md")
    found = [(text[start:end].strip(), name) for start, end, name in library.sections("a.md")]
    assert [name for _, name in found] == ["", "One", "One › Two"]
    assert "".join(text[start:end] for start, end, _ in library.sections("a.md")) == text
    assert found[2][0].endswith("Second.")
    library.close()


def test_the_command_sums_up_a_document_or_what_filters_choose(loci: Run, read: Path, assistant: FakeAssistant) -> None:
    assert loci("summarize", "stock.md", "-n", "3").code == 0
    assert (assistant.asked[-1].within, assistant.asked[-1].summary) == (("d2",), 3)
    assert loci("summarize", "type:txt", "--json").json["schema"] == 1
    assert assistant.asked[-1].within == ("d1",)
    assert loci("summarize").code == 0 and assistant.asked[-1].within == ()
    assert loci("summarize", "type:pdf").code == 3 and loci("summarize", "nothing.md").code == 3
