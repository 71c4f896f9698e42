"""The measures of answers, and the evaluation on a data set of two paragraphs."""

import json
from pathlib import Path

import pytest

from app.errors import BadInput
from app.evaluation.grounding import NoModel, evaluate, read_clapnq
from app.evaluation.scores import auroc, exact_match, f1
from tests.app.fakes import FakeEmbedder
from tests.app.fakes_engine import FakeEngine


def test_exact_match_and_f1_ignore_case_articles_and_punctuation() -> None:
    assert exact_match("The Pelican!", ["pelican"]) == 1.0
    assert f1("the grey pelican", ["pelican"]) == pytest.approx(2 / 3)
    assert f1("", ["pelican"]) == 0.0


def test_auroc_agrees_with_counting_pairs() -> None:
    positive, negative = [0.9, 0.4, 0.4, 0.7], [0.4, 0.1, 0.8]
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def clapnq(folder: Path) -> Path:
    text = "The pier was built in 1921 . It is made of oak ."
    row = {"input": "when was the pier built", "passages": [{"title": "Pier", "text": text}]}
    answered = {"answer": "In 1921.", "selected_sentences": ["The pier was built in 1921 ."]}
    (folder / "dev_answerable.jsonl").write_text(json.dumps(row | {"output": [answered]}))
    other = row | {"input": "who sells penguins", "output": [{"answer": "", "selected_sentences": []}]}
    (folder / "dev_unanswerable.jsonl").write_text(json.dumps(other))
    return folder


def test_an_evaluation_has_the_published_shape_and_names(tmp_path: Path) -> None:
    result = evaluate("clapnq", clapnq(tmp_path), engine=NoModel, embedder=FakeEmbedder)  # type: ignore[arg-type]
    assert set(result) == {"dataset", "items", "metrics", "baselines", "settings", "seconds"}
    assert {"auroc", "refused_unanswerable", "refused_answerable", "gold_overlap"} <= set(result["metrics"])
    assert {"no-model", "top-cosine"} == set(result["baselines"])
    assert result["items"] == 2


def test_an_answerable_question_knows_its_evidence(tmp_path: Path) -> None:
    yes, no = read_clapnq(clapnq(tmp_path))
    assert yes.gold == ("The pier was built in 1921 .",) and no.gold == ()


def test_of_an_answer_in_steps_the_last_is_scored(tmp_path: Path) -> None:
    paragraphs = [
        {
            "context": "The novel Tide Mill is by Edith Marlow.",
            "qas": [
                {"question": "When was the author of Tide Mill born?", "answers": [{"text": "1931", "answer_start": 0}]}
            ],
        },
        {"context": "Edith Marlow was born in 1931.", "qas": []},
    ]
    (tmp_path / "xquad.en.json").write_text(json.dumps({"data": [{"title": "Books", "paragraphs": paragraphs}]}))
    silent = "The documents do not say."
    engine = FakeEngine('{"steps": []}', silent, "Edith Marlow [1]", "Born in 1931 [1].")
    metrics = evaluate("xquad", tmp_path, engine=lambda: engine, embedder=FakeEmbedder)["metrics"]
    assert metrics["f1"] == pytest.approx(0.5) and metrics["refused_answerable"] == 0
    assert not engine.answers


def test_an_unknown_data_set_or_an_empty_folder_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        evaluate("trivia", tmp_path)
    with pytest.raises(BadInput):
        evaluate("clapnq", tmp_path, engine=NoModel, embedder=FakeEmbedder)  # type: ignore[arg-type]
