"""Choosing sentences and spans: what is asked for, what could be it, and what the model adds."""

import pytest

from app.answer_types import spans, wanted
from app.sentences import sentences
from app.spans import Text, choose, shipped_weights
from model.engine import Score
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


def test_no_text_is_no_choice() -> None:
    assert choose("When?", [], embed) is None
    assert choose("When?", [Text("  \n ")], embed) is None


def test_a_models_scores_can_turn_the_choice() -> None:
    asked = []

    def model(question, passages, candidates):  # type: ignore[no-untyped-def]
        asked.append((passages, candidates))
        return Score(-5.0, 3), [Score(0.0 if span == "1935" else -20.0, 2) for _, span in candidates]

    weights = shipped_weights() | {"span": shipped_weights()["span"] | {"model": 5.0}}
    choice = choose("When was the pier built?", TEXTS, embed, model, weights)
    assert choice is not None and TEXTS[choice.unit.text].text[slice(*choice.span)] == "1935"
    passages, candidates = asked[0]
    assert len(asked) == 1 and all(span in passages[n - 1] for n, span in candidates)
