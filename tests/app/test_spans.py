"""Choosing sentences and spans: what is asked for, what could be it, and what the model adds."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.answer_types import may_answer, spans, wanted
from app.chooser import with_unit, written
from app.judge import EngineJudge, Reading
from app.sentences import sentences
from app.spans import choose, shipped_weights
from app.units import Text, has_codes
from model.engine import Score
from model.spanformat import parse_answer, passage_continuation
from tests.app.fakes_engine import embed


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How much does a berth cost?", "money"),
        ("What is the mooring fee for boats?", "money"),
        ("How many berths are there?", "number"),
        ("When was the pier built?", "date"),
        ("In what year did it open?", "date"),
        ("What time does the ferry leave?", "time"),
        ("Who is the harbour master?", "person"),
        ("Where is the museum?", "place"),
        ("How long is the lease?", "duration"),
        ("How often is the oil changed?", "frequency"),
        ("What is the e-mail address of the office?", "contact"),
        ("Why was the crane closed?", "reason"),
        ("¿Cuándo abre el museo?", "date"),
        ("Wer hat den Hafen gebaut?", "person"),
        ("What is the colour of the boat?", "thing"),
    ],
)
def test_the_kind_of_thing_asked_for_is_told_from_the_question(question: str, kind: str) -> None:
    assert wanted(question).kind == kind


@pytest.mark.parametrize(
    ("text", "span", "kind"),
    [
        ("Berths cost €12.50 per night.", "€12.50", "money"),
        ("It opened on 4 May 1921.", "4 May 1921", "date"),
        ("The deposit was 12 500 kroner.", "12 500 kroner", "money"),
        ("It ships 1\u202f250\u202f000 tonnes.", "1\u202f250\u202f000 tonnes", "quantity"),
        ("In 2019 500 people came.", "500", "number"),
        ("The ferry leaves at 9:15.", "9:15", "time"),
        ("The lease runs for three years.", "three years", "duration"),
        ("Turnout was 61.5% this time.", "61.5%", "percent"),
        ("It was built by Dr. Anna Holm.", "Dr. Anna Holm", "name"),
        ("Write to office@harbour.example today.", "office@harbour.example", "contact"),
        ("Boat: Heron; Owner: Tom Berg", "Tom Berg", "value"),
    ],
)
def test_spans_carry_their_kind(text: str, span: str, kind: str) -> None:
    assert (span, kind) in {(text[s.start : s.end], s.kind) for s in spans(text, (0, len(text)))}


def test_the_day_of_a_date_counts_nothing_but_a_year_stands_for_itself() -> None:
    text = "Date: 18 September 2024"
    assert {text[s.start : s.end] for s in spans(text, (0, len(text))) if s.kind == "number"} == {"2024"}


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("How many members are there?", "Date: 18 September 2024", False),
        ("How much does it cost?", "It has been losing pressure.", False),
        ("How much does it cost?", "It is not sold.", True),
        ("How much does it cost?", "It is free for members.", True),
        ("How many members are there?", "There are twelve.", True),
        ("How many members are there?", "The club has 1850 members.", True),
        ("How many members are there?", "Last summer we counted 1850 members.", True),
        ("How many members are there?", "The population is 1250.", True),
        ("How many members are there?", "The club of the 2024 games was founded in 1850 by friends.", False),
        ("How many members are there?", "The 2019 rules were changed against 2024 rules.", False),
        ("What is the rent?", "The rent is 1100 euros.", True),
        ("What is the rent?", "A flat for $1500.", True),
        ("How long does it take?", "It takes 1200 hours.", True),
        ("When is the meeting?", "It is soon.", True),
    ],
)
def test_what_is_asked_for_an_amount_must_name_one_or_deny_it(question: str, text: str, expected: bool) -> None:
    assert may_answer(text, wanted(question)) == expected


def test_what_is_said_of_another_code_is_no_answer() -> None:
    text = Text("F01: no water comes in\nF02: water does not run off", "Lava V7")
    assert has_codes("What does F02 of the Lava V7 mean?", text) and not has_codes("What does F03 mean?", text)
    found = [choose(f"What does error {code} of the water mean?", [text], embed) for code in ("F02", "F03")]
    assert found[0] is not None and found[1] is not None
    assert found[0].confidence > found[1].confidence == 0.0


def test_the_number_of_an_item_is_no_amount() -> None:
    text = "1. Fill the tank with cold water."
    choice = choose("How much water does the tank hold?", [Text(text)], embed)
    assert choice is not None and choice.confidence == 0.0


def test_sentences_are_units_a_citation_can_show() -> None:
    text = (
        "# Rules\n\nMr. Holm of No. 5 came. He paid 3.50 euros\nfor a berth! “Really?” she asked.\n\n- one item\n- "
        "another\n"
        "Boat: Pelican; Berth: 14\nBoat: Heron; Berth: 15\n\n灯塔建于1887年。很高。"
    )
    assert [text[a:b] for a, b in sentences(text)] == [
        "# Rules",
        "Mr. Holm of No. 5 came.",
        "He paid 3.50 euros\nfor a berth!",
        "“Really?” she asked.",
        "- one item",
        "- another",
        "Boat: Pelican; Berth: 14",
        "Boat: Heron; Berth: 15",
        "灯塔建于1887年。",
        "很高。",
    ]


TEXTS = [
    Text("The pier was built in 1921 by Anna Holm. It was painted in 1935."),
    Text("The museum was founded in 1978."),
]


def test_the_rule_needs_no_model() -> None:
    choice = choose("When was the museum founded?", TEXTS, embed)
    assert choice is not None and choice.short
    assert TEXTS[choice.unit.text].text[slice(*choice.span)] == "1978"
    assert choice.confidence > choose("What do penguins eat?", TEXTS, embed).confidence  # type: ignore[union-attr]


@pytest.mark.parametrize("question", ["Who is the tenant of the mill?", "What is the subject?", "Who is the landlord?"])
def test_the_name_of_a_field_is_no_answer(question: str) -> None:
    text = "Landlord: Mill Row Ltd\nTenant: Ines Duarte\nSubject: Repair of the roof"
    choice = choose(question, [Text(text)], embed)
    assert choice is not None and not {"Landlord", "Tenant", "Subject"} & set(text[slice(*choice.span)].split())


def test_no_text_is_no_choice() -> None:
    assert choose("When?", [], embed) is None
    assert choose("When?", [Text("  \n ")], embed) is None


class FakeJudge:
    """Likes one passage and one span; remembers what it was asked."""

    def __init__(self, passage: str, span: str, none: float = -9.0) -> None:
        self.passage, self.span, self.none = passage, span, none
        self.asked: list[tuple[str, list[str]]] = []

    def line(self, prompt: str) -> str:
        return f" {self.span}"

    def score(self, prompt: str, continuations: Sequence[str]) -> list[Score]:
        self.asked.append((prompt, list(continuations)))
        liked = re.search(rf"^\[(\d)\] .*{self.passage}", prompt, re.MULTILINE)
        number = int(liked.group(1)) if liked else -1
        return [self._score(one, number) for one in continuations]

    def _score(self, continuation: str, number: int) -> Score:
        said, span = parse_answer(continuation + " ?" if continuation.endswith("]") else continuation)
        logprob = self.none if said == 0 else (-0.1 if said == number else -6.0)
        if not continuation.endswith("]"):
            logprob += -0.1 if span == self.span else -25.0
        return Score(logprob, 3 if continuation.endswith("]") else 6)


def test_the_models_scores_turn_the_choice_of_sentence_and_span() -> None:
    judge = FakeJudge("painted in 1935", "1935")
    choice = choose("When was the pier built?", TEXTS, embed, judge)
    assert choice is not None
    ruled = choose("When was the pier built?", TEXTS, embed)
    assert ruled is not None and TEXTS[ruled.unit.text].text[slice(*ruled.span)] == "1921"
    weights = dict(shipped_weights()) | {
        "model_unit": {"rule": 0.1, "model": 1.0},
        "model_span": {"rule": 0.1, "unit": 0.5, "model": 1.0},
    }
    choice = choose("When was the pier built?", TEXTS, embed, judge, weights)
    assert choice is not None and TEXTS[choice.unit.text].text[slice(*choice.span)] == "1935"


def test_the_model_reads_one_prompt_and_is_asked_twice() -> None:
    judge = FakeJudge("founded in 1978", "1978")
    choose("When was the museum founded?", TEXTS, embed, judge)
    (prompt, numbers), (again, candidates) = judge.asked
    assert prompt == again and numbers == [passage_continuation(n) for n in range(4)]
    for candidate in candidates:  # each span stands in the passage whose number it carries
        number, span = parse_answer(candidate)
        line = next(line for line in prompt.splitlines() if line.startswith(f"[{number}] "))
        assert span in line


def test_the_models_own_words_are_chosen_where_no_rule_finds_them() -> None:
    said = "in 1921 by Anna"
    assert said not in {TEXTS[0].text[s.start : s.end] for s in spans(TEXTS[0].text, (0, 39))}
    weights = dict(shipped_weights()) | {
        "model_unit": {"model": 1.0},
        "model_span": {"rule": 0.1, "unit": 0.5, "model": 1.0},
    }
    choice = choose("When was the pier built?", TEXTS, embed, FakeJudge("built in 1921", said), weights)
    assert choice is not None and TEXTS[0].text[slice(*choice.span)] == said
    assert choice.short  # they stand out, though they are no date


def test_words_are_found_over_a_line_break_and_only_in_their_passage() -> None:
    text = "The mole is new. It was built by\n Anna Holm."
    first, second = (0, 16), (17, len(text))
    reading = Reading("Who?", ["The mole is new.", "It was built by Anna Holm."], FakeJudge("x", "by Anna Holm"))
    assert (found := reading.words(1, text, second)) is not None and text[slice(*found)] == "by\n Anna Holm"
    assert reading.words(0, text, first) is None
    assert Reading("Who?", ["The mole is new."], FakeJudge("x", "")).words(0, text, first) is None
    assert Reading("Who?", ["The mole is new."], FakeJudge("x", "The mole is")).words(0, text, first) is None


def test_a_model_that_finds_no_answer_lowers_the_confidence() -> None:
    sure = choose("When was the museum founded?", TEXTS, embed, FakeJudge("founded in 1978", "1978", none=-9.0))
    unsure = choose("When was the museum founded?", TEXTS, embed, FakeJudge("founded in 1978", "1978", none=4.0))
    assert sure is not None and unsure is not None and sure.confidence > unsure.confidence


def test_what_the_model_likes_of_another_thing_speaks_against_an_answer() -> None:
    texts = [Text("The north pier cost 40 pounds."), Text("The yard cost 12 pounds.")]
    judge = FakeJudge("north pier", "40 pounds")
    asked = [choose(f"How much did the {one} pier cost?", texts, embed, judge) for one in ("north", "south")]
    right, wrong = (one for one in asked if one is not None)
    assert right.unit.text == 0 and right.confidence > 0.5 and not right.others
    assert wrong.unit.text == 1 and wrong.confidence < 0.25 and wrong.others


def test_a_prompt_stays_short_however_long_the_passages_are() -> None:
    reading = Reading("Where?", ["word " * 2000] * 9, FakeJudge("x", "y"))
    assert 1 <= reading.count < 9 and len(reading.prompt) < 4000


def test_a_prompt_stays_short_however_long_the_question_is() -> None:
    asked = "Which mill " + "of the many that were built by the river " * 500 + "has a red door?"
    prompt = Reading(asked, ["The upper mill has a red door."], FakeJudge("x", "y")).prompt
    assert len(prompt) < 3000
    assert prompt.count("Which mill") == prompt.count("has a red door?") == 2


def test_the_shipped_weights_use_the_model() -> None:
    weights = shipped_weights()
    assert weights["model_unit"]["model"] > 0 and weights["model_confidence"]["odds"] > 0
    assert weights["model_span"]["model"] > 0 or weights["model_span"]["mean"] > 0


@pytest.mark.parametrize(
    ("question", "text", "span", "kind", "said"),
    [
        ("What is the speed limit?", "No boat exceeds 4 knots in the basin.", "4", "number", "4 knots"),
        ("How many boats are there?", "The pier holds 22 boats in summer.", "22", "number", "22"),
        ("How much did it make?", "It made 1,184 megawatt-hours.", "1,184", "number", "1,184 megawatt-hours"),
        ("What year was it?", "It was 1921 in all but name.", "1921", "number", "1921"),
        ("How often is the oil changed?", "It is changed every 3 years.", "3 years", "duration", "every 3 years"),
    ],
)
def test_a_number_is_said_with_its_unit_unless_the_question_names_it(
    question: str, text: str, span: str, kind: str, said: str
) -> None:
    choice = choose(question, [Text(text)], embed)
    assert choice is not None
    at = text.index(span)
    assert text[slice(*with_unit(text, replace(choice, span=(at, at + len(span)), kind=kind)))] == said


def test_how_long_takes_a_length_and_how_often_a_recurring_time() -> None:
    for question, text, said in [
        ("How long is the pier?", "The pier is 212 metres in all and holds 4 cranes.", "212 metres"),
        ("How often is the oil changed?", "The oil of pump 2 is changed every 3 years.", "every 3 years"),
    ]:
        choice = choose(question, [Text(text)], embed)
        assert choice is not None and choice.short and written(text, choice) == said


@pytest.mark.parametrize(
    ("question", "row", "field"),
    [
        ("What is the return fare of a bicycle?", "Ticket: Bicycle; Single GBP: 3; Return GBP: 5", "Return GBP: 5"),
        ("What is the price of a mooring?", "Berth: Mooring; Price: 12.00; Minimum: 12.00", "Price: 12.00"),
        ("How often is the oil changed?", "| Oil change | 3 years | 2 |", "3 years"),
    ],
)
def test_the_answer_from_a_row_is_the_field_asked_for(question: str, row: str, field: str) -> None:
    choice = choose(question, [Text(row)], embed)
    assert choice is not None and written(row, choice) == field


def test_a_sentence_is_said_without_its_clause_number() -> None:
    text = "3.4 Rafting is limited because the basin is narrow."
    choice = choose("Why is rafting limited?", [Text(text)], embed)
    assert choice is not None and written(text, choice) == "Rafting is limited because the basin is narrow."


def test_the_shipped_model_finds_a_value_and_misses_what_is_not_there() -> None:
    from model.open import open_engine
    from model.settings import ModelSettings

    engine = open_engine("embedded", ModelSettings())
    text = "The mill ground 5,310 sacks of flour in 1904. It was sold to Edith Marsh. The weir was rebuilt in stone."
    found = choose("How many sacks did the mill grind in 1904?", [Text(text)], embed, EngineJudge(engine))
    missed = choose("Which fish lives in the mill pond?", [Text(text)], embed, EngineJudge(engine))
    engine.close()
    assert found is not None and missed is not None
    assert text[slice(*found.span)] == "5,310"
    assert found.confidence > 0.5 > missed.confidence


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("## Prices and concessions for visitors\n\nAn adult pays 7 pounds.", "An adult pays 7 pounds."),
        ("# Prices and concessions\n\nAn adult pays 7 pounds.", "An adult pays 7 pounds."),
        (
            "# Prices and concessions: an adult pays 7 pounds\nPRICE = 7\n",
            "# Prices and concessions: an adult pays 7 pounds",
        ),
        ("## Prices and concessions", "## Prices and concessions"),  # there is nothing else
    ],
)
def test_a_heading_is_no_answer_where_there_is_text(text: str, answer: str) -> None:
    found = choose("What prices and concessions are there for visitors?", [Text(text)], embed)
    assert found is not None and text[slice(*found.unit.range)] == answer
