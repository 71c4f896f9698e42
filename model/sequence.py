"""One sequence on its way through the model. Knows nothing about requests, text or drawing."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from model.cache import PAGE


@dataclass(eq=False, slots=True)
class TokenSequence:
    """Tokens, of which the first `held` are in the cache; each drawn token is appended to them."""

    tokens: list[int]
    root: bytes
    """Where the chain of page hashes begins: names the model, so that chains of different models never meet."""
    held: int = 0
    drafts: list[int] = field(default_factory=list)
    """tokens that may follow, to be read and judged with the next one"""
    followed: int | None = None
    """positions whose next token the predictor has read as well, where there is a predictor"""
    pages: list[int] = field(default_factory=list)
    recorded: int = 0
    """full pages whose content was made known"""
    cached: int | None = None
    """tokens that the cache held already when the sequence was first admitted"""
    last: Tensor | None = None
    """[1, D]: final hidden state of the last token, once all are read"""
    prompt: int = field(init=False)
    """tokens that were given; those after them were drawn"""
    _digests: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prompt = len(self.tokens)

    @property
    def pending(self) -> int:
        """Tokens that are to be read, drafts apart."""
        return len(self.tokens) - self.held

    @property
    def decoding(self) -> bool:
        """Whether the next to be read are the answer's last token and what was drafted after it."""
        return self.pending == 1 and self.held >= self.prompt

    @property
    def reusable(self) -> int:
        """Tokens whose cache is complete for every layer, apart from the predictor's of the last one."""
        return self.held if self.followed is None else min(self.held, self.followed + 1)

    def digest(self, full_pages: int) -> bytes:
        """Identity of the first `full_pages` pages: their tokens and everything before them."""
        while len(self._digests) < full_pages:
            start = len(self._digests) * PAGE
            parent = self._digests[-1] if self._digests else self.root
            self._digests.append(chain(parent, self.tokens[start : start + PAGE]))
        return self._digests[full_pages - 1] if full_pages else self.root


def chain(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Hash of a page's tokens and, by `parent`, of all pages before it."""
    return hashlib.blake2b(parent + array("q", tokens).tobytes(), digest_size=16).digest()
