import random

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Metaspace

from retrieval.embedder import SentenceEmbedder, load_embedder
from retrieval.word_pieces import WordPieceCounts, adds_up

# Latin with its marks, other scripts, whatever is a space or none, what has no width, and special tokens.
CHARACTERS = [*map(chr, range(0x250)), *"\u0300\u1680\u2009\u200b\u2028\u202f\u3000\ufeff\ufffd中文한กำ\U0001f600"]
PIECES = [*CHARACTERS, *(" " * 200), *("\n" * 30), *("\t" * 10), "[SEP]", "[MASK] ", "international", "##ing"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    embedder = load_embedder()
    assert isinstance(embedder, SentenceEmbedder)
    return embedder._tokenizer


def test_the_words_have_as_many_tokens_as_the_tokenizer_makes_of_the_text(tokenizer: Tokenizer) -> None:
    assert adds_up(tokenizer)
    counts, rng = WordPieceCounts(tokenizer), random.Random(0)
    for _ in range(4000):
        text = "".join(rng.choices(PIECES, k=rng.randint(0, 60)))
        assert counts.of(text) == len(tokenizer.encode(text)), repr(text)


def test_what_is_kept_is_bounded_in_words_and_in_their_length(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.word_pieces._HELD", 10)
    counts = WordPieceCounts(tokenizer)
    text = " ".join(f"word{number}" for number in range(100)) + " " + "a" * 1000
    assert counts.of(text) == len(tokenizer.encode(text))
    assert len(counts) <= 10 and "a" * 1000 not in counts


def test_a_tokenizer_whose_words_may_touch_is_not_counted_by_words(tokenizer: Tokenizer) -> None:
    assert not adds_up(Tokenizer(BPE()))
    other = Tokenizer.from_str(tokenizer.to_str())
    other.add_tokens(["New York"])
    assert not adds_up(other)
    for part, changed in (("normalizer", Lowercase()), ("pre_tokenizer", Metaspace())):
        other = Tokenizer.from_str(tokenizer.to_str())
        setattr(other, part, changed)
        assert not adds_up(other)
