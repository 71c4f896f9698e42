"""One turn from question to stored answer, on fakes: the order of events, both ways to answer, cancelling, memory."""

import json
from dataclasses import replace
from typing import Any

import pytest

from app.answer import Ask, Begun, Completed, Found, Packed, Started, Text
from app.assistant import Assistant
from app.batch_rows import Row, result
from app.places import citation_line, without_citation_lines
from app.settings_assistant import AssistantSettings
from model.errors import UnsupportedConstraint
from retrieval.errors import BadFilter
from tests.app.fakes_engine import FakeEngine, FakeLibrary, FakeMemory

RULES = (
    "Harbour rules\n\nThe harbour office opens at 08:00 and closes at 18:00. The fuel dock does not accept cash.\n\n"
    "The Pelican lies in berth 14 and pays 120 euros a month. The Heron lies in berth 15 and pays 90 euros a month."
)
ROPES = "The Museum of Ropes was founded in 1978 by Piet Mulder.\n\nAdmission costs 7 euros."


def assistant(engine: FakeEngine, memory: FakeMemory | None = None, **settings: Any) -> tuple[Assistant, FakeLibrary]:
    library = FakeLibrary(rules=RULES, ropes=ROPES)
    return Assistant(lambda: engine, library, memory, AssistantSettings(**settings)), library  # type: ignore[arg-type]


def chooser() -> FakeEngine:
    return FakeEngine(*["1978"] * 9, capabilities=("span", "score"))


def test_the_events_of_a_turn_come_in_the_main_paths_order() -> None:
    one, _ = assistant(FakeEngine("The fuel dock does not accept cash [1]."), FakeMemory())
    events = list(one.turn(Ask("Can I pay cash at the fuel dock?")))
    assert events[0] == Begun(1, 1), "a door knows the turn before it has an answer"
    stages = [event.stage for event in events if isinstance(event, Started)]
    assert stages == ["load", "recall", "retrieve", "pack", "answer", "read", "check", "remember"]
    assert [type(e) for e in events if isinstance(e, Found | Packed | Completed)] == [Found, Packed, Completed]
    answer = events[-1].answer  # type: ignore[union-attr]
    assert "".join(e.text for e in events if isinstance(e, Text)).strip() == answer.answer
    assert answer.grounded and not answer.unsupported
    assert RULES[answer.citations[0].start : answer.citations[0].end] == answer.citations[0].quote
    assert json.loads(json.dumps(answer.to_json()))["schema"] == 1


def test_a_request_that_was_answered_is_given_its_answer_again() -> None:
    memory = FakeMemory("I never carry cash at the dock")
    engine = FakeEngine("The fuel dock does not accept cash [1].", "You may not [1].")
    one, _ = assistant(engine, memory)
    ask = Ask("Can I pay cash at the fuel dock?", request="run:0")
    first = one.ask(ask)
    assert one.ask(ask) == first and first.citations and first.memories
    assert (len(engine.requests), len(memory.stored), len(memory.observed)) == (1, 1, 1)
    cut_off = one.turn(replace(ask, request="run:1"))
    assert isinstance(next(cut_off), Begun)
    cut_off.close()
    assert one.ask(replace(ask, request="run:1")).turn == 2 and len(memory.stored) == 2


def test_a_citation_says_where_its_file_is_not_as_it_was_read() -> None:
    engine = FakeEngine(*["The fuel dock does not accept cash [1]."] * 3)
    memory = FakeMemory()
    one, library = assistant(engine, memory)
    ask = Ask("Can I pay cash at the fuel dock?", attachments=(("note.md", "Ferries take no cash."),))
    (fresh,) = one.ask(ask).to_json()["citations"]
    assert "on_disk" not in fresh
    library.drift = dict.fromkeys(("d1", "d2", "a1"), "gone")
    answer = one.ask(ask)
    assert list(answer.to_json()["citations"]) == [fresh | {"on_disk": "gone"}]
    library.drift["d1"] = "changed"
    line = citation_line(one.ask(ask).citations[0])
    assert "✓ verified  rules.md:3 (changed on disk since it was read; `loci ingest` reads it again): “" in line
    assert without_citation_lines(f"No [1]\n\n{line}") == "No [1]"
    row = result(Row(0, 1, {"question": ask.question}), answer, None, timings=False)
    assert "on_disk" not in row["citations"][0], "two runs write the same, whatever became of files between them"


