"""Constrained output satisfies its JSON Schema, whatever the model would rather say."""

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.convert_slow_tokenizer import bytes_to_unicode

from model.constraints import TokenConstraint, compile_constraint
from model.engine import Delta, Finished, JsonSchema, Request, Sampling
from model.errors import UnsupportedConstraint
from model.settings import ModelSettings
from model.tokenizer import Tokenizer
from model.torch_engine import TorchEngine
from tests.model.conftest import Fits

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
        ({"type": "string", "pattern": "^a+$"}, ['"aa"'], ['""', '"ab"']),
        ({"type": "number", "maximum": 5}, ["5", "-7.25", "4.99"], ["5.01", "6", "1e9"]),
        ({"type": "object", "properties": {"a": {"type": "null"}}}, ['{"b": 1}', '{"a": null}'],
         ['{"a": 1}', '{"\\u0061": 1}', '{"a": null, "a": 1}']),
        ({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
            "left": {"$ref": "#/$defs/tree"}}, "additionalProperties": False}}},
         ["{}", '{"left": {"left": {}}}'], ['{"right": {}}']),
    ],
)  # fmt: skip
def test_what_a_schema_allows(fits: Fits, schema: Any, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert fits(JsonSchema(json.dumps(schema)), text), text
        jsonschema.validate(json.loads(text), schema)
    for text in bad:
        assert not fits(JsonSchema(json.dumps(schema)), text), text


# All but DEL, which llguidance does not let stand in a string as it is.
WORDS = st.text(st.characters(exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=5)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**15), 10**15) | WORDS,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
                    max_leaves=6))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_json_value_is_allowed_where_the_schema_allows_any(fits: Fits, value: Any) -> None:
    assert fits(JsonSchema("{}"), json.dumps(value))
    assert fits(JsonSchema("{}"), json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"oneOf": [{"type": "string"}, {"minLength": 2}]}, "oneOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "not"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"$ref": "https://example.org/schema"}, "example.org"),
        ({"enum": [1], "type": "string"}, "Unsatisfiable"),
        ({"type": "object", "required": ["x"], "additionalProperties": False}, "x"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"patternProperties": {"^a": {"type": "null"}, "b$": {"type": "integer"}}}, "disjoint"),
        ({"uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
        (False, "False"),
        ([], "cannot be honoured"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fits: Fits, schema: Any, named: str) -> None:
    with pytest.raises(UnsupportedConstraint, match=named):
        fits(JsonSchema(json.dumps(schema)), "")


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ("[" * 100_000, "deeply"),
        ('{"not":' * 500 + "{}" + "}" * 500, "deep|recursion"),
        ('{"const": "\\ud800"}', "cannot be honoured"),
        ('{"minimum": 1' + "0" * 40 + "}", "cannot be honoured"),
    ],
)
def test_what_no_parser_can_take_is_refused(fits: Fits, schema: str, named: str) -> None:
    with pytest.raises(UnsupportedConstraint, match=named):
        fits(JsonSchema(schema), "")


def test_a_schema_that_is_not_json_is_refused(fits: Fits) -> None:
    with pytest.raises(UnsupportedConstraint, match="not JSON"):
        fits(JsonSchema("{"), "")


def after(tokenizer: Tokenizer, schema: str, data: bytes) -> TokenConstraint | None:
    """The constraint after the single bytes `data`, None where it does not allow them."""
    state = compile_constraint(JsonSchema(schema), tokenizer, frozenset({1}))
    assert state is not None
    # Without merges, the ids of the bytes follow their characters in the order of Unicode.
    order = sorted(range(256), key=lambda byte: bytes_to_unicode()[byte])
    for byte in data:
        token = 6 + order.index(byte)
        if not state.allowed()[token]:
            return None
        state.advance(token)
    return state


def test_bytes_that_are_no_text_are_refused(byte_tokenizer: Tokenizer) -> None:
    schema = '{"type": "string"}'
    for broken in (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5"):
        assert after(byte_tokenizer, schema, b'"' + broken) is None, broken
    half = after(byte_tokenizer, schema, b'"\xf0\x9f')
    assert half is not None and not half.allowed()[1]
    assert after(byte_tokenizer, schema, b'"\xf0\x9f\x99\x82"') is not None


WIDE: list[dict[str, Any]] = [
    PERSON,
    {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "null"}},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    {"type": "object", "properties": {"é": {"type": "string", "pattern": "^[a-c]+$"}}, "required": ["é", "x"]},
    {"type": "array", "prefixItems": [{"type": "boolean"}], "items": {"type": "number", "maximum": 5}, "maxItems": 3},
    {"allOf": [{"type": "number", "minimum": -2.5}, {"exclusiveMaximum": 100}, {"multipleOf": 5}]},
    {"type": ["string", "object"], "minLength": 2, "maxLength": 4, "minProperties": 1},
    {"enum": [1.5, "né", None, [True, {"a": "x"}]]},
    {},
]


@pytest.mark.parametrize("schema", WIDE)
def test_whatever_a_walk_through_the_masks_writes_satisfies_the_schema(
    byte_tokenizer: Tokenizer, schema: dict[str, Any]
) -> None:
    closing = byte_tokenizer.encode('"}]0,a:')
    written = 0
    for seed in range(12):
        draw = random.Random(seed)
        state = compile_constraint(JsonSchema(json.dumps(schema)), byte_tokenizer, frozenset({1}))
        assert state is not None
        tokens: list[int] = []
        while len(tokens) < 200:
            allowed = state.allowed().nonzero()[:, 0].tolist()
            likely = [token for token in closing if token in allowed]
            if 1 in allowed and (len(allowed) == 1 or draw.random() < 0.5):
                jsonschema.validate(json.loads(byte_tokenizer.decode(tokens)), schema)
                written += 1
                break
            if likely and draw.random() < (0.5 if len(tokens) < 40 else 1):
                allowed = likely
            tokens.append(draw.choice([token for token in allowed if token != 1]))
            state.advance(tokens[-1])
    assert written >= 8


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
