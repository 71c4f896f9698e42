"""The second look at what was found: tiny models made here, a folder's contents checked before anything is loaded."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.evaluation.retrieval import evaluate
from retrieval.errors import RerankerNotFound
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.reranker import SecondLook, load_reranker
from retrieval.settings import RetrievalSettings
from retrieval.types import Locator, Passage
from tests.fakes import FakeEmbedder

WORDS = ["the", "a", "is", "what", "colour", "ferry", "tower", "bridge", "red", "white", "green"]


def checkpoint(folder: Path, labels: int = 1, kind: str = "BertForSequenceClassification") -> Path:
    """A cross-encoder of one layer with random weights, and a tokenizer of a few words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(0)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=1.0,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


def passage(text: str, score: float) -> Passage:
    return Passage(1, "d1", "a.md", "a", None, 1, 0, len(text), Locator(), text, "", "main", score)


class ByLength:
    """Judges the longer text the better one, and keeps what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        self.read += texts
        return np.array([len(text) / 100 for text in texts], dtype=np.float32)


def test_a_bounded_number_is_put_in_order_anew_and_the_others_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = ByLength()
    monkeypatch.setattr("retrieval.reranker.load_reranker", lambda _: judge)
    found = [passage("x" * n, 1.0 - n / 100) for n in (1, 3, 2, 9)]
    look = SecondLook("somewhere", 3)
    ordered = look.order("which?", found)
    assert [len(one.text) for one in ordered] == [3, 2, 1, 9]
    assert [one.score for one in ordered[:3]] == pytest.approx([0.03, 0.02, 0.01])
    assert len(judge.read) == 3
    assert (look.depth(2), look.depth(8)) == (3, 8)


def test_without_a_reranker_nothing_changes_and_nothing_more_is_sought() -> None:
    found = [passage("b", 0.2), passage("a", 0.1)]
    look = SecondLook("", 30)
    assert look.order("which?", found) == found and look.depth(5) == 5
    look.check()


def test_a_cross_encoder_of_a_folder_orders_a_search_and_an_evaluation(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "judge")
    files = tmp_path / "files"
    files.mkdir()
    texts = [f"The {name} is {colour}." for name, colour in (("ferry", "red"), ("tower", "white"), ("bridge", "green"))]
    for text in texts:
        (files / f"{text.split()[1]}.txt").write_text(text)
    settings = RetrievalSettings(reranker=str(folder))
    library = Library(tmp_path / "library", tmp_path / "cache", settings, FakeEmbedder)
    ingest(library, [files])
    question = "What colour is the tower?"
    found = library.search(question, collections=["main"], limit=2)
    library.close()
    scores = load_reranker(str(folder)).score(question, texts)
    assert np.all((scores > 0) & (scores < 1)) and len(set(scores.tolist())) == 3
    best = sorted(zip(scores.tolist(), texts, strict=True), reverse=True)[:2]
    assert [one.text for one in found] == [text for _, text in best]
    assert [one.score for one in found] == pytest.approx([score for score, _ in best], abs=1e-5)

    paragraphs = [{"context": text, "qas": [{"question": f"What colour is the {text.split()[1]}?"}]} for text in texts]
    data = tmp_path / "small.json"
    data.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    report = evaluate("xquad", data, embedder=FakeEmbedder, reranker=str(folder))
    assert report["baselines"]["fused"]["recall@1"] == 1.0  # random weights can only do worse
    assert report["metrics"]["recall@1"] < 1.0 and report["baselines"]["dense"].keys() == report["metrics"].keys() - {
        "ingest_passages_per_second"
    }


def test_what_is_no_cross_encoder_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(RerankerNotFound, match="no reranker 'nobody/nothing'"):
        load_reranker("nobody/nothing")
    with pytest.raises(RerankerNotFound, match=r"config\.json is missing"):
        load_reranker(str(tmp_path))
    for config in (
        {"architectures": ["BertModel"], "id2label": {"0": "LABEL_0"}},
        {"architectures": ["BertForSequenceClassification"]},  # two labels where none are named
        ["a list"],
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(RerankerNotFound, match="not a cross-encoder"):
            load_reranker(str(tmp_path))
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}})
    )
    with pytest.raises(RerankerNotFound, match="cannot be read"):
        load_reranker(str(tmp_path)).score("a", ["b"])
