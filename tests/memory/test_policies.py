"""The pure rules: duplicates, slots, dates, ranking, corrections. Whole cases are pinned."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from memory.clock import moment, stamp, utc
from memory.dates import find_date
from memory.duplicates import adds_nothing, content_hash
from memory.feedback import corrected
from memory.ranking import Scored, is_relevant, rank, reciprocal_ranks, valid_first
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


def test_reciprocal_ranks_give_equal_scores_the_same() -> None:
    assert reciprocal_ranks({1: 0.5, 2: 0.9, 3: 0.5, 4: 0.1}) == {2: 1 / 61, 1: 1 / 62, 3: 1 / 62, 4: 1 / 64}


def test_an_unrelated_memory_is_not_relevant_and_an_instruction_is_sooner() -> None:
    fact, order = a_memory(1), a_memory(2, kind="instruction")
    assert not is_relevant(Scored(fact, 0.2, None), SETTINGS)
    assert is_relevant(Scored(order, 0.2, None), SETTINGS)
    assert is_relevant(Scored(fact, 0.1, 2.0, coverage=0.7), SETTINGS)
    assert not is_relevant(Scored(fact, 0.1, 2.0, coverage=0.3), SETTINGS)
    assert not is_relevant(Scored(fact, None, None), SETTINGS)


def test_equal_scores_are_ordered_by_the_later_memory() -> None:
    found = rank([Scored(a_memory(key), 0.5, None) for key in (1, 3, 2)], SETTINGS, 2)
    assert [item.memory.id for item in found] == [3, 2]


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
