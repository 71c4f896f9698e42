"""Constraints as automata over token ids: which tokens may come next. Knows nothing about logits."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.engine import Choice, Constraint, JsonSchema
from model.errors import UnsupportedConstraint
from model.gbnf import gbnf_to_lark
from model.grammar import GrammarConstraint
from model.json_schema import schema_grammar
from model.tokenizer import Tokenizer


class TokenConstraint(Protocol):
    """What may come next in an output that grows token by token."""

    @property
    def complete(self) -> bool:
        """Whether nothing may come any more."""
        ...

    @property
    def longest(self) -> int | None:
        """Tokens that an output takes at most, where there is a limit."""
        ...

    def allowed(self) -> Tensor:
        """Which tokens may come, bool [V] on the CPU; end tokens among them where the output may end."""
        ...

    def advance(self, token: int) -> None:
        """Take note of `token`, which was allowed."""
        ...


class _Node(dict[int, "_Node"]):
    """A trie node: token -> what follows it."""


class ChoiceConstraint:
    """A trie of the options' tokens. Where one option is the beginning of another, `end` decides between them."""

    def __init__(self, options: Sequence[Sequence[int]], end: int, vocabulary: int) -> None:
        self._node = _Node()
        self._end = end
        self._vocabulary = vocabulary
        self.longest: int | None = max(len(option) for option in options) + 1
        for option in options:
            node = self._node
            for token in option:
                node = node.setdefault(token, _Node())
            node[end] = _Node()

    @property
    def complete(self) -> bool:
        return not self._node or list(self._node) == [self._end]

    def allowed(self) -> Tensor:
        mask = torch.zeros(self._vocabulary, dtype=torch.bool)
        mask[list(self._node)] = True
        return mask

    def advance(self, token: int) -> None:
        self._node = self._node[token]


def compile_constraint(
    constraint: Constraint | None, tokenizer: Tokenizer, ends: frozenset[int]
) -> TokenConstraint | None:
    """The automaton of `constraint`; `ends` are the tokens that end an output.

    :raises UnsupportedConstraint: it cannot be honoured, or makes no sense.
    """
    if constraint is None:
        return None
    if not ends:
        raise UnsupportedConstraint("The model has no end token, which constraints need.")
    if isinstance(constraint, Choice):
        options = [tokenizer.encode(option) for option in constraint.options]
        if not options or not all(options):
            raise UnsupportedConstraint("A choice needs at least one option, and none of them empty.")
        return ChoiceConstraint(options, min(ends), tokenizer.vocab_size)
    if isinstance(constraint, JsonSchema):
        return GrammarConstraint(schema_grammar(constraint.schema), tokenizer.guide(ends), ends)
    return GrammarConstraint(gbnf_to_lark(constraint.gbnf), tokenizer.guide(ends), ends)
