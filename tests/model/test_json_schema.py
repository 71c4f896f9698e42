"""Constrained output satisfies its JSON Schema, whatever the model would rather say."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import Delta, Finished, JsonSchema, Request, Sampling
from model.errors import UnsupportedConstraint
from model.grammar import State, advance, start
from model.json_schema import schema_grammar
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b", 3, None]}, "maxItems": 2},
        "friend": {"anyOf": [{"$ref": "#/$defs/short"}, {"type": "null"}]},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
    "$defs": {"short": {"const": "né"}},
}


def fits(schema: Any, text: str) -> bool:
    state: State | None = start(schema_grammar(json.dumps(schema)))
    for byte in text.encode():
        state = advance(state, bytes([byte]))
        if state is None:
            return False
    return state.may_end


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (PERSON, ['{"name": "Zoë", "tags": []}', '{"name":"x","age":120,"tags":["a",3],"friend": "né"}',
                  '{"name": "\\u00e9\\n", "tags": [null]}'],
         ['{"name": "x"}', '{"tags": [], "name": "x"}', '{"name": "longer than", "tags": []}',
          '{"name": "x", "age": 121, "tags": []}', '{"name": "x", "tags": ["a","b","a"]}',
          '{"name": "x", "tags": [],}']),
        ({"type": "number"}, ["0", "-1.5e-7", "10"], ["01", "+1", ".5", "1.", "NaN"]),
        ({"type": "integer", "minimum": 1}, ["1", "42"], ["0", "-1", "1.0"]),
        ({"type": ["string", "null"], "minLength": 2}, ['"ab"', "null"], ['"a"', "1"]),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}, ["[true]", "[true, false]"],
         ["[]", "[true,true,true]", "[1]"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", '{"a": 1, "b": 2}'], ['{"a": "1"}']),
        ({"type": "object", "required": ["x"]}, ['{"x": [1, {"y": null}]}'], ["{}"]),
        ({}, ['{"a": [1, "b", {"c": true}]}', '"s"', "-0.5"], ["{a: 1}", "'s'", "[1,]"]),
        ({"type": "string"}, ['"\\ud7ff🙂"', '""'], ['"\\ud800"', '"\n"', '"\\x"']),
        ({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
            "left": {"$ref": "#/$defs/tree"}}, "additionalProperties": False}}},
         ["{}", '{"left": {"left": {}}}'], ['{"right": {}}']),
    ],
)  # fmt: skip
def test_what_a_schema_allows(schema: Any, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert fits(schema, text), text
        jsonschema.validate(json.loads(text), schema)
    for text in bad:
        assert not fits(schema, text), text


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                    max_leaves=6))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_json_value_is_allowed_where_the_schema_allows_any(value: Any) -> None:
    assert fits({}, json.dumps(value))
    assert fits({}, json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "string", "pattern": "a"}, "pattern"),
        ({"type": "number", "maximum": 5}, "maximum"),
        ({"oneOf": [{}]}, "oneOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"enum": [1], "type": "string"}, "no value"),
        ({"type": "object", "required": ["x"], "additionalProperties": False}, "x"),
        (False, "False"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(schema: Any, named: str) -> None:
    with pytest.raises(UnsupportedConstraint, match=named):
        schema_grammar(json.dumps(schema))


def test_a_schema_that_is_not_json_is_refused() -> None:
    with pytest.raises(UnsupportedConstraint, match="not JSON"):
        schema_grammar("{")


def test_bytes_that_are_no_text_are_refused() -> None:
    state = start(schema_grammar('{"type": "string"}'))
    inside = advance(state, b'"')
    assert inside is not None
    for broken in (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5"):
        assert advance(inside, broken) is None, broken
    half = advance(inside, b"\xf0\x9f")
    assert half is not None and not half.may_end
    assert advance(half, b'\x99\x82"') is not None


def test_a_random_model_writes_json_that_satisfies_the_schema(checkpoint: Path) -> None:
    engine = TorchEngine(checkpoint, ModelSettings())
    finished = 0
    for seed in range(4):
        request = Request("Person:", Sampling(1.0, seed=seed, max_tokens=160), JsonSchema(json.dumps(PERSON)))
        events = list(engine.generate(request))
        last = events[-1]
        assert isinstance(last, Finished)
        if last.reason == "stop":
            finished += 1
            text = "".join(event.text for event in events if isinstance(event, Delta))
            jsonschema.validate(json.loads(text), PERSON)
    assert finished >= 2
