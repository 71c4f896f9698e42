"""Questions that are put to every document: asked one by one, or looked for by their words."""

import pytest

from app.answer import Answer, Ask, Started
from app.assistant import Assistant
from app.every import MOST, _alone
from app.settings_assistant import AssistantSettings
from tests.app.fakes_engine import FakeEngine, FakeLibrary

TEXTS = {
    "lease": "The lease was signed by Ana Holm. The dredging of the channel is not part of the lease.",
    "letter": "The letter was signed by Bo Lind.",
    "menu": "Soup costs 4 euros.",
}


def assistant(engine: FakeEngine, **texts: str) -> tuple[Assistant, FakeLibrary]:
    library = FakeLibrary(**texts)
    return Assistant(lambda: engine, library, None, AssistantSettings()), library


def hold(answer: Answer, library: FakeLibrary) -> None:
    for one in answer.citations:
        assert one.quote == library.text(one.document)[one.start : one.end] != ""
        assert answer.answer[one.answer_start : one.answer_end] == f"[{one.n}]"


def test_each_document_is_asked_alone_and_those_that_do_not_say_are_counted() -> None:
    engine = FakeEngine("Ana Holm signed the lease [1].", "Bo Lind signed the letter [1].", "The documents do not say.")
    one, library = assistant(engine, **TEXTS)
    events = list(one.turn(Ask("For each document, who signed it?", store=False)))
    answer: Answer = events[-1].answer  # type: ignore[union-attr]
    assert answer.answer.splitlines() == [
        "2 of 3 documents answer; the rest do not:",
        "",
        "- lease: Ana Holm signed the lease. [1]",
        "- letter: Bo Lind signed the letter. [2]",
    ]
    assert answer.grounded and [c.document for c in answer.citations] == ["d1", "d2"]
    hold(answer, library)
    assert all("Who signed it?" in request.prompt[-1].content for request in engine.requests)  # type: ignore[union-attr]
    assert [(e.done, e.total) for e in events if isinstance(e, Started) and e.stage == "read" and e.total == 3] == [
        (0, 3),
        (1, 3),
        (2, 3),
    ]
    assert answer.usage.prompt_tokens == sum(engine.count_tokens(request.prompt) for request in engine.requests)


def test_which_documents_mention_a_thing_is_told_by_its_words_and_needs_no_model() -> None:
    one, library = assistant(FakeEngine(), **TEXTS)
    answer = one.ask(Ask("Which documents mention the dredging of the channel?", store=False))
    assert answer.answer.splitlines()[2:] == ["- lease: “The dredging of the channel is not part of the lease.” [1]"]
    hold(answer, library)
    none = one.ask(Ask("Which documents mention an airport?", store=False))
    assert none.abstained and not none.citations and "None of the 3 documents" in (none.reason or "")


def test_of_many_documents_the_first_are_asked_and_the_rest_is_said() -> None:
    one, _ = assistant(FakeEngine(), **{f"n{n}": f"Soup number {n}." for n in range(MOST + 5)})
    answer = one.ask(Ask("Which documents mention soup?", store=False))
    assert answer.answer.startswith(f"All {MOST} documents mention it:")
    assert answer.context.left_out[0].what == "5 documents" and "loci batch" in answer.context.left_out[0].why


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("For each document, who signed it?", "Who signed it?"),
        ("What is the date of each document?", "What is the date of the document?"),
        ("Who is the sender of every e-mail?", "Who is the sender of the e-mail?"),
        ("Does every contract have an end date?", "Does the contract have an end date?"),
        ("Per document: who wrote it?", "Who wrote it?"),
        ("List the notice period for all contracts", "List the notice period for the contract"),
    ],
)
def test_the_question_is_turned_to_one_document(question: str, alone: str) -> None:
    assert _alone(question) == alone
