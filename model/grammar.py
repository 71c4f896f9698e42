"""A grammar as a `TokenConstraint`, kept by llguidance. Knows nothing about JSON or models."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model.errors import UnsupportedConstraint

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class GrammarConstraint:
    """A token may come where its bytes do, an end token where a sentence of the grammar is complete.

    :raises UnsupportedConstraint: llguidance refuses the grammar, or no token can begin a sentence of it.
    """

    longest: int | None = None

    def __init__(self, grammar: str, vocabulary: "LLTokenizer", ends: frozenset[int]) -> None:
        from llguidance import LLMatcher

        self._ends = ends
        self._vocabulary = vocabulary.vocab_size
        self._matcher = LLMatcher(vocabulary, grammar, log_level=0)
        self.allowed()

    @property
    def complete(self) -> bool:
        return self._matcher.is_stopped()

    def allowed(self) -> Tensor:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return torch.from_numpy(np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_))

    def advance(self, token: int) -> None:
        if token not in self._ends:
            self._matcher.consume_token(token)
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            # The first line is the reason, the rest describes the parser.
            reason = self._matcher.get_error().partition("\n")[0].strip()
            raise UnsupportedConstraint(f"The constraint cannot be kept: {reason}.")
