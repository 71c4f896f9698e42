"""Which of several sums in a sentence is answered."""

import pytest

from app.amounts import amount_named
from app.answer_types import Span


@pytest.mark.parametrize(
    ("text", "question", "span", "amount"),
    [
        ("The limit is €140 a night, and €190 in London and Zurich.", "What is the limit in Zurich?", "€140", "€190"),
        (
            "The limit is €140 a night, and €190 in London and Zurich.",
            "What is the limit in Zurich?",
            "€140 a night",
            "€190",
        ),
        ("The limit is €140 in Bern, and €190 in London.", "What is the limit in Bern?", "€190", "€140"),
        ("Zurich pays €140 a night, and €190 at weekends.", "What does Zurich pay at weekends?", "€190", "€190"),
        ("The limit is €140 a night, and €190 in London.", "What is the limit in Oslo?", "€140", "€140"),
        ("The limit is €140 a night, and €190 in London.", "Who pays in London?", "The limit", "The limit"),
    ],
)
def test_the_amount_before_the_name_goes_with_it(text: str, question: str, span: str, amount: str) -> None:
    at = text.index(span)
    found = amount_named(question, text, (0, len(text)), Span(at, at + len(span), "money"))
    assert text[found.start : found.end] == amount