def test_a_question_with_a_date_that_is_none_is_refused_and_not_stored() -> None:
    memory = FakeMemory()
    one, library = assistant(FakeEngine(), memory)
    with pytest.raises(BadFilter, match="after:2026-02-31 names no date"):
        one.ask(Ask("What was decided after:2026-02-31?"))
    assert memory.stored == {} and library.queries == []


def test_an_embedded_answer_is_a_sentence_or_span_with_a_checked_citation() -> None:
    one, _ = assistant(chooser(), abstain_below=0.0)
    answer = one.ask(Ask("When was the Museum of Ropes founded?", store=False))
    assert answer.answer == "1978 [1]"
    assert answer.citations[0].quote == "The Museum of Ropes was founded in 1978 by Piet Mulder."
    assert answer.answer[answer.citations[0].answer_start : answer.citations[0].answer_end] == "[1]"
    assert answer.grounded and answer.confidence is not None and 0 <= answer.confidence <= 1


def test_nothing_that_supports_an_answer_is_an_honest_refusal() -> None:
    one, _ = assistant(chooser())
    answer = one.ask(Ask("What is the boiling point of tungsten?", store=False))
    assert answer.abstained and not answer.grounded and not answer.citations
    assert answer.reason and answer.answer == "The documents do not say."


def test_a_task_is_beyond_the_embedded_model_and_an_ungrounded_answer_of_a_larger_one() -> None:
    small, _ = assistant(chooser())
    answer = small.ask(Ask("write a bash loop", store=False))
    assert answer.abstained and "--model" in (answer.reason or "")
    large, library = assistant(FakeEngine("for i in 1 2; do echo $i; done"))
    answer = large.ask(Ask("write a bash loop", store=False))
    assert not answer.abstained and not answer.grounded and answer.reason and not library.queries


def test_the_catalogue_answers_without_a_model() -> None:
    def never() -> Any:
        raise AssertionError("the model was loaded")

    library = FakeLibrary(rules=RULES, ropes=ROPES)
    one = Assistant(never, library, None, AssistantSettings())  # type: ignore[arg-type]
    assert one.ask(Ask("How many documents do I have?", store=False)).answer == "There are 2 documents in “main”."
    assert "ropes (ropes.md)" in one.ask(Ask("Which files do you have?", store=False)).answer


def test_a_statement_is_remembered_and_used_in_a_later_question() -> None:
    memory = FakeMemory()
    one, library = assistant(chooser(), memory, abstain_below=0.0)
    told = list(one.turn(Ask("Remember that my boat is called Pelican")))[-1]
    assert isinstance(told, Completed) and told.remembered and not library.queries
    assert told.answer.answer == "I will remember: my boat is called Pelican."
    assert not told.answer.abstained and told.answer.reason is None  # it claims nothing of a source
    answer = one.ask(Ask("How much does my boat pay a month?"))
    assert answer.answer == "120 euros [1]"
    assert [used.cited for used in answer.memories] == [True]
    assert memory.observed[-1]["cited"] == [1]
    assert [one.score for one in memory.observed[-1]["recalled"]] == [one.score for one in answer.memories]


def test_a_question_about_the_user_is_answered_from_memory() -> None:
    memory = FakeMemory("My favourite colour is teal", "I prefer the morning ferry")
    one, _ = assistant(chooser(), memory)
    answer = one.ask(Ask("What is my favourite colour?"))
    assert answer.answer == "Your favourite colour is teal [m1]"
    assert answer.grounded and [m.cited for m in answer.memories if m.id == 1] == [True]
    assert one.ask(Ask("What is my shoe size?")).abstained


def test_what_was_told_of_somebody_else_is_answered_where_it_has_the_words_of_the_question() -> None:
    memory = FakeMemory(
        "Tamsin Roe's file number is QH-2291.", "Piet the sailor founded the Museum of Ropes in Arendal."
    )
    one, _ = assistant(chooser(), memory, abstain_below=0.0)
    answer = one.ask(Ask("What is Tamsin Roe's file number?"))
    assert answer.answer == "Tamsin Roe's file number is QH-2291. [m1]"
    assert answer.grounded and [m.cited for m in answer.memories if m.id == 1] == [True]
    assert "1978 [1]" in one.ask(Ask("In which year was the Museum of Ropes founded?")).answer
    wary, _ = assistant(chooser(), memory, abstain_below=1.0)  # no document answers
    assert "[m2]" in wary.ask(Ask("Did Piet the tailor found the Museum of Ropes in Arendal?")).answer
    assert wary.ask(Ask("What is the ferry's phone number?")).abstained


