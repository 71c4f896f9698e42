"""Grammars over characters, and their form for llguidance (its Lark dialect). Knows nothing about GBNF or tokens.

llguidance reads terminals greedily, as programming languages do: after a terminal `[a-z]+` no "b" can follow. A grammar
over characters means every split of the text. So a grammar without recursion becomes a single terminal, which is one
regular expression, and one with recursion gets terminals of one character each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model.errors import UnsupportedConstraint


@dataclass(frozen=True)
class Characters:
    """One character out of ranges of code points, both ends included; or, negated, any other."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True)
class Sequential:
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class OneOf:
    options: tuple["Node", ...]


@dataclass(frozen=True)
class Repeated:
    """`part` from `least` to `most` times; None means any number."""

    part: "Node"
    least: int
    most: int | None


@dataclass(frozen=True)
class Reference:
    """What the rule of this name stands for."""

    rule: str


Node = Characters | Sequential | OneOf | Repeated | Reference


def to_lark(rules: Mapping[str, Node], root: str) -> str:
    """The grammar of what the rule `root` stands for; every rule that is referred to is there.

    :raises UnsupportedConstraint: no text, however long, is a sentence of it.
    """
    reached = _reached(rules, root)
    if root not in _productive({name: rules[name] for name in reached}):
        raise UnsupportedConstraint(f"No text satisfies the grammar: its rule {root} always needs itself once more.")
    # Upper case makes a terminal.
    recursive = any(name in _reached(rules, other) for name in reached for other in _references(rules[name]))
    names = {name: f"{'r' if recursive else 'R'}{number}" for number, name in enumerate(reached)}
    lines = [f"{names[name]}: {_written(rules[name], names)}" for name in reached]
    return "\n".join([f"start: {names[root]}", *lines])


def _written(node: Node, names: Mapping[str, str]) -> str:
    match node:
        case Characters(ranges, negated):
            inside = "".join(rf"\u{{{low:x}}}-\u{{{high:x}}}" for low, high in ranges)
            return f"/[{'^' if negated else ''}{inside}]/" if inside else r"/(?s:.)/"
        case Sequential(parts):
            return " ".join(_written(part, names) for part in parts) or '""'
        case OneOf(options):
            return "(" + " | ".join(_written(option, names) for option in options) + ")"
        case Repeated(part, least, most):
            if most == 0:
                return '""'
            return f"({_written(part, names)}){{{least},{'' if most is None else most}}}"
        case Reference(rule):
            return names[rule]


def _references(node: Node) -> Iterator[str]:
    match node:
        case Reference(rule):
            yield rule
        case Sequential(nodes) | OneOf(nodes):
            for one in nodes:
                yield from _references(one)
        case Repeated(part):
            yield from _references(part)


def _reached(rules: Mapping[str, Node], root: str) -> list[str]:
    """Names of the rules that `root` needs, itself first."""
    found = [root]
    for name in found:
        found += [other for other in dict.fromkeys(_references(rules[name])) if other not in found]
    return found


def _productive(rules: Mapping[str, Node]) -> set[str]:
    """Names of the rules that stand for at least one text."""
    found: set[str] = set()

    def yields(node: Node) -> bool:
        match node:
            case Characters():
                return True
            case Sequential(parts):
                return all(yields(part) for part in parts)
            case OneOf(options):
                return any(yields(option) for option in options)
            case Repeated(part, least):
                return least == 0 or yields(part)
            case Reference(rule):
                return rule in found

    while more := {name for name, node in rules.items() if name not in found and yields(node)}:
        found |= more
    return found
