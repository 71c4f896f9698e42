"""The evaluation of recall: its measures by hand, a small conversation, and the published set where it is at hand."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.evaluation.conversations import Question, UnknownDataset
from app.evaluation.memory import current_first, evaluate, ndcg_at, recall_at
from retrieval.embedder import load_embedder


def by_length(texts: Sequence[str]) -> NDArray[np.float32]:
    """A useless embedder, so that words alone find the evidence."""
    return np.array([[math.cos(len(text)), math.sin(len(text))] for text in texts], np.float32)


def test_measures_are_those_counted_by_hand() -> None:
    ranking = [{"a"}, {"b", "c"}, {"d"}]
    gold = frozenset({"c", "d", "z"})
    assert recall_at(ranking, gold, 2) == pytest.approx(1 / 3)
    assert recall_at(ranking, gold, 3) == pytest.approx(2 / 3)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg_at(ranking, gold, 10) == pytest.approx((1 / math.log2(3) + 1 / math.log2(4)) / ideal)


def test_a_conversation_is_told_and_its_evidence_found(tmp_path: Path) -> None:
    talk = {
        "speaker_a": "Ada",
        "speaker_b": "Ben",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ada", "dia_id": "D1:1", "text": "My boat lies at the northern quay."},
            {"speaker": "Ben", "dia_id": "D1:2", "text": "I baked bread."},
        ],
    }
    questions = [
        {"question": "Where does Ada's boat lie?", "answer": "quay", "evidence": ["D1:1; D9:9"], "category": 4},
        {"question": "What did nobody do?", "answer": "", "evidence": ["D1:2"], "category": 5},
        {"question": "No evidence?", "answer": "", "evidence": [], "category": 1},
    ]
    file = tmp_path / "talk.json"
    file.write_text(json.dumps([{"conversation": talk, "qa": questions, "sample_id": "one"}]))
    result = evaluate("locomo", file, embedder=by_length)
    assert set(result) == {"dataset", "items", "metrics", "baselines", "settings", "seconds"}
    assert result["items"] == 1
    assert result["metrics"]["recall@5"] == result["metrics"]["single_hop.recall@10"] == 1.0
    assert result["baselines"]["lexical"]["recall@5"] == 1.0


def test_a_chat_with_an_assistant_keeps_the_users_words_and_judges_updates(tmp_path: Path) -> None:
    said = ["My reading goal is 10 books", "Rain again today", "I raised my reading goal to 12 books"]
    turns = [
        [
            {"role": "user", "id": 2 * n, "content": text, "time_anchor": None},
            {"role": "assistant", "id": 2 * n + 1, "content": f"Noted: {text}"},
        ]
        for n, text in enumerate(said)
    ]
    update = {"question": "What is my reading goal?", "source_chat_ids": {"original_info": [0], "updated_info": [4]}}
    other = {"question": "What did you note?", "source_chat_ids": [1]}
    questions = {"knowledge_update": [update], "information_extraction": [other]}
    (tmp_path / "01.json").write_text(
        json.dumps({"chat": [{"batch_number": 1, "turns": turns}], "questions": questions})
    )
    result = evaluate("beam", tmp_path, embedder=by_length)
    assert result["items"] == 1  # the other rests on the assistant's words
    assert result["metrics"]["current_first"] == 1.0
    assert result["metrics"]["knowledge_update.recall@10"] == 1.0


def test_an_update_comes_first_only_before_every_original() -> None:
    question = Question("", frozenset("ab"), "knowledge_update", frozenset("b"), frozenset("ac"))
    assert current_first([{"b"}, {"a"}], question) == 1.0
    assert current_first([{"x"}, {"c"}, {"b"}, {"a"}], question) == 0.0
    assert current_first([{"a"}], question) == 0.0
    assert current_first([], question) == 0.0


def test_an_unknown_name_or_form_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match="no memory dataset"):
        evaluate("other", tmp_path)
    (tmp_path / "bad.json").write_text('[{"qa": []}]')
    with pytest.raises(UnknownDataset, match=r"bad\.json"):
        evaluate("locomo", tmp_path / "bad.json")


@pytest.mark.slow
@pytest.mark.skipif("LOCI_EVAL" not in os.environ, reason="LOCI_EVAL names no folder of evaluation data")
def test_fusion_beats_both_legs_on_locomo() -> None:
    file = Path(os.environ["LOCI_EVAL"]) / "locomo" / "locomo5.json"
    result = evaluate("locomo", file, conversations=1, embedder=load_embedder().encode)
    for leg in result["baselines"].values():
        assert result["metrics"]["recall@10"] > leg["recall@10"]
