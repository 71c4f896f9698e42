"""Tokens of a text counted from those of its words, where a tokenizer lets no word touch the next. Knows no vectors."""

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

_HELD = 100_000
"""Words whose counts are kept, about 10 MB; then they are counted anew."""
_LONGEST = 64
"""Characters of a word that is kept; longer ones are data and do not come again."""


class WordPieceCounts(dict[str, int]):
    """For each word, the tokens that `tokenizer` makes of it, counted when first asked for.

    Cutting a document into passages counts most of its words five times; to look one up takes a twentieth of the time
    that the tokenizer takes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._special = len(tokenizer.encode(""))

    def of(self, text: str) -> int:
        """Tokens of `text`, special ones included: as many as the tokenizer itself makes."""
        words = text.replace("\n", " ").replace("\t", " ").split(" ")
        return self._special + sum(map(self.__getitem__, words))

    def __missing__(self, word: str) -> int:
        count = len(self._tokenizer.encode(word, add_special_tokens=False))
        if len(word) <= _LONGEST:
            if len(self) >= _HELD:
                self.clear()
            self[word] = count
        return count


def adds_up(tokenizer: Tokenizer) -> bool:
    """Whether a text has as many tokens as its words together: BERT's way, which divides at spaces before all else."""
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and not any(char.isspace() for token in tokenizer.get_added_tokens_decoder().values() for char in token.content)
    )
