import json
import math
import os
from pathlib import Path

import pytest

from app.errors import BadInput
from app.evaluation.passage_sets import read_beir
from app.evaluation.retrieval import evaluate, ndcg_at, ndcg_of, recall_at, recall_of, span_scores
from app.evaluation.windows import windows
from tests.fakes import FakeEmbedder


def test_the_measures_are_those_computed_by_hand() -> None:
    ranks = [1, 3, None, 7]
    assert recall_at(ranks, 1) == 0.25
    assert recall_at(ranks, 5) == 0.5
    assert ndcg_at(ranks, 10) == pytest.approx((1 + 1 / 2 + 0 + 1 / 3) / 4)
    assert span_scores([("a", 0, 10), ("a", 5, 15)], [("a", 10, 20)]) == (0.5, 0.25)


def test_an_evaluation_has_the_shape_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    paragraphs = [
        {"context": f"The {name} is {colour}.", "qas": [{"question": f"What colour is the {name}?"}]}
        for name, colour in (("ferry", "red"), ("tower", "white"), ("bridge", "green"))
    ]
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    report = evaluate("xquad", file, embedder=FakeEmbedder)
    assert set(report) == {"dataset", "items", "metrics", "baselines", "settings", "seconds"}
    assert (report["items"], report["metrics"]["recall@1"]) == (3, 1.0)
    assert set(report["baselines"]) == {"dense", "lexical"}


def test_where_the_answers_are_known_their_share_in_a_packed_prompt_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    filler = "Nobody came to the fair that year, and the quay was mended in spring. " * 20
    context = f"{filler}The ferry is red. {filler}"
    answer = {"answer_start": context.index("red"), "text": "red"}
    question = {"question": "What colour is the ferry?", "answers": [answer]}
    file.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]}))
    report = evaluate("xquad", file, embedder=lambda: FakeEmbedder(max_tokens=400), chunk_tokens=400)
    ways = report["metrics"], report["baselines"]["flat"]
    assert [way["packed_recall@4000"] for way in ways] == [1.0, 1.0]
    assert [way["packed_recall@250"] for way in ways] == [1.0, 0.0]


def test_graded_items_count_by_their_grades() -> None:
    grades = {"a": 2.0, "b": 1.0}
    assert [recall_of(["x", "b", "a"], grades, k) for k in (1, 2, 3)] == [0, 0.5, 1]
    ideal = 2 + 1 / math.log2(3)
    assert ndcg_of(["x", "b", "a"], grades, 10) == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / ideal)
    assert ndcg_of(["a", "b"], grades, 10) == 1 and ndcg_of(["x"], grades, 10) == 0


def test_a_folder_laid_out_as_beirs_is_measured(tmp_path: Path) -> None:
    corpus = [
        ("d/1", "Ferry", "The ferry is red."),
        ("d2", "", "The tower is white."),
        ("d3", "", "A bridge is green."),
    ]
    lines = [json.dumps({"_id": id, "title": title, "text": text}) for id, title, text in corpus]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    queries = [("q1", "What colour is the ferry?"), ("q2", "the white tower"), ("q3", "nobody judged this")]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": a, "text": b}) + "\n" for a, b in queries))
    (tmp_path / "qrels").mkdir()
    judged = "query-id\tcorpus-id\tscore\nq1\td/1\t2\nq2\td2\t1\nq2\td3\t0\n"
    (tmp_path / "qrels/test.tsv").write_text(judged)
    assert [len(question.gold) for question in read_beir(tmp_path).questions] == [1, 1]
    report = evaluate("beir", tmp_path, embedder=FakeEmbedder)
    assert (report["items"], report["metrics"]["recall@1"], report["metrics"]["ndcg@10"]) == (2, 1.0, 1.0)
    for leg in ("dense", "lexical"):
        assert {"recall@1", "recall@5", "recall@10", "ndcg@10"} <= set(report["baselines"][leg])
    (tmp_path / "qrels/test.tsv").write_text("query-id\nq1\n")
    with pytest.raises(BadInput, match=r"qrels/test\.tsv"):
        read_beir(tmp_path)


def test_an_unknown_dataset_or_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Known: xquad"):
        evaluate("nothing", tmp_path)
    with pytest.raises(BadInput, match="SQuAD"):
        evaluate("xquad", tmp_path)


@pytest.mark.slow
def test_xquad_meets_the_bar() -> None:
    folder = os.environ.get("LOCI_EVAL")
    if not folder:
        pytest.skip("LOCI_EVAL names no folder of evaluation data")
    metrics = evaluate("xquad", Path(folder) / "xquad")["metrics"]
    assert metrics["recall@1"] >= 0.94
    assert metrics["recall@5"] >= 0.99


def test_windows_overlap_by_half_and_hold_every_word() -> None:
    text = " ".join(f"word{n}" for n in range(1900))
    spans = windows("a", text, FakeEmbedder())
    assert [len(text[a:b].split()) for _, a, b in spans] == [800, 800, 800, 700]
    assert spans[0][1] == 0 and spans[-1][2] == len(text)
    assert text[spans[1][1] :].split()[0] == "word400"
    assert windows("a", " ", FakeEmbedder()) == []
