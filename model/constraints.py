"""Constraints as automata over token ids: which tokens may come next. Knows nothing about logits."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from model.engine import Choice, Constraint
from model.errors import UnsupportedConstraint


class TokenConstraint(Protocol):
    """What may come next in an output that grows token by token."""

    @property
    def complete(self) -> bool:
        """Whether nothing may come any more."""
        ...

    @property
    def longest(self) -> int:
        """Tokens that an output takes at most."""
        ...

    def allowed(self) -> Tensor:
        """int64 ids of the tokens that may come; the end token among them where the output may end."""
        ...

    def advance(self, token: int) -> None: ...


class _Node(dict[int, "_Node"]):
    """A trie node: token -> what follows it."""


class ChoiceConstraint:
    """A trie of the options' tokens. Where one option is the beginning of another, `end` decides between them."""

    def __init__(self, options: Sequence[Sequence[int]], end: int) -> None:
        self._node = _Node()
        self._end = end
        self.longest = max(len(option) for option in options) + 1
        for option in options:
            node = self._node
            for token in option:
                node = node.setdefault(token, _Node())
            node[end] = _Node()

    @property
    def complete(self) -> bool:
        return not self._node or list(self._node) == [self._end]

    def allowed(self) -> Tensor:
        return torch.tensor(sorted(self._node), dtype=torch.int64)

    def advance(self, token: int) -> None:
        self._node = self._node[token]


def compile_constraint(
    constraint: Constraint | None, encode: Callable[[str], list[int]], end: int | None
) -> TokenConstraint | None:
    """The automaton of `constraint`; `end` is the token that ends an output.

    :raises UnsupportedConstraint: a kind that is not honoured here, a choice without options, or no end token.
    """
    if constraint is None:
        return None
    if not isinstance(constraint, Choice):
        raise UnsupportedConstraint(
            f"The torch engine honours no {type(constraint).__name__} constraints.",
            "Use a GGUF model or a server for structured output.",
        )
    options = [encode(option) for option in constraint.options]
    if not options or not all(options):
        raise UnsupportedConstraint("A choice needs at least one option, and none of them empty.")
    if end is None:
        raise UnsupportedConstraint("The model has no end token, which choices need.")
    return ChoiceConstraint(options, end)
