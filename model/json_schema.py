"""JSON Schema (2020-12) as a grammar of the JSON texts that satisfy it.

Sound, not complete: every text of the grammar satisfies the schema, but keys come in the schema's order and white
space is limited. A keyword that cannot be honoured is refused by name.
"""

import json
from typing import Any

from model.errors import UnsupportedConstraint
from model.grammar import Node, OneOf, Repeated, Rule, Sequential, all_but, characters, literal

_ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions",
        "deprecated", "readOnly", "writeOnly", "format",
    }
)  # fmt: skip
_MOST_INTEGERS = 1000
"""Integers between two bounds that are spelled out."""


def _optional(node: Node) -> Node:
    return Repeated(node, 0, 1)


_SPACE = _optional(OneOf((literal(" "), Sequential((literal("\n"), Repeated(literal(" "), 0, 24))))))
_DIGIT = characters("09")
_HEX = characters("09", "af", "AF")
# Surrogates come in pairs: alone they are no text.
_ESCAPED = OneOf((
    Sequential((literal("u"), characters("09", "ac", "AC", "ef", "EF"), _HEX, _HEX, _HEX)),
    Sequential((literal("u"), characters("d", "D"), characters("07"), _HEX, _HEX)),
    Sequential((literal("u"), characters("d", "D"), characters("89", "ab", "AB"), _HEX, _HEX, literal("\\u"),
                characters("d", "D"), characters("cf", "CF"), _HEX, _HEX)),
))  # fmt: skip
_CHARACTER = OneOf(
    (
        all_but(characters('"', "\\", "\x00\x1f", "\ud800\udfff")),
        Sequential((literal("\\"), OneOf((characters('"', "\\", "/", "b", "f", "n", "r", "t"), _ESCAPED)))),
    )
)
_POSITIVE = Sequential((characters("19"), Repeated(_DIGIT, 0, 15)))
_NATURAL = OneOf((literal("0"), _POSITIVE))
_INTEGER = OneOf((_NATURAL, Sequential((literal("-"), _POSITIVE))))
_FRACTION = _optional(Sequential((literal("."), Repeated(_DIGIT, 1, 15))))
_EXPONENT = _optional(Sequential((characters("e", "E"), _optional(characters("+", "-")), Repeated(_DIGIT, 1, 2))))
_MAGNITUDE = Sequential((_NATURAL, _FRACTION, _EXPONENT))
_NUMBER = Sequential((_optional(literal("-")), _MAGNITUDE))
_BOOLEAN = OneOf((literal("true"), literal("false")))
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def schema_grammar(text: str) -> Node:
    """The grammar of JSON that satisfies the schema in `text`.

    :raises UnsupportedConstraint: it is no JSON Schema, or uses a keyword that cannot be honoured.
    """
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise UnsupportedConstraint(f"The schema is not JSON: {error}.") from error
    return _Compiler(schema).value(schema)


