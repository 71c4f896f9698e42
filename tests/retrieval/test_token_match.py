"""Late interaction: parts of a question against texts, token by token."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.embedder import SentenceEmbedder, load_embedder


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> SentenceEmbedder:
    """The embedded one, but for its vectors: each token is like itself alone."""
    found = load_embedder()
    assert isinstance(found, SentenceEmbedder)

    def tokens(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        vectors = np.eye(found._tokenizer.get_vocab_size(), dtype=np.float32)
        return [vectors[found._tokenizer.encode(text).ids[1:-1]] for text in texts]

    monkeypatch.setattr(found, "_tokens", tokens)
    return found


def test_each_part_of_a_question_is_matched_by_its_own_tokens(embedder: SentenceEmbedder) -> None:
    question = "old unbuildable piers"  # the second word is four tokens: un ##bu ##ild ##able
    parts = [(0, 21), (0, 3), (4, 15), (16, 21)]
    assert len(embedder._tokenizer.encode(question).ids) == 2 + 6
    found = embedder.match(question, parts, ["piers of old", "un old oak", "", question])
    expected = [[2 / 6, 1, 0, 1], [2 / 6, 1, 1 / 4, 0], [-1] * 4, [1] * 4]
    assert found == pytest.approx(np.array(expected))


def test_a_part_without_a_token_is_like_nothing(embedder: SentenceEmbedder) -> None:
    assert embedder.match("old pier", [(3, 4)], ["old pier"]).tolist() == [[0.0]]
    cut = "old " * 300  # the embedder reads 256 tokens of it
    assert embedder.match(cut, [(0, 3)], ["old"]).tolist() == [[1.0]]
