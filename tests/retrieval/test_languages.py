"""Languages that the embedder does not know are found by their words. Texts and questions are the project's own."""

import json
from pathlib import Path

import pytest

from app.evaluation.retrieval import evaluate
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder

_FOLDER = Path(__file__).parent / "languages"
"""One line a paragraph, with two questions behind it, tabs between."""


class Blind(FakeEmbedder):
    """Takes every character for a word, and what it finds alike is chance."""

    def count_tokens(self, text: str) -> int:
        return len(text.replace(" ", "")) + 2


@pytest.mark.parametrize(
    ("language", "first", "five"),
    [
        ("zh", 0.92, 0.99),
        ("fr", 0.85, 0.97),  # many of its questions have hardly a word of their paragraph
        ("de", 0.73, 0.85),  # the same, and compounds, of which the parts of the question's alone are sought
    ],
)
def test_paragraphs_are_found_without_an_embedder_that_knows_the_language(
    language: str, first: float, five: float, tmp_path: Path
) -> None:
    rows = [line.split("\t") for line in (_FOLDER / f"{language}.tsv").read_text("utf-8").splitlines()]
    assert len(rows) >= 40 and all(len(row) == 3 for row in rows)
    paragraphs = [{"context": row[0], "qas": [{"question": one} for one in row[1:]]} for row in rows]
    (tmp_path / "set.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), "utf-8")
    report = evaluate("xquad", tmp_path / "set.json", embedder=lambda: Blind(max_tokens=400))
    for metrics in (report["metrics"], report["baselines"]["lexical"]):
        assert metrics["recall@1"] >= first, metrics
        assert metrics["recall@5"] >= five, metrics


def test_a_german_compound_is_found_by_its_parts(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    texts = {"a": "Gegen Grippe hilft die Impfung im Herbst.", "b": "Die Wanderung der Vögel im Herbst.", "c": "Milch."}
    for name, text in texts.items():
        (tmp_path / "files" / f"{name}.txt").write_text(text)
    library = Library(
        tmp_path / "data", tmp_path / "cache", RetrievalSettings(dense_weight=0), lambda: Blind(max_tokens=400)
    )
    ingest(library, [tmp_path / "files"])
    for query, name in (("Wann ist die Grippeimpfung?", "a"), ("Wie hoch ist der Milchpreis?", "c")):
        best = library.search(query, collections=["main"])[0]
        assert (Path(best.path).stem, (best.lexical or 0) > 0) == (name, True), query
    library.close()
