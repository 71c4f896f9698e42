"""Fitting the confidence: what the model said is kept, and the model's odds and the rule get weights that tell."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.evaluation.fit_items import Item
from app.evaluation.fit_spans import Everyday, Remembered, fit_confidence, fit_logistic, read_everyday
from app.spans import shipped_weights
from app.units import Text
from model.engine import Score
from model.spanformat import parse_answer
from tests.app.fakes_engine import embed


class Knowing:
    """Is sure that nothing answers a question about a colour, and that the first passage answers any other."""

    def __init__(self, most: int = 10_000) -> None:
        self.asked, self._most = 0, most

    def score(self, prompt: str, continuations: Sequence[str]) -> list[Score]:
        self.asked += 1
        if self.asked > self._most:
            raise KeyboardInterrupt
        none = 2.0 if "colour" in prompt else -6.0
        said = [parse_answer(f"{one} ?")[0] if one.endswith("]") else 1 for one in continuations]
        return [Score(none if number == 0 else -3.0, 1) for number in said]

    def line(self, prompt: str) -> str:
        return "1921"


def asked(question: str, gold: bool) -> Item:
    text = "The pier was built in 1921 by Anna Holm."
    return Item(question, "1921", (Text(text, "", 0.5),), (0, text.index("1921")) if gold else None)


ITEMS = [
    item
    for name in ("pier", "old pier", "long pier", "north pier")
    for item in (asked(f"When was the {name} built?", True), asked(f"When did the {name} change its colour?", False))
]


def test_a_fit_that_was_stopped_asks_only_what_is_left(tmp_path: Path) -> None:
    whole = Knowing()
    wanted = fit_confidence(ITEMS, [], embed, Remembered(whole), shipped_weights())
    first = Knowing(most=whole.asked // 2)
    with pytest.raises(KeyboardInterrupt):
        fit_confidence(ITEMS, [], embed, Remembered(first, tmp_path / "said"), shipped_weights())
    rest = Knowing()
    assert fit_confidence(ITEMS, [], embed, Remembered(rest, tmp_path / "said"), shipped_weights()) == wanted
    assert rest.asked == whole.asked - whole.asked // 2


def test_the_models_odds_count_where_they_tell() -> None:
    weights = fit_confidence(ITEMS, [], embed, Remembered(Knowing()), shipped_weights())
    assert weights["odds"] > 0.5


def test_everyday_questions_weigh_a_tenth_together(tmp_path: Path) -> None:
    file = tmp_path / "everyday.jsonl"
    text = ["The pier was built in 1921 by Anna Holm.", "", 0.5, True]
    row = {"question": "When did the pier change its colour?", "texts": [text], "answered": True}
    file.write_text(f"{json.dumps(row)}\n" * 8, "utf-8")
    everyday = read_everyday(file)
    assert everyday[0] == Everyday(row["question"], (Text(*text),), True)
    alone = fit_confidence(ITEMS, [], embed, Remembered(Knowing()), shipped_weights())
    both = fit_confidence(ITEMS, everyday, embed, Remembered(Knowing()), shipped_weights())
    assert 0 < both["odds"] < alone["odds"]


def test_shares_are_what_groups_weigh() -> None:
    rows, labels = [{"bias": 1.0}] * 4, [1.0, 0.0, 0.0, 0.0]
    even = fit_logistic(rows, labels, 0.0, 600, [0.5, 1 / 6, 1 / 6, 1 / 6])
    assert abs(even.get("bias", 0.0)) < 0.02 < abs(fit_logistic(rows, labels, 0.0, 600)["bias"])
