"""JSON Schema as a grammar of the JSON texts that satisfy it, for llguidance.

Sound, not complete: every text of the grammar satisfies the schema, but keys come in the schema's order and white space
is limited. A keyword that cannot be honoured is refused by name; one that JSON Schema does not know says nothing.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from model.errors import UnsupportedConstraint

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

_WHITE_SPACE = r" |\n {0,24}"
"""Between two symbols; unlimited, a model that is unsure of what comes next would write nothing else."""
_ESCAPES = '"\\bfnrt'


def schema_grammar(text: str) -> str:
    """The grammar of JSON that satisfies the schema in `text`.

    :raises UnsupportedConstraint: it is no JSON Schema. What llguidance refuses is found by its `LLMatcher`.
    """
    from llguidance import LLMatcher

    try:
        schema = json.loads(text)
        parts = list(_parts(schema))
    except RecursionError:
        raise UnsupportedConstraint("The schema is nested too deeply.") from None
    except ValueError as error:
        raise UnsupportedConstraint(f"The schema is not JSON: {error}.") from error
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise UnsupportedConstraint(f"The schema {schema!r} cannot be honoured.")
    for part in parts:
        _refuse_counting(part)
    if any(_is_mixed(part) for part in parts):
        # llguidance tells declared from free keys by their spelling, so "\u0061" would pass for another key than "a".
        escapes: JsonCompileOptions = {"json_allowed_escapes": _ESCAPES}
    else:
        escapes = {"json_allow_general_unicode_escapes": True}
    # Leniency is ruled out, since the schema itself could ask for it (x-guidance).
    fixed: JsonCompileOptions = {"whitespace_pattern": _WHITE_SPACE, "lenient": False, "coerce_one_of": False}
    try:
        return LLMatcher.grammar_from_json_schema(schema, overrides={**fixed, **escapes})
    except ValueError as error:  # integers beyond 64 bits, halves of surrogate pairs
        raise UnsupportedConstraint(f"The schema cannot be honoured: {error}.") from error


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within, subschemas and others alike."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _parts(one)


def _is_mixed(schema: dict[str, Any]) -> bool:
    """Whether objects may hold declared keys and others."""
    declares = "properties" in schema or "patternProperties" in schema
    return declares and schema.get("additionalProperties") is not False


def _refuse_counting(schema: dict[str, Any]) -> None:
    """A free key can be written twice, which counts as one property."""
    least, required = schema.get("minProperties"), schema.get("required")
    if isinstance(least, int) and least > max(len(required) if isinstance(required, list) else 0, 1):
        raise UnsupportedConstraint(f"The schema's minProperties = {least} cannot be honoured: keys could repeat.")
