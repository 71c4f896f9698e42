"""Sentences that speak of another one of the things that a question names."""

import pytest

from app.answer_types import wanted
from app.contrasts import contradicts
from app.sentences import sentences
from app.spans import choose
from app.units import Text, Unit
from tests.app.fakes_engine import embed


def apart(question: str, text: str, heading: str = "") -> bool:
    """Whether the last sentence of `text` speaks of something else."""
    return contradicts(question, Unit(0, sentences(text)[-1], {}, 0.0), [Text(text, heading)], wanted(question))


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How much did the south pier cost?", "The north pier cost 4,150 pounds."),
        ("How much did the south pier cost?", "The northern pier cost 4,150 pounds."),
        ("How much did the south pier cost?", "The north pier is of 1790. It cost 4,150 pounds."),
        (
            "How much did the south pier cost?",
            "The north pier is of 1790. The stone is old. The pier cost 4,150 pounds.",
        ),
        ("How wide is the second lock?", "The 1st lock is 6 metres wide."),
        ("When is the right door locked?", "The left door is locked at 18:00."),
        ("How many places has the lower car park?", "The upper car park has 40 places."),
        ("How many people does room 4 seat?", "Room 3 seats 24 people."),
        ("How many people does room 4 seat?", "Rooms 5 to 8 seat 24 people."),
        ("How much was paid in 2018?", "In 2019 the council paid 12,000 euro."),
        ("How much was paid in 2018?", "In 2019–21 the council paid 12,000 euro."),
        ("How much rain fell in June?", "In March and April 40 mm of rain fell."),
        ("How much rain fell in June?", "In May 40 mm of rain fell."),
        ("When does the museum open on Mondays?", "On Saturdays the museum opens at 10:00."),
        ("When does the museum open on Mondays?", "Tuesday to Friday the museum opens at 10:00."),
        ("What does a tent cost in winter?", "A tent costs 11 euro a night in summer."),
        ("What is Berta's salary?", "Anna's salary is 3,200 euro."),
        ("How much did the south pier cost?", "The north pier cost 900 pounds, against 400 for the south sluice."),
        ("What were the sales in 2024?", "The 2023 sales were 5 million, against 4 million in 2022."),
        ("What were the sales in 2024?", "2023 sales were 5 million."),
    ],
)
def test_what_is_said_of_another_one_is_no_answer(question: str, text: str) -> None:
    assert apart(question, text)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("How much did the south pier cost?", "The south pier cost 4,150 pounds."),
        ("How much did the south pier cost?", "The north pier and the south pier cost 4,150 pounds."),
        ("How much did the south pier cost?", "The north and south piers cost 4,150 pounds."),
        ("How much did the south pier cost?", "The north pier is long. The south pier is short. It cost 900 pounds."),
        ("How much did the south pier cost?", "The north wind broke the pier, which cost 900 pounds."),
        ("How much did the south pier cost?", "The north pier is of 1790.\n\nIt cost 4,150 pounds."),
        ("How many people does room 4 seat?", "Rooms 3, 4 and 7 seat 24 people."),
        ("How many people does room 4 seat?", "Rooms 3 to 5 seat 24 people."),
        ("How much was paid in 2018?", "From 2016 to 2019 the council paid 12,000 euro."),
        ("How much was paid in 2018?", "The council has paid 12,000 euro since 2016."),
        ("How much was paid before 2018?", "In 2016 the council paid 12,000 euro."),
        ("How much was paid in 2018?", "In 2017–19 the council paid 12,000 euro."),
        ("When was the man who reigned in 1790 born?", "He was born in 1745."),
        ("When does the museum open on Wednesdays?", "Tuesday to Friday the museum opens at 10:00."),
        ("When does the museum open on Mondays?", "Saturday to Monday the museum opens at 10:00."),
        ("When does the museum open on Mondays?", "The museum opens daily at 10:00, on Sundays at 11:00."),
        ("May I come in June?", "You may come."),
        ("What is Berta's salary?", "Berta's salary is 3,200 euro, as Anna's salary is."),
        ("What is Obama's salary?", "The president's salary is high."),
        ("What's the wifi password?", "Here's the wifi password: tulip42."),
        ("How much did the south pier cost?", "The south pier is of 1790. It cost twice as much as the north pier."),
        ("How much did the south pier cost?", "The south pier is old. It cost 900 pounds, as did the north pier."),
        ("What were the sales in 2024?", "Compared with 2023, sales rose to 5 million."),
        ("What were the sales in 2024?", "Sales were 5 million, against 4 million in 2023."),
        ("How many came in 2020?", "In the 2019/20 season 300 came."),
        ("How much is the rent in 2024?", "The rent is 1500 euros."),
        ("How many members did it have in 2024?", "The club had 1850 members."),
        ("Can I return goods within 14 days?", "Goods can be returned within 30 days."),
    ],
)
def test_what_may_be_said_of_the_same_one_stays(question: str, text: str) -> None:
    assert not apart(question, text)


def test_the_heading_above_tells_which_one_is_meant() -> None:
    assert apart("How much did the south pier cost?", "It cost 4,150 pounds.", "The north pier")
    assert not apart("How much did the south pier cost?", "It cost 4,150 pounds.", "The south pier")


def test_the_other_one_is_not_chosen() -> None:
    text = "The north pier cost 4,150 pounds."
    assert (right := choose("How much did the north pier cost?", [Text(text)], embed)) is not None
    assert (wrong := choose("How much did the south pier cost?", [Text(text)], embed)) is not None
    assert right.confidence > 0.5 and wrong.confidence == 0
    both = [Text(text), Text("The south pier cost 900 pounds.")]
    assert (right := choose("How much did the south pier cost?", both, embed)) is not None and right.unit.text == 1
