"""Several drafts of which the best supported stands, and sentences without support that are written anew."""

from collections.abc import Generator, Iterator, Sequence

import pytest

from app import prose
from app.answer import Answer, Ask, Started
from app.assistant import Assistant
from app.grounding import check
from app.mend import SENTENCES, _put
from app.settings_assistant import AssistantSettings
from model.engine import Event, Logprobs, Request, TokenLogprob
from tests.app.fakes_engine import FakeEngine, FakeLibrary

TEXTS = {
    "lease": "The lease of the boathouse ends on 31 March 2027. The rent is 900 euros a month.",
    "club": "The club has 42 members.",
}
QUESTION = "When does the lease of the boathouse end?"
RIGHT = "The lease of the boathouse ends on 31 March 2027 [1]."
WRONG = "The lease of the boathouse ends on 30 June 2029 [1]."
SILENT = "The documents do not say."


class Weighed(FakeEngine):
    """Says how likely each answer is: one token with the log-probability queued for it."""

    def __init__(self, *answers: str, likely: Sequence[float] = ()) -> None:
        super().__init__(*answers)
        self.likely = list(likely)

    def generate(self, request: Request) -> Generator[Event, None, None]:
        if request.sampling.logprobs and self.likely:
            yield Logprobs(TokenLogprob("x", self.likely.pop(0)), ())
        yield from super().generate(request)


class Together(FakeEngine):
    """An engine that writes several answers at once."""

    rounds = 0

    def generate_all(self, requests: Sequence[Request]) -> Iterator[tuple[int, Event]]:
        self.rounds += 1
        streams = [self.generate(request) for request in requests]
        for events in zip(*streams, strict=False):
            yield from enumerate(events)
        for number, stream in enumerate(streams):
            for event in stream:
                yield number, event


def assistant(engine: FakeEngine, mend: int = 0, **texts: str) -> Assistant:
    library = FakeLibrary(**(texts or TEXTS))
    return Assistant(lambda: engine, library, None, AssistantSettings(mend=mend))


def answered(engine: FakeEngine, best_of: int = 1, mend: int = 0, question: str = QUESTION) -> Answer:
    return assistant(engine, mend).ask(Ask(question, store=False, best_of=best_of, seed=7))


# ---- the best of several --------------------------------------------------------------------------


def test_the_answer_with_the_most_support_stands() -> None:
    answer = answered(FakeEngine(WRONG, WRONG, RIGHT), best_of=3)
    assert "31 March 2027" in answer.answer and answer.grounded and not answer.unsupported


def test_of_answers_with_equal_support_the_likelier_stands() -> None:
    other = "The lease of the boathouse ends in March 2027 [1]."
    assert "31 March" in answered(Weighed(other, RIGHT, likely=[-2.0, -1.0]), best_of=2).answer
    assert "31 March" not in answered(Weighed(other, RIGHT, likely=[-1.0, -2.0]), best_of=2).answer


def test_that_most_answers_refuse_is_a_refusal() -> None:
    refused = answered(FakeEngine(SILENT, RIGHT, SILENT), best_of=3)
    assert refused.abstained and refused.confidence == pytest.approx(1 / 3)
    assert not answered(FakeEngine(SILENT, RIGHT, RIGHT), best_of=3).abstained


def test_agreement_is_the_confidence() -> None:
    assert answered(FakeEngine(RIGHT, RIGHT, RIGHT), best_of=3).confidence == pytest.approx(1.0)
    mixed = answered(Weighed(RIGHT, "The club has 42 members [2].", likely=[-1.0, -2.0]), best_of=2).confidence
    assert mixed is not None and mixed < 0.5
    assert answered(FakeEngine(RIGHT)).confidence is None


def test_samples_share_one_prompt_and_only_the_first_is_drawn_as_asked() -> None:
    engine = FakeEngine(RIGHT, RIGHT, RIGHT)
    answer = answered(engine, best_of=3)
    drawn = [request.sampling for request in engine.requests]
    assert len({tuple(request.prompt) for request in engine.requests}) == 1
    assert [(one.temperature, one.seed) for one in drawn] == [(0.0, 7), (0.7, 8), (0.7, 9)]
    assert answer.usage.completion_tokens == 3 * len(RIGHT.split())


def test_an_engine_that_answers_together_is_asked_once() -> None:
    engine = Together(WRONG, RIGHT)
    assert "31 March 2027" in answered(engine, best_of=2).answer and engine.rounds == 1


