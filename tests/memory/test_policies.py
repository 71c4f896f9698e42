"""The pure rules: duplicates, slots, dates, ranking, corrections. Whole cases are pinned."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from memory.clock import moment, stamp, utc
from memory.current import asks_for_present, latest_first, tells_change
from memory.dates import find_date, find_span
from memory.duplicates import adds_nothing, content_hash
from memory.feedback import corrected
from memory.ranking import WEIGHTS, Scored, is_relevant, rank, valid_first
from memory.settings import MemorySettings
from memory.slots import changes, find_slot
from memory.types import Memory, Recalled, Source

SETTINGS = MemorySettings()


def a_memory(key: int, text: str = "", **other: object) -> Memory:
    plain = Memory(
        id=key,
        text=text or f"memory {key}",
        kind="fact",
        scope="main",
        state="active",
        pinned=False,
        retention=None,
        created=f"2026-01-01T00:00:{key:02d}.000Z",
        last_used=None,
        uses=0,
        valid_from="2026-01-01T00:00:00.000Z",
        valid_to=None,
        superseded_by=None,
        source=Source("command"),
    )
    return replace(plain, **other)  # type: ignore[arg-type]


def test_a_naive_time_is_refused_and_others_become_utc() -> None:
    with pytest.raises(ValueError, match="time zone"):
        utc(datetime(2026, 1, 1))
    assert stamp(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000Z"
    assert moment("2026-01-01T00:00:00.000Z") == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("My office is in B12", "my office is in B12."),
        ("I really like coffee", "I like coffee"),
        ("I'm a nurse", "I am a nurse"),
        ("My sister lives in Rome with Anna", "Actually my sister lives in Rome with Anna now"),
    ],
)
def test_the_same_said_again_adds_nothing(new: str, old: str) -> None:
    assert adds_nothing(new, old, 0.95, 0.9)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("My office is in B12", "My office is in B13"),
        ("The rent is 900 euros", "The rent is 950 euros"),
        ("I like fish", "I do not like fish"),
        ("I don't like fish", "I like fish"),
        ("Anna manages Bob", "Bob manages Anna"),
        ("My exam is on 3 May", "My exam is on 4 May"),
        ("I like red wine", "I like white wine"),
        ("I live in Rome with Anna", "I live in Rome"),
        ("The rent is 900", "The rent is 900 in 2027"),
        ("I worked at IBM", "I work at IBM"),
    ],
)
def test_what_differs_in_a_value_is_never_merged_however_near(new: str, old: str) -> None:
    assert not adds_nothing(new, old, 0.999, 0.9)


def test_far_vectors_are_no_duplicates() -> None:
    assert not adds_nothing("I like coffee", "I like coffee", 0.5, 0.9)


def test_content_hash_ignores_case_space_and_the_full_stop() -> None:
    assert content_hash("My  office is in B12.") == content_hash("my office is in b12")
    assert content_hash("B12") != content_hash("B13")


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("My office is now in C3", "my office is in B12"),
        ("My office moved to C3", "My office is in B12"),
        ("I moved to Rome", "I live in Lyon"),
        ("I've moved to Rome", "I live in Lyon"),
        ("I work for IBM", "I'm working at Apple now"),
        ("Call me Sam", "My name is Samuel"),
        ("I hate coffee", "I like coffee"),
        ("My favourite color is green", "My favorite color is blue"),
        ("The project deadline is 4 May", "The project deadline is 3 May"),
        ("I no longer live in Paris", "I live in Paris"),
        ("I prefer long answers", "I prefer short answers"),
        ("Anna lives in Rome", "Anna lives in Oslo"),
    ],
)
def test_a_new_value_of_one_slot_changes_the_old(new: str, old: str) -> None:
    fresh, known = find_slot(new), find_slot(old)
    assert fresh is not None
    assert known is not None
    assert changes(fresh, known)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("My friend is Bob", "My friend is Anna"),
        ("My brother is tall", "My brother is a doctor"),
        ("I like tea", "I like coffee"),
        ("My office is in B12, second floor", "My office is in B12"),
        ("Anna lives in Rome", "Bob lives in Oslo"),
        ("I no longer live in Paris", "I live in Rome"),
        ("The wedding is on 4 May", "The wedding is in Rome"),
        ("It is in Rome", "It is in Oslo"),
    ],
)
def test_statements_that_can_both_hold_change_nothing(new: str, old: str) -> None:
    fresh, known = find_slot(new), find_slot(old)
    assert fresh is None or known is None or not changes(fresh, known)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("on 2027-03-01", date(2027, 3, 1)),
        ("the 3rd of March", date(2027, 3, 3)),
        ("December 24", date(2026, 12, 24)),
        ("yesterday", date(2026, 11, 22)),
        ("in three days", date(2026, 11, 26)),
        ("a week ago", date(2026, 11, 16)),
        ("next Monday", date(2026, 11, 30)),
        ("last Friday", date(2026, 11, 20)),
        ("31 June 2027", None),
        ("I may go", None),
    ],
)
def test_dates_are_resolved_against_the_day_they_were_written(text: str, day: date | None) -> None:
    found = find_date(text, date(2026, 11, 23))
    assert (found.day if found else None) == day


def scored(memory: Memory, dense: float | None, coverage: float = 0.0, **measured: float) -> Scored:
    return Scored(memory, dense, coverage or None, coverage, dict.fromkeys(WEIGHTS, 0.0) | measured)


def test_a_score_is_the_sum_of_the_terms_that_explain_it() -> None:
    [found] = rank([scored(a_memory(1), 0.6, meaning=0.6, words=0.4)], SETTINGS, WEIGHTS)
    assert found.parts == {"meaning": pytest.approx(0.6), "words": pytest.approx(0.2)}
    assert found.score == pytest.approx(sum(found.parts.values()))
    [past] = rank([scored(a_memory(1, valid_to="2026-01-02"), 0.6, meaning=0.6, words=0.4)], SETTINGS, WEIGHTS)
    assert past.score == pytest.approx(found.score / 2)


def test_an_unrelated_memory_is_not_relevant_and_an_instruction_is_sooner() -> None:
    fact, order = a_memory(1), a_memory(2, kind="instruction")
    assert not is_relevant(scored(fact, 0.2), SETTINGS)
    assert is_relevant(scored(order, 0.2), SETTINGS)
    assert is_relevant(scored(fact, 0.1, 0.7), SETTINGS)
    assert not is_relevant(scored(fact, 0.1, 0.3), SETTINGS)
    assert not is_relevant(scored(fact, None), SETTINGS)


def test_equal_scores_are_ordered_by_the_later_memory() -> None:
    found = rank([scored(a_memory(key), 0.5) for key in (1, 3, 2)], SETTINGS, WEIGHTS)
    assert [item.memory.id for item in found] == [3, 2, 1]


@pytest.mark.parametrize(
    ("question", "present"),
    [
        ("How many books am I aiming to read?", True),
        ("What is my budget?", True),
        ("When is the webinar?", True),
        ("What did I pay for the boat?", False),
        ("How much was the rent?", False),
        ("What was my budget originally?", False),
        ("Tell me about Rome", False),
    ],
)
def test_questions_for_what_holds_now_are_told_from_others(question: str, present: bool) -> None:
    assert asks_for_present(question) is present


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("I've extended my reading goal to 12 books", True),
        ("It was rescheduled to March 22 at 4:30 PM", True),
        ("The branch has now reached 165 commits", True),
        ("My increased budget of $650", True),
        ("I read 12 books", False),
        ("The budget increased", False),
    ],
)
def test_a_change_of_a_value_is_told_from_a_value(text: str, change: bool) -> None:
    assert tells_change(text) is change


def rivals(early: str, late: str, scores: tuple[float, float] = (1.0, 0.5)) -> list[int]:
    memories = [a_memory(1, early), a_memory(2, late, valid_from="2026-01-02T00:00:00.000Z")]
    found = [Recalled(memory, score, None, None) for memory, score in zip(memories, scores, strict=True)]
    return [item.memory.id for item in latest_first(found, lambda _: 1.0, lambda _one, _other: 0.5)]


def test_a_later_statement_with_a_value_goes_before_the_earlier_one_with_which_it_competes() -> None:
    assert rivals("My goal is 10 books", "I extended my goal to 12 books") == [2, 1]
    assert rivals("My goal is 10 books", "My goal is 12 books") == [1, 2]  # far behind, and tells of no change
    assert rivals("My goal is 10 books", "My goal is 12 books", (1.0, 0.9)) == [2, 1]
    assert rivals("My goal is 10 books", "I thought about my goal", (1.0, 0.9)) == [1, 2]
    apart = [Recalled(a_memory(key, "12", valid_from=f"2026-01-0{key}"), 1.0, None, None) for key in (1, 2)]
    assert latest_first(apart, lambda _: 1.0, lambda _one, _other: 0.1) == apart


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("What happened in May 2025?", (date(2025, 5, 1), date(2025, 5, 31))),
        ("What happened in December?", (date(2025, 12, 1), date(2025, 12, 31))),
        ("What did I do last week?", (date(2026, 11, 16), date(2026, 11, 22))),
        ("What is due this month?", (date(2026, 11, 1), date(2026, 11, 30))),
        ("Where was I two years ago?", (date(2024, 1, 1), date(2024, 12, 31))),
        ("Where was I in 2023?", (date(2023, 1, 1), date(2023, 12, 31))),
        ("three months ago", (date(2026, 8, 1), date(2026, 8, 31))),
        ("What did I say yesterday?", (date(2026, 11, 21), date(2026, 11, 23))),
        ("May I ask something?", None),
    ],
)
def test_a_time_that_a_question_names_is_a_span_of_days(text: str, span: tuple[date, date] | None) -> None:
    assert find_span(text, date(2026, 11, 23)) == span


def test_the_valid_statement_comes_before_those_it_superseded() -> None:
    chain = [a_memory(1, superseded_by=2), a_memory(9), a_memory(2, superseded_by=3), a_memory(3)]
    assert [r.memory.id for r in valid_first([Recalled(m, 1.0, None, None) for m in chain])] == [3, 2, 1, 9]


def test_a_correction_replaces_what_it_is_about_and_nothing_else() -> None:
    office, dog = a_memory(1, "My office is in B12"), a_memory(2, "My dog is called Rex")
    order = a_memory(3, "Always answer in English", kind="instruction")
    near = {1: 0.3, 2: 0.2, 3: 0.9}
    assert corrected([office, dog, order], "My office is in C3", near) == [1]
    assert corrected([office, dog, order], "It was room C3", near | {1: 0.6}) == [1]
    assert corrected([office, dog, order], "The tide turns at noon", near) == []
