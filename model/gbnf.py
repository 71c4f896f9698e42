"""GBNF, the grammar notation of llama.cpp, read into rules. Entry is the rule `root`."""

import json
from collections.abc import Iterable

from model.errors import UnsupportedConstraint
from model.lark import Characters, Node, OneOf, Reference, Repeated, Sequential, to_lark

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_ANY = Characters((), negated=True)
_ROOT = "root"


def choice_to_gbnf(options: Iterable[str]) -> str:
    """The grammar whose sentences are `options`."""
    # Its literals take JSON's escapes.
    return f"{_ROOT} ::= " + " | ".join(json.dumps(option, ensure_ascii=False) for option in options)


def gbnf_to_lark(text: str) -> str:
    """The grammar that `text` describes, in the form that llguidance reads.

    :raises UnsupportedConstraint: a syntax error, with its line; a missing rule; or a grammar without a sentence.
    """
    try:
        return to_lark(_Parser(text).rules(), _ROOT)
    except RecursionError:
        raise UnsupportedConstraint("The grammar is nested too deeply.") from None


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._rules: dict[str, Node] = {}
        self._needed = {_ROOT: None}  # names of rules, in the order in which they come up

    def rules(self) -> dict[str, Node]:
        self._space(lines=True)
        while self._at < len(self._text):
            name = self._name()
            self._space()
            self._expect("::=")
            self._space(lines=True)
            if name in self._rules:
                raise self._error(f"rule {name} is defined twice")
            self._rules[name] = self._alternatives(nested=False)
            self._space(lines=True)
        if missing := [name for name in self._needed if name not in self._rules]:
            raise UnsupportedConstraint(f"The grammar does not define {', '.join(missing)}.")
        return self._rules

    def _alternatives(self, nested: bool) -> Node:
        options = [self._sequence(nested)]
        while self._peek("|"):
            self._at += 1
            self._space(lines=True)
            options.append(self._sequence(nested))
        return options[0] if len(options) == 1 else OneOf(tuple(options))

    def _sequence(self, nested: bool) -> Node:
        parts: list[Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)\n\r":
            parts += self._item()
            self._space(lines=nested)
        return Sequential(tuple(parts))

    def _item(self) -> list[Node]:
        character = self._text[self._at]
        if character == '"':
            nodes = self._literal()
        elif character == "[":
            nodes = [self._class()]
        elif character == ".":
            self._at += 1
            nodes = [_ANY]
        elif character == "(":
            self._at += 1
            self._space(lines=True)
            nodes = [self._alternatives(nested=True)]
            self._space(lines=True)
            self._expect(")")
        else:
            name = self._name()
            self._needed[name] = None
            nodes = [Reference(name)]
        # A repetition mark after a literal repeats all of it.
        while self._at < len(self._text) and self._text[self._at] in "*+?{":
            nodes = [self._repeated(nodes[0] if len(nodes) == 1 else Sequential(tuple(nodes)))]
        return nodes

    def _repeated(self, node: Node) -> Node:
        mark = self._text[self._at]
        self._at += 1
        if mark != "{":
            return Repeated(node, int(mark == "+"), 1 if mark == "?" else None)
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at : end].replace(" ", "").partition(",")
        if end < 0 or not least.isdecimal() or not (most.isdecimal() or not most):
            raise self._error("a repetition is not of the form {m}, {m,} or {m,n}")
        self._at = end + 1
        if most and int(most) < int(least):
            raise self._error(f"a repetition of at least {least} and at most {most} is none")
        return Repeated(node, int(least), int(most) if most else None if comma else int(least))

    def _literal(self) -> list[Node]:
        self._at += 1
        nodes: list[Node] = []
        while not self._peek('"'):
            code = self._character()
            nodes.append(Characters(((code, code),)))
        self._at += 1
        return nodes

    def _class(self) -> Node:
        self._at += 1
        negated = self._peek("^")
        self._at += negated
        ranges = []
        while not self._peek("]"):
            low = high = self._character()
            if self._peek("-") and not self._text.startswith("-]", self._at):
                self._at += 1
                high = self._character()
                if high < low:
                    raise self._error("a range of a class goes backwards")
            ranges.append((low, high))
        self._at += 1
        if not ranges and not negated:
            raise self._error("a class is empty")
        return Characters(tuple(ranges), negated)

    def _character(self) -> int:
        if self._at >= len(self._text) or self._text[self._at] in "\r\n":
            raise self._error("a literal or class is not closed")
        character = self._text[self._at]
        self._at += 1
        if character != "\\":
            return ord(character)
        kind = self._text[self._at : self._at + 1]
        self._at += 1
        if kind in _HEX_DIGITS:
            digits = self._text[self._at : self._at + _HEX_DIGITS[kind]]
            self._at += len(digits)
            try:
                return ord(chr(int(digits, 16)))
            except (ValueError, OverflowError):
                raise self._error(f"\\{kind}{digits} is no character") from None
        if kind and kind in 'nrt\\"[]-^':
            return ord(_ESCAPES.get(kind, kind))
        raise self._error(f"unknown escape \\{kind}")

    def _name(self) -> str:
        start = self._at
        while self._at < len(self._text) and (self._text[self._at].isalnum() or self._text[self._at] in "-_"):
            self._at += 1
        if start == self._at:
            raise self._error("a rule name is missing")
        return self._text[start : self._at]

    def _space(self, lines: bool = False) -> None:
        """Pass over blanks and comments, and over line ends where a rule goes on beyond them."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in (" \t\r\n" if lines else " \t"):
                self._at += 1
            else:
                return

    def _peek(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _expect(self, mark: str) -> None:
        if not self._peek(mark):
            raise self._error(f"{mark} is missing")
        self._at += len(mark)

    def _error(self, what: str) -> UnsupportedConstraint:
        line = self._text.count("\n", 0, self._at) + 1
        return UnsupportedConstraint(f"The grammar is broken in line {line}: {what}.")
