"""Questions for what a relative clause describes: the usual form where the verb is known, else one that is always
right."""

import pytest

from app.relative import question_for


@pytest.mark.parametrize(
    ("link", "clause", "asked"),
    [
        ("that", "built the pier", "Which thing built the pier?"),
        ("which", "is called Heron", "Which thing is called Heron?"),
        ("that", "has a crane", "Which thing has a crane?"),
        ("that", "owns Tide Mill", "Which thing owns Tide Mill?"),
        ("that", "Ana Ruiz works in", "Which thing does Ana Ruiz work in?"),
        ("that", "she teaches", "Which thing does she teach?"),
        ("that", "#1 carries", "Which thing does #1 carry?"),
        ("that", "Bo leases from the club", "Which thing does Bo lease from the club?"),
        ("that", "Ana has joined", "Which thing has Ana joined?"),
        ("in which", "Mira sails", "In which thing does Mira sail?"),
        ("for which", "Mira must pay", "For which thing must Mira pay?"),
    ],
)
def test_a_clause_whose_verb_is_known_becomes_a_question(link: str, clause: str, asked: str) -> None:
    assert question_for("Which thing", link, clause) == asked


@pytest.mark.parametrize(
    ("link", "clause"),
    [
        ("that", "the mill stands at"),
        ("that", "tourists visit most"),
        ("that", "Ana worked in"),
        ("that", "Ana always goes to"),
        ("that", "Ana has"),
        ("that", "Bo owns and lives in"),
        ("that", "Heron Club boats compete in"),
        ("that", "Ana's parents work in"),
        ("to which", "he moved"),
        ("where", "Mira lives"),
    ],
)
def test_of_any_other_clause_the_thing_is_asked_for_and_the_clause_stays_as_it_is(link: str, clause: str) -> None:
    assert question_for("Which thing", link, clause) == f"Which thing is it {link} {clause}?"
