"""Context-free grammars over characters, matched one token at a time. Knows nothing about JSON or models.

A state is a set of stacks, each a linked list of what must still come: (node, rest), or () where the output may end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import torch
from torch import Tensor

Node = Union["Characters", "Sequential", "OneOf", "Repeated", "Rule"]
Stack = tuple[Any, ...]
_Rest = tuple[Any, ...]
# Both are (node, rest) or (): mypy knows no recursive tuple that is also empty. A stack's node is of characters.

_LAST = 0x10FFFF


@dataclass(frozen=True, eq=False)
class Characters:
    """One character out of ranges of code points, both ends included."""

    ranges: tuple[tuple[int, int], ...]

    def meets(self, first: int, last: int) -> bool:
        """Whether some code point from `first` to `last` belongs."""
        return any(low <= last and first <= high for low, high in self.ranges)


@dataclass(frozen=True, eq=False)
class Sequential:
    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class OneOf:
    options: tuple[Node, ...]


@dataclass(eq=False)
class Repeated:
    """`part` from `least` to `most` times; None means any number."""

    part: Node
    least: int = 0
    most: int | None = None
    _after: "Repeated | None" = field(default=None, init=False)

    def after_one(self) -> "Repeated":
        """What may follow once `part` has come; always the same object, so that equal stacks compare equal."""
        if self.least == 0 and self.most is None:
            return self
        if self._after is None:
            most = None if self.most is None else self.most - 1
            self._after = Repeated(self.part, max(self.least - 1, 0), most)
        return self._after


@dataclass(eq=False)
class Rule:
    """A name for a node that is filled in later, so that grammars can be recursive."""

    name: str
    body: Node | None = None


def literal(text: str) -> Node:
    return Sequential(tuple(Characters(((ord(character), ord(character)),)) for character in text))


def characters(*ranges: str) -> Characters:
    """`characters("az", "_")`: a to z, and the underscore."""
    return Characters(tuple((ord(one[0]), ord(one[-1])) for one in ranges))


def all_but(excluded: Characters) -> Characters:
    ranges, start = [], 0
    for low, high in sorted(excluded.ranges):
        if low > start:
            ranges.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        ranges.append((start, _LAST))
    return Characters(tuple(ranges))


def _open(node: Node, rest: _Rest, found: set[Stack], seen: set[_Rest]) -> None:
    """Add to `found` every stack, with characters on top, that stands for `node` followed by `rest`."""
    pending = [(node, rest)]
    while pending:
        item = pending.pop()
        if item in seen:
            continue
        seen.add(item)
        node, rest = item
        if isinstance(node, Characters):
            found.add((node, rest))
        elif isinstance(node, OneOf):
            pending += [(option, rest) for option in node.options]
        elif isinstance(node, Repeated):
            if node.most != 0:
                pending.append((node.part, (node.after_one(), rest)))
            if node.least == 0:
                _follow(rest, pending, found)
        elif isinstance(node, Rule):
            assert node.body is not None, node.name
            pending.append((node.body, rest))
        else:
            for part in reversed(node.parts):
                rest = (part, rest)
            _follow(rest, pending, found)


def _follow(rest: _Rest, pending: list[tuple[Node, _Rest]], found: set[Stack]) -> None:
    if rest:
        pending.append(rest)
    else:
        found.add(())


@dataclass(frozen=True, slots=True)
class State:
    """What may come next; `partial` are the first bytes of a character that is not complete."""

    stacks: frozenset[Stack]
    partial: bytes = b""

    @property
    def may_end(self) -> bool:
        return () in self.stacks and not self.partial

    @property
    def must_end(self) -> bool:
        return self.stacks == {()} and not self.partial


def start(grammar: Node) -> State:
    found: set[Stack] = set()
    _open(grammar, (), found, set())
    return State(frozenset(found))


def advance(state: State, data: bytes) -> State | None:
    """The state after `data` in UTF-8, or None where the grammar does not allow it."""
    stacks = state.stacks
    data = state.partial + data
    position = 0
    while position < len(data):
        span = _completions(data[position : position + 4])
        if span is None:
            return None
        size, first, last = span
        if size > len(data) - position:  # an incomplete character: some completion must be allowed
            kept = frozenset(stack for stack in stacks if stack and stack[0].meets(first, last))
            return State(kept, data[position:]) if kept else None
        found: set[Stack] = set()
        seen: set[_Rest] = set()
        for stack in stacks:
            if stack and stack[0].meets(first, first):
                rest = stack[1]
                if rest:
                    _open(rest[0], rest[1], found, seen)
                else:
                    found.add(())
        if not found:
            return None
        stacks = frozenset(found)
        position += size
    return State(stacks)


_WIDTHS = ((0x00, 0x7F, 1, 0x7F), (0xC2, 0xDF, 2, 0x1F), (0xE0, 0xEF, 3, 0x0F), (0xF0, 0xF4, 4, 0x07))
_SMALLEST = (0, 0, 0x80, 0x800, 0x10000)


def _completions(head: bytes) -> tuple[int, int, int] | None:
    """Size of the character that `head` begins with, and the first and last code point it can turn out to be."""
    found = [(size, bits) for low, high, size, bits in _WIDTHS if low <= head[0] <= high]
    if not found:
        return None
    size, bits = found[0]
    value = head[0] & bits
    given = head[1:size]
    for byte in given:
        if not 0x80 <= byte <= 0xBF:
            return None
        value = value << 6 | byte & 0x3F
    missing = 6 * (size - 1 - len(given))
    first = max(value << missing, _SMALLEST[size])
    last = min((value << missing) + (1 << missing) - 1, _LAST)
    if first > last or (first >= 0xD800 and last <= 0xDFFF):
        return None
    return size, first, last


class GrammarConstraint:
    """A grammar as a `TokenConstraint`: a token may come where its bytes do."""

    longest: int | None = None

    def __init__(self, grammar: Node, token_bytes: Sequence[bytes], ends: frozenset[int]) -> None:
        self._state = start(grammar)
        self._bytes = token_bytes
        self._ends = ends

    @property
    def complete(self) -> bool:
        return self._state.must_end

    def allowed(self) -> Tensor:
        return torch.tensor([self.accepts(token) for token in range(len(self._bytes))])

    def accepts(self, token: int) -> bool:
        if token in self._ends:
            return self._state.may_end
        data = self._bytes[token]
        return bool(data) and advance(self._state, data) is not None

    def advance(self, token: int) -> None:
        if token not in self._ends:
            following = advance(self._state, self._bytes[token])
            if following is None:
                raise ValueError(f"token {token} is not allowed here")
            self._state = following