def test_each_sample_is_a_stage_and_closing_draws_no_more() -> None:
    engine = FakeEngine(RIGHT, RIGHT, RIGHT)
    events = assistant(engine).turn(Ask(QUESTION, store=False, best_of=3))
    for event in events:
        if isinstance(event, Started) and event.stage == "answer" and event.done:
            assert (event.done, event.total) == (1, 3)
            break
    events.close()
    assert len(engine.requests) == 1


def test_a_plain_answer_is_drawn_once_and_a_model_that_chooses_says_that_it_draws_none() -> None:
    plain = FakeEngine("A poem.")
    assert answered(plain, best_of=3, question="Write a poem about ropes").answer == "A poem."
    chooser = FakeEngine(capabilities=("span",))
    left = answered(chooser, best_of=3).context.left_out
    assert any(one.what == "3 answers to choose from" for one in left)


# ---- mending --------------------------------------------------------------------------------------

DRAFT = f"{RIGHT} The club has 99 members [2]. The rent is 900 euros a month [1]."


def test_only_a_sentence_without_support_is_written_anew() -> None:
    engine = FakeEngine(DRAFT, "The club has 42 members [2].")
    answer = answered(engine, mend=2)
    assert answer.answer == f"{RIGHT} The club has 42 members [2]. The rent is 900 euros a month [1]."
    assert not answer.unsupported and len(engine.requests) == 2
    asked = engine.requests[1].prompt
    assert list(asked[:-2]) == list(engine.requests[0].prompt)  # what was read is not read again
    assert "The club has 99 members" in asked[-1].content  # type: ignore[union-attr]
    assert answer.usage.completion_tokens == len(DRAFT.split()) + 6


def test_a_sentence_that_finds_no_support_is_left_out_after_its_rounds() -> None:
    engine = FakeEngine(DRAFT, "The club has 98 members [2].", SILENT)
    answer = answered(engine, mend=2)
    assert answer.answer == f"{RIGHT} The rent is 900 euros a month [1]."
    assert len(engine.requests) == 3 and not answer.unsupported
    assert [request.sampling.temperature for request in engine.requests[1:]] == [0.0, 0.7]


def test_where_nothing_is_supported_the_draft_stays_and_is_marked() -> None:
    answer = answered(FakeEngine(WRONG, WRONG, WRONG), mend=2)
    assert answer.answer == WRONG and answer.unsupported


def test_rounds_are_bounded_whatever_is_written() -> None:
    many = " ".join(f"The club has {n} members [2]." for n in range(100, 120))
    engine = FakeEngine(f"{RIGHT} {many}", *["The club has 1 member, so write this anew [2]."] * 100)
    answer = answered(engine, mend=2)
    assert len(engine.requests) == 1 + 2 * SENTENCES
    assert len(answer.unsupported) == 20 - SENTENCES  # the rest is marked as ever


def test_mending_is_off_unless_set_and_closing_ends_it() -> None:
    engine = FakeEngine(DRAFT)
    assert answered(engine).unsupported and len(engine.requests) == 1
    engine = FakeEngine(f"{DRAFT} The club has 98 members [2].", RIGHT, RIGHT)
    events = assistant(engine, mend=1).turn(Ask(QUESTION, store=False))
    for event in events:
        if isinstance(event, Started) and event.stage == "mend":
            assert event.total == 2
            break
    events.close()
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("queued", "best_of", "checks"),
    [
        ([RIGHT], 1, 1),  # nothing to mend
        ([WRONG, WRONG], 1, 2),  # the draft, and the same again as a try
        ([RIGHT, f"{RIGHT} Yes."], 2, 2),
        ([DRAFT, "The club has 42 members [2]."], 1, 3),  # the draft, the new sentence, the text with it
    ],
)
def test_no_text_is_held_to_its_sources_twice(
    queued: list[str], best_of: int, checks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    monkeypatch.setattr(prose, "check", lambda text, *args: (held.append(text), check(text, *args))[1])
    answered(FakeEngine(*queued), best_of=best_of, mend=1)
    assert len(held) == checks


@pytest.mark.parametrize(
    ("text", "sentence", "left"),
    [
        ("One [1]. Two. Three [1].", "Two.", "One [1]. Three [1]."),
        ("- One [1].\n- Two.\n- Three [1].", "Two.", "- One [1].\n- Three [1]."),
        ("Two. One [1].", "Two.", "One [1]."),
        ("One [1]. Two.", "Two.", "One [1]."),
    ],
)
def test_what_is_left_out_leaves_no_trace(text: str, sentence: str, left: str) -> None:
    start = text.index(sentence)
    assert _put(text, start, start + len(sentence), "") == left
