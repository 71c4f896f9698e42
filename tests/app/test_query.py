"""What a question is about, and how a follow-up comes to stand alone."""

import pytest

from app.query import Exchange, follows_up, kind_of, standalone, standalone_by, to_second_person, with_memory
from tests.app.fakes_engine import FakeEngine

BERTH = [Exchange("What does a berth at the Old Quay cost in summer?", "€12 per night [1]")]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("When was the breakwater built?", "library"),
        ("Which documents must a skipper carry on board?", "library"),
        ("What is the phone number of the office?", "library"),
        ("How many files may a court request?", "library"),
        ("Who wrote the harbour rules?", "library"),
        ("Is the museum open on Mondays?", "library"),
        ("How many documents do I have?", "catalogue"),
        ("Which files are in my library?", "catalogue"),
        ("list my documents", "catalogue"),
        ("What PDFs do you have?", "catalogue"),
        ("How many documents are there in the collection?", "catalogue"),
        ("write a bash loop", "plain"),
        ("Translate 'good morning' into French", "plain"),
        ("hello!", "plain"),
        ("What is 12 * 7?", "plain"),
        ("Remember that my boat is called Pelican", "statement"),
        ("Remember: the meeting is on Friday.", "statement"),
        ("My dentist is Dr. Kim. I saw her on Monday.", "statement"),
        ("Hi! My sister lives in Rome. She has two cats. They are called Pip and Zed.", "statement"),
        ("I moved to Leeds. My rent is 900 a month. It is due on the 1st.", "statement"),
        ("My boat is called Heron. What does a berth cost", "library"),
        ("My boat is called Heron and lies in berth 15, which is small. What is the fee", "library"),
        ("My boat is called Heron. Tell me what it costs.", "library"),
        ("I live in flat 3. I need the deposit amount for my lease.", "library"),
        ("My lease ends in June. Notice period", "library"),
        ("My car is a Golf. It has this sign: “Do not park in front of the old gate”", "library"),
        ("What is my boat called?", "memory"),
        ("Who am I?", "memory"),
        ("What did I tell you about the ferry?", "memory"),
    ],
)
def test_the_kind_of_a_question_is_recognised(question: str, kind: str) -> None:
    assert kind_of(question) == kind


@pytest.mark.parametrize(
    ("question", "alone"),
    [
        ("And its price?", "Old Quay's price?"),
        ("Who owns it?", "Who owns Old Quay?"),
        ("And in winter?", "What does a berth at the Old Quay cost in winter?"),
        ("When was the lighthouse painted?", "When was the lighthouse painted?"),
        ("Is it possible to rent a bicycle at the museum?", "Is it possible to rent a bicycle at the museum?"),
        ("Which ferry goes to Nis and when does it leave?", "Which ferry goes to Nis and when does it leave?"),
    ],
)
def test_a_follow_up_stands_alone_and_other_questions_stay(question: str, alone: str) -> None:
    assert standalone(question, BERTH) == alone


def test_without_a_conversation_a_question_stays() -> None:
    assert standalone("And its price?", []) == "And its price?"
    assert follows_up("And its price?")


def test_a_models_rewriting_is_taken_only_if_it_asks_the_same() -> None:
    good = "What is the price of the Old Quay?"
    assert standalone_by(FakeEngine(good), "And its price?", BERTH) == good
    for bad in ("It costs 12 euros.", "", "Which planets have rings around them in winter?", "price " * 100 + "?"):
        assert standalone_by(FakeEngine(bad), "And its price?", BERTH) == "Old Quay's price?"


def test_a_question_that_stands_alone_costs_no_model_call() -> None:
    engine = FakeEngine()
    assert standalone_by(engine, "When was the lighthouse painted?", BERTH) == "When was the lighthouse painted?"
    assert not engine.requests


def test_my_boat_becomes_the_remembered_name() -> None:
    known = [(4, "My boat is called Pelican"), (9, "I like tea")]
    assert with_memory("Where is my boat berthed?", known) == ("Where is Pelican berthed?", (4,))
    assert with_memory("Where is the boat berthed?", known) == ("Where is the boat berthed?", ())
    assert with_memory("Where is my bicycle?", known) == ("Where is my bicycle?", ())


def test_a_memory_is_said_back_to_the_user() -> None:
    assert to_second_person("My boat is called Pelican") == "Your boat is called Pelican"
    assert to_second_person("I am allergic to nuts") == "You are allergic to nuts"
