"""Languages that the embedder does not know are found by their words. Texts and questions are the project's own."""

import json
from pathlib import Path

import pytest

from app.evaluation.retrieval import evaluate
from tests.fakes import FakeEmbedder

_FOLDER = Path(__file__).parent / "languages"
"""One line a paragraph, with two questions behind it, tabs between."""


class Blind(FakeEmbedder):
    """Takes every character for a word, and what it finds alike is chance."""

    def count_tokens(self, text: str) -> int:
        return len(text.replace(" ", "")) + 2


@pytest.mark.parametrize("language", ["zh"])
def test_paragraphs_are_found_without_an_embedder_that_knows_the_language(language: str, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in (_FOLDER / f"{language}.tsv").read_text("utf-8").splitlines()]
    assert len(rows) >= 40 and all(len(row) == 3 for row in rows)
    paragraphs = [{"context": row[0], "qas": [{"question": one} for one in row[1:]]} for row in rows]
    (tmp_path / "set.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), "utf-8")
    report = evaluate("xquad", tmp_path / "set.json", embedder=lambda: Blind(max_tokens=400))
    for metrics in (report["metrics"], report["baselines"]["lexical"]):
        assert metrics["recall@1"] >= 0.92, metrics
        assert metrics["recall@5"] >= 0.99, metrics
