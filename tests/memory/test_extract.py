"""What the rules find in a user's message, and what they leave alone."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.extract import episode, extract

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("message", "text", "kind", "how"),
    [
        ("Remember that my office is in B12. Where is the quay?", "my office is in B12", "fact", "told"),
        ("Please note: the wifi code is 1234.", "the wifi code is 1234", "fact", "told"),
        ("Remember that: the wifi code is 1234.", "the wifi code is 1234", "fact", "told"),
        ("Can you remember that I'm vegan?", "I'm vegan", "fact", "told"),
        ("Recuerda que mi oficina está en B12", "mi oficina está en B12", "fact", "told"),
        ("Bitte merke dir, dass mein Büro in B12 ist.", "mein Büro in B12 ist", "fact", "told"),
        ("Souviens-toi que mon bureau est au B12.", "mon bureau est au B12", "fact", "told"),
        ("I prefer short answers.", "I prefer short answers", "preference", "extracted"),
        ("I never eat fish!", "I never eat fish", "preference", "extracted"),
        ("My sister's name is Anna", "My sister's name is Anna", "fact", "extracted"),
        ("Hello. I live in Lyon. What is open?", "I live in Lyon", "fact", "extracted"),
        ("Call me Sam", "Call me Sam", "instruction", "extracted"),
        ("From now on answer in Spanish.", "From now on answer in Spanish", "instruction", "extracted"),
    ],
)
def test_a_statement_is_found_with_its_kind_and_exact_offsets(message: str, text: str, kind: str, how: str) -> None:
    [found] = extract(message, NOW)
    assert (found.text, found.kind, found.how, found.action) == (text, kind, how, "remember")
    assert message[found.start : found.end] == text


@pytest.mark.parametrize(
    "message",
    [
        "What is my name?",
        "Do you remember that I live in Rome?",
        "Remember that time we went to Rome?",
        "I have a quick question",
        "I'd like to see the report.",
        "Never mind.",
        "> my office is in C3\n> I live in Rome",
        "```\nmy office is in C3\n```",
        'The letter says "my office is in the tall tower at the quay".',
        "Can you write a bash loop?",
        "my office is in " + "very " * 100 + "far",
        "lorem ipsum. " * 400 + "I live in Rome.",
        "",
    ],
)
def test_questions_requests_quotations_and_pasted_text_are_left_alone(message: str) -> None:
    assert extract(message, NOW) == []


@pytest.mark.parametrize(
    ("message", "day"),
    [
        ("My flight is on 3 March 2027.", "2027-03-03"),
        ("I have a dentist appointment on Friday", "2026-11-27"),
        ("I'm flying to Oslo tomorrow", "2026-11-24"),
        ("Remember my birthday is May 4th", "2027-05-04"),
        ("We met Anna two weeks ago", "2026-11-09"),
    ],
)
def test_a_dated_happening_is_an_event_on_the_day_it_means(message: str, day: str) -> None:
    [found] = extract(message, NOW)
    assert found.kind == "event"
    assert found.event_date is not None
    assert found.event_date.isoformat() == day


def test_forget_is_recognised_and_stores_nothing() -> None:
    [found] = extract("Forget that I live in Rome.", NOW)
    assert (found.action, found.text) == ("forget", "I live in Rome")


def test_an_episode_is_what_the_user_tells_beyond_the_facts() -> None:
    message = "Call me Sam. I walked along the shore with Anna. Can you plan a trip?"
    found = episode(message, extract(message, NOW))
    assert found is not None
    assert message[slice(*found)] == "I walked along the shore with Anna."
    assert episode("What is the tide? Show me the table.", []) is None


@given(st.text(alphabet=st.sampled_from("I my is in a.!?\n\"'>`“” Rome like 12:,é漢"), max_size=200))
def test_offsets_hold_for_any_text(message: str) -> None:
    for found in extract(message, NOW):
        assert message[found.start : found.end] == found.text
        assert found.text == found.text.strip()