class _Compiler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._rules: dict[str, Rule] = {}

    def value(self, schema: Any) -> Node:
        """The grammar of one value."""
        if schema is True or schema == {}:
            return self._anything()
        if not isinstance(schema, dict):
            raise UnsupportedConstraint(f"The schema {schema!r} cannot be honoured.")
        if "$ref" in schema:
            self._only(schema, "$ref")
            return self._reference(schema["$ref"])
        if "const" in schema:
            self._only(schema, "const", "type")
            return self._one_of([schema["const"]], schema)
        if "enum" in schema:
            self._only(schema, "enum", "type")
            return self._one_of(schema["enum"], schema)
        for keyword in ("anyOf", "allOf"):
            if keyword in schema:
                self._only(schema, keyword)
                parts = schema[keyword]
                if not isinstance(parts, list) or not parts or (keyword == "allOf" and len(parts) > 1):
                    raise _refused(keyword, parts)
                return OneOf(tuple(self.value(part) for part in parts))
        kinds = schema.get("type", self._implied(schema))
        if isinstance(kinds, list):
            return OneOf(tuple(self._typed(kind, _for_type(schema, kind)) for kind in kinds))
        return self._typed(kinds, schema)

    def _only(self, schema: dict[str, Any], *allowed: str) -> None:
        for keyword in schema:
            if keyword not in allowed and keyword not in _ANNOTATIONS:
                raise _refused(keyword, schema[keyword])

    def _implied(self, schema: dict[str, Any]) -> str | list[str]:
        for kind, keywords in _KEYWORDS.items():
            if keywords & schema.keys():
                return kind
        return [kind for kind in _TYPES if kind != "integer"]  # numbers include them

    def _typed(self, kind: str, schema: dict[str, Any]) -> Node:
        if kind not in _TYPES:
            raise _refused("type", kind)
        self._only(schema, "type", *_KEYWORDS.get(kind, ()))
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return _string(schema.get("minLength", 0), schema.get("maxLength"))
        if kind in ("integer", "number"):
            return _bounded(kind, schema)
        return _BOOLEAN if kind == "boolean" else literal("null")

    def _one_of(self, values: list[Any], schema: dict[str, Any]) -> Node:
        kinds = schema.get("type")
        kinds = [kinds] if isinstance(kinds, str) else kinds
        kept = [value for value in values if kinds is None or any(_is_a(value, kind) for kind in kinds)]
        if not kept:
            raise UnsupportedConstraint("The schema allows no value: " + json.dumps(values) + ".")
        return OneOf(tuple(literal(json.dumps(value, ensure_ascii=False)) for value in kept))

    def _reference(self, target: str) -> Node:
        if target in self._rules:
            return self._rules[target]
        found = self._root
        if not target.startswith("#"):
            raise _refused("$ref", target)
        for part in [part for part in target[1:].split("/") if part]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or part not in found:
                raise UnsupportedConstraint(f"The schema refers to {target!r}, which it does not define.")
            found = found[part]
        rule = self._rules[target] = Rule(target)
        rule.body = self.value(found)
        return rule

    def _anything(self) -> Node:
        if "" not in self._rules:
            rule = self._rules[""] = Rule("anything")
            rule.body = OneOf(
                (
                    _object_of([], Sequential((_string(0, None), literal(":"), _SPACE, rule))),
                    _array_of(rule, 0, None),
                    _string(0, None),
                    _NUMBER,
                    _BOOLEAN,
                    literal("null"),
                )
            )
        return self._rules[""]

    def _object(self, schema: dict[str, Any]) -> Node:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        others = schema.get("additionalProperties", True)
        known = dict(properties)
        for name in required:
            if name not in known and others is False:
                raise UnsupportedConstraint(f"The schema requires the property {name!r} and forbids it.")
            known.setdefault(name, others)
        pairs: list[tuple[Node, bool]] = [
            (Sequential((literal(json.dumps(name, ensure_ascii=False)), literal(":"), _SPACE, self.value(one))),
             name in required)
            for name, one in known.items()
        ]  # fmt: skip
        # Free keys could repeat a declared one, so they come only where none is declared.
        free = None
        if not known and others is not False:
            free = Sequential((_string(0, None), literal(":"), _SPACE, self.value(others)))
        return _object_of(pairs, free)

    def _array(self, schema: dict[str, Any]) -> Node:
        return _array_of(self.value(schema.get("items", True)), schema.get("minItems", 0), schema.get("maxItems"))


_KEYWORDS: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum"}),
    "number": frozenset({"minimum"}),
}


def _refused(keyword: str, value: Any) -> UnsupportedConstraint:
    return UnsupportedConstraint(f"The schema's {keyword} = {json.dumps(value)[:80]} cannot be honoured here.")


def _for_type(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    """Without the keywords that speak of other types only."""
    about_others = frozenset().union(*_KEYWORDS.values()) - _KEYWORDS.get(kind, frozenset())
    return {keyword: value for keyword, value in schema.items() if keyword not in about_others}


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    types: dict[str, Any] = {
        "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "null": type(None),
    }  # fmt: skip
    return kind in types and isinstance(value, types[kind])


def _string(least: int, most: int | None) -> Node:
    return Sequential((literal('"'), Repeated(_CHARACTER, least, most), literal('"')))


def _bounded(kind: str, schema: dict[str, Any]) -> Node:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return _INTEGER if kind == "integer" else _NUMBER
    if kind == "number":
        if low == 0:
            return _MAGNITUDE
        raise _refused("minimum", low)
    if high is None and low in (0, 1):
        return _NATURAL if low == 0 else _POSITIVE
    if not (isinstance(low, int) and isinstance(high, int) and 0 <= high - low < _MOST_INTEGERS):
        raise _refused("minimum and maximum", [low, high])
    return OneOf(tuple(literal(str(number)) for number in range(low, high + 1)))


def _object_of(pairs: list[tuple[Node, bool]], free: Node | None) -> Node:
    """Members in order, each required or not, then any number of free ones."""
    comma = Sequential((literal(","), _SPACE))
    end: Node = Sequential(())
    first, later = end, end
    if free is not None:
        later = Repeated(Sequential((comma, free)))
        first = _optional(Sequential((free, later)))
    for pair, required in reversed(pairs):
        with_pair = Sequential((pair, later))
        after_comma = Sequential((comma, pair, later))
        first = with_pair if required else OneOf((with_pair, first))
        later = after_comma if required else OneOf((after_comma, later))
    return Sequential((literal("{"), _SPACE, first, _SPACE, literal("}")))


def _array_of(item: Node, least: int, most: int | None) -> Node:
    if most == 0:
        return literal("[]")
    rest = Repeated(Sequential((literal(","), _SPACE, item)), max(least - 1, 0), None if most is None else most - 1)
    items: Node = Sequential((item, rest))
    return Sequential((literal("["), _SPACE, items if least else _optional(items), _SPACE, literal("]")))