def test_a_thing_of_the_users_is_measured_by_memory_and_priced_by_documents() -> None:
    memory = FakeMemory("my boat is called Pelican and is 9.4 metres long")
    one, _ = assistant(chooser(), memory, abstain_below=0.0)
    answer = one.ask(Ask("How long is my boat?"))
    assert answer.answer == "9.4 metres [m1]" and [m.cited for m in answer.memories] == [True]
    assert "Pelican" in one.ask(Ask("What is my boat called?")).answer
    priced = one.ask(Ask("How much does my boat pay a month?"))
    assert priced.answer == "120 euros [1]" and priced.citations


def test_an_embedded_answer_counts_what_was_read_and_scored() -> None:
    engine = chooser()
    one, _ = assistant(engine, abstain_below=0.0)
    answer = one.ask(Ask("When was the Museum of Ropes founded?", store=False))
    prompts = {prompt for prompt, _ in engine.scored}
    assert len(engine.scored) == 2 and len(prompts) == 1
    assert answer.usage.prompt_tokens == engine.count_tokens(next(iter(prompts)))
    said = 1  # the model's own words, "1978"
    assert answer.usage.completion_tokens == said + sum(max(len(c) // 4, 1) for c in engine.scored[1][1])
    assert answer.timing_ms.prefill > 0 and answer.timing_ms.decode > 0


def test_a_follow_up_is_asked_with_its_topic() -> None:
    memory = FakeMemory()
    one, library = assistant(chooser(), memory)
    first = one.ask(Ask("When was the Museum of Ropes founded?"))
    second = one.ask(Ask("Who founded it?", session=first.session))
    assert second.question == "Who founded it?"
    assert second.standalone_question == "Who founded Museum of Ropes?"
    assert library.queries[-1] == second.standalone_question
    assert one.ask(Ask("hello", session=first.session)).standalone_question == "hello"


def test_a_branch_knows_nothing_of_the_turns_that_it_leaves() -> None:
    one, _ = assistant(chooser(), FakeMemory())
    first = one.ask(Ask("When was the Museum of Ropes founded?"))
    one.ask(Ask("When did the ferry to Arendal sink?", session=first.session))
    branch = one.ask(Ask("Who founded it?", session=first.session, after=first.turn))
    assert branch.standalone_question == "Who founded Museum of Ropes?"
    assert one.ask(Ask("Who founded it?", session=first.session, after=0)).standalone_question == "Who founded it?"


def test_a_door_that_keeps_the_conversation_itself_tells_what_came_before() -> None:
    told = (("When was the Museum of Ropes founded?", "1978 [1]"),)
    small, library = assistant(chooser())  # with neither memory nor session
    assert small.ask(Ask("Who founded it?", history=told, store=False)).standalone_question == (
        "Who founded Museum of Ropes?"
    )
    assert library.queries[-1] == "Who founded Museum of Ropes?"
    engine = FakeEngine("Piet Mulder founded it [1].", "Piet Mulder founded it [1].")
    large, _ = assistant(engine)
    large.ask(Ask("Who founded it?", history=told, store=False))
    before, answer = engine.requests[-1].prompt[1:3]
    assert before.content.endswith(told[0][0]) and answer.content == told[0][1]  # type: ignore[union-attr]


def test_a_cancelled_turn_is_kept_as_incomplete() -> None:
    memory = FakeMemory()
    one, _ = assistant(FakeEngine("The fuel dock does not accept cash [1]."), memory)
    turn = one.turn(Ask("Can I pay cash?"))
    for event in turn:
        if isinstance(event, Text):
            break
    turn.close()
    kept = memory.stored[1]
    assert not kept.complete and kept.answer == "The "
    assert not memory.observed


def test_incognito_stores_and_recalls_nothing() -> None:
    memory = FakeMemory("My boat is called Pelican")
    one, _ = assistant(chooser(), memory)
    answer = one.ask(Ask("What is my boat called?", use_memory=False, store=False))
    assert not answer.memories and not memory.stored and not memory.observed


def test_attachments_are_searched_and_cited_with_offsets_of_their_own() -> None:
    one, _ = assistant(chooser(), abstain_below=0.0)
    note = "Minutes.\n\nThe treasurer is Maria Lund."
    answer = one.ask(Ask("Who is the treasurer?", attachments=(("minutes.txt", note),), use_library=False, store=False))
    cited = answer.citations[0]
    assert (cited.path, cited.line, note[cited.start : cited.end]) == ("minutes.txt", 3, cited.quote)
    assert answer.answer == "Maria Lund [1]"


def test_a_schema_is_a_constraint_where_the_engine_has_it_and_an_error_where_not() -> None:
    engine = FakeEngine('{"who": "Piet Mulder founded the museum", "quote": "Admission costs 7 euros"}')
    one, _ = assistant(engine)
    answer = one.ask(Ask("Who founded the Museum of Ropes?", schema='{"type": "object"}', store=False))
    assert engine.requests[0].constraint is not None
    assert [c.quote for c in answer.citations] == ["Admission costs 7 euros"]
    for bare in (FakeEngine("{}", capabilities=("chat",)), chooser()):
        with pytest.raises(UnsupportedConstraint):
            assistant(bare)[0].ask(Ask("Who founded it?", schema="{}", store=False))


def test_the_reading_rate_is_learned_and_bounds_the_next_prompt() -> None:
    slow = FakeEngine("Yes [1].", "Yes [1].", rate=10.0)
    one, _ = assistant(slow, prefill_seconds=20.0)
    first = one.ask(Ask("When does the harbour office open?", store=False))
    assert not first.context.left_out
    second = one.ask(Ask("When does the harbour office open?", store=False))
    assert any("longer than 20 s" in left.why for left in second.context.left_out)


def test_memories_that_another_embedder_embedded_are_named_where_they_were_asked_for() -> None:
    memory = FakeMemory("My boat is called Tern.")
    memory.foreign = 2
    for engine in (FakeEngine(*["Yes."] * 2), FakeEngine(capabilities=())):
        one, _ = assistant(engine, memory)
        [left] = one.ask(Ask("When does the harbour office open?")).context.left_out
        assert left.what == "the meaning of 2 memories" and "loci memory reindex" in left.why
        alone = one.ask(Ask("When does the harbour office open?", use_memory=False))
        assert alone.context.left_out == ()


def test_several_statements_are_acknowledged_as_one_is() -> None:
    engine = chooser()
    one, _ = assistant(engine, FakeMemory())
    answer = one.ask(Ask("My dentist is Dr. Kim. I saw her on Monday."))
    assert answer.answer == "I will remember: My dentist is Dr. Kim; I saw her on Monday." and not answer.abstained
    assert engine.requests == []


def test_a_statement_that_is_only_a_secret_is_not_said_to_be_remembered() -> None:
    memory = FakeMemory()
    one, _ = assistant(chooser(), memory)
    answer = one.ask(Ask("Remember that my PIN is 4921"))
    assert answer.answer == "Secrets are not stored, and there was nothing else to remember." and not memory.memories


def test_an_invented_answer_is_flagged_and_a_models_refusal_is_one() -> None:
    one, _ = assistant(FakeEngine("The dock takes gold from Norway [1].", "The documents do not say."))
    invented = one.ask(Ask("What does the dock take?", store=False))
    assert not invented.grounded and invented.unsupported and invented.citations[0].status == "not_found"
    assert one.ask(Ask("What does the dock take?", store=False)).abstained


def test_a_long_chat_brings_back_the_turn_that_a_question_needs_and_says_what_left() -> None:
    engine, memory = FakeEngine(*["Yes."] * 9), FakeMemory()
    one, _ = assistant(engine, memory, history_turns=3)
    for question in ("Write a name for my boat: Tern", *(f"Write the number {n}" for n in range(7))):
        one.ask(Ask(question, session=1, use_library=False))
    answer = one.ask(Ask("Write what my boat is called", session=1, use_library=False))
    asked = [message.content for message in engine.requests[-1].prompt if message.role == "user"]  # type: ignore[union-attr]
    assert asked[:-1] == ["Write a name for my boat: Tern", "Write the number 5", "Write the number 6"]
    assert [left.what for left in answer.context.left_out] == ["turns 2 to 6 of this session"]
