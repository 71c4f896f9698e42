"""Rewards: cases by hand, and what a policy might try instead of answering."""

import random

import pytest

from app.evaluation import scores
from model.spanformat import NOT_FOUND, answer_continuation
from model.train.rewards import RewardWeights, f1, judge, read_answer, reward, summary
from model.train.row_files import Row

MILL = Row(
    "When does the mill open?",
    ("The mill was built in 1871. It grinds rye.", "Opening hours: 09:30 to 17:00, closed on Monday."),
    2,
    "09:30",
)
NOWHERE = Row("Who owns the mill?", MILL.passages, 0, "")
WEIGHTS = RewardWeights()


def worth(answer: str, row: Row = MILL) -> float:
    return reward(judge(answer, row), WEIGHTS)


@pytest.mark.parametrize(
    ("answer", "row", "parts"),
    [
        (" [2] 09:30\n", MILL, (1.0, 1.0, 1.0, 0.0)),
        (" [2] 09:30 to 17:00\n", MILL, (0.5, 1.0, 1.0, 0.0)),
        (" [2] Monday\n", MILL, (0.0, 1.0, 1.0, 0.0)),
        (" [1] 1871\n", MILL, (0.0, 0.0, 1.0, 0.0)),
        (NOT_FOUND, MILL, (0.0, 0.0, 1.0, -1.0)),
        (NOT_FOUND, NOWHERE, (0.0, 0.0, 1.0, 1.0)),
        (" [2] 09:30\n", NOWHERE, (0.0, 0.0, 1.0, -1.0)),
        (" [3] 09:30\n", MILL, (0.0, 0.0, 0.0, -1.0)),
        (" [1] 09:30\n", MILL, (0.0, 0.0, 0.0, -1.0)),
    ],
    ids=[
        "right",
        "too long",
        "wrong words",
        "wrong passage",
        "refused",
        "honest",
        "invented",
        "no passage",
        "not there",
    ],
)
def test_parts_by_hand(answer: str, row: Row, parts: tuple[float, ...]) -> None:
    judged = judge(answer, row)
    assert (judged.f1, judged.passage, judged.form, judged.refusal) == pytest.approx(parts)
    assert judged.refused == (answer == NOT_FOUND)


@pytest.mark.parametrize(
    "answer",
    [
        "", "\n", " [2] \n", " [2]\n", " [2] 09:30", " [2] 09:30 \n", " [2]  09:30\n", "[2] 09:30\n",
        " [2] 09:30\n [2] 09:30\n", " [0] 09:30\n", " [0] \n", " [0] not found", " [0] Not found\n", " [02] 09:30\n",
        " [2] 09:30\nQuestion:", " [2] 09:30 09:30\n", " 09:30\n", " [2] [2] 09:30\n", " [²] 09:30\n",
    ],
)  # fmt: skip
def test_what_is_malformed_is_worth_less_than_any_answer(answer: str) -> None:
    for row in (MILL, NOWHERE):
        assert worth(answer, row) < min(worth(" [1] 1871\n", row), worth(NOT_FOUND, row))


def test_no_way_around_answering_pays() -> None:
    right, honest = worth(" [2] 09:30\n"), worth(NOT_FOUND, NOWHERE)
    assert (right, honest) == pytest.approx((1.0, 0.7))
    assert worth(f" [2] {MILL.passages[1]}\n") < 0.7 * right  # the whole passage
    assert worth(" [2] 09:3\n") < 0.6 * right  # a part of the word
    assert worth(" [2] to\n") <= 0.5 * right
    assert worth(" [1] 1871\n", NOWHERE) < 0 < worth(" [1] 1871\n")
    assert worth(NOT_FOUND) < 0


def test_every_way_to_write_an_answer_is_read_back() -> None:
    assert read_answer(NOT_FOUND) == (0, "")
    for span in ("09:30", "a", "Dr. No; or [1] not found", "x \x85 y"):
        assert read_answer(answer_continuation(7, span)) == (7, " ".join(span.split()))
    for row in (MILL, NOWHERE):
        assert judge(row.answer, row).form == 1.0
        assert worth(row.answer, row) == max(worth(row.answer, row), worth(NOT_FOUND, row), worth(" [2] 09:30\n", row))


def test_f1_is_that_of_the_evaluation() -> None:
    draw = random.Random(3)
    words = ["the", "a", "Old", "old", "mill,", "rye", "-", "(1871)", "1871", "an", "Ghent."]
    for _ in range(300):
        span, gold = (" ".join(draw.choices(words, k=draw.randint(1, 6))) for _ in range(2))
        if scores.normal(gold):
            assert f1(span, gold) == pytest.approx(scores.f1(span, [gold])), (span, gold)


def test_where_the_answer_is_an_article_only_it_is_right() -> None:
    assert (f1("A", "A"), f1("the", "A"), f1(".", "A")) == (1.0, 0.0, 0.0)


def test_means_are_over_the_rows_they_are_about() -> None:
    rows = [MILL, MILL, NOWHERE, NOWHERE]
    judged = [judge(answer, row) for answer, row in zip((" [2] 09:30\n", NOT_FOUND, NOT_FOUND, ""), rows, strict=True)]
    assert summary(judged, rows, WEIGHTS) == {
        "reward": pytest.approx((1.0 - 0.3 + 0.7 - 0.5) / 4),
        "f1": 0.5,
        "passage": 0.5,
        "form": 0.75,
        "refused_unanswerable": 0.5,
        "refused_answerable": 0.5,
    }
