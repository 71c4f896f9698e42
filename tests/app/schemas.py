"""The stable JSON shapes (schema 1) as JSON Schemas; `check` fails with the path of what differs."""

from typing import Any

import jsonschema

STRING, INTEGER, NUMBER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def maybe(shape: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [shape, {"type": "null"}]}


def obj(more: bool = False, /, **fields: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these fields, or at least these."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": more}


LOCATOR = obj(section=maybe(STRING), sheet=maybe(STRING), cells=maybe(STRING), slide=maybe(INTEGER))
PLACE = {
    "document": STRING,
    "path": STRING,
    "title": STRING,
    "page": maybe(INTEGER),
    "line": {"type": "integer", "minimum": 1},
    "start": {"type": "integer", "minimum": 0},
    "end": INTEGER,
    "locator": LOCATOR,
    "text_sha256": STRING,
}
CITATION = obj(
    **PLACE,
    n=INTEGER,
    answer_start=INTEGER,
    answer_end=INTEGER,
    quote=STRING,
    status={"enum": ["verified", "repaired", "misattributed", "not_found"]},
)
CITATION["properties"]["on_disk"] = {"enum": ["changed", "gone"]}  # where the file is not as it was read
_USED = ("system", "memories", "passages", "documents", "history", "question")
_TIMES = ("load", "recall", "retrieve", "prefill", "decode", "check", "total")
_ANSWER = {
    "schema": {"const": 1},
    "question": STRING,
    "standalone_question": STRING,
    "answer": STRING,
    "reasoning": maybe(STRING),
    "grounded": BOOLEAN,
    "abstained": BOOLEAN,
    "reason": maybe(STRING),
    "confidence": maybe(NUMBER),
    "citations": array(CITATION),
    "unsupported": array({"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}),
    "query": maybe(STRING),
    "memories": array(obj(id=INTEGER, text=STRING, score=NUMBER, cited=BOOLEAN)),
    "context": obj(
        window=INTEGER, used=obj(**dict.fromkeys(_USED, INTEGER)), left_out=array(obj(what=STRING, why=STRING))
    ),
    "scope": array(STRING),
    "library_epoch": INTEGER,
    "seed": INTEGER,
    "model": obj(
        reference=STRING,
        engine={"enum": ["torch", "llama", "remote"]},
        architecture=STRING,
        quantization=STRING,
        devices=array(STRING),
    ),
    "usage": obj(
        prompt_tokens=INTEGER, cached_tokens=INTEGER, completion_tokens=INTEGER, drafted=INTEGER, accepted=INTEGER
    ),
    "timing_ms": obj(**dict.fromkeys(_TIMES, NUMBER)),
    "session": maybe(INTEGER),
    "turn": maybe(INTEGER),
    "steps": array(obj(question=STRING, answer=maybe(STRING), citations=array(INTEGER))),
}
ASK = obj(**_ANSWER)
BATCH = {
    "anyOf": [
        obj(True, **_ANSWER, id={}, status={"enum": ["ok", "abstained"]}, error={"type": "null"}),
        obj(True, schema={"const": 1}, id={}, status={"const": "error"}, error=STRING, question={}),
    ]
}
SEARCH = array(obj(**PLACE, text=STRING, score=NUMBER, scores=obj(dense=maybe(NUMBER), lexical=maybe(NUMBER))))
_MEMORY = {
    "id": INTEGER,
    "text": STRING,
    "kind": {"enum": ["fact", "preference", "event", "instruction", "episode"]},
    "scope": STRING,
    "state": {"enum": ["active", "archived", "tombstone"]},
    "retention": maybe(NUMBER),
    "created": STRING,
    "last_used": maybe(STRING),
    "uses": INTEGER,
    "valid_from": STRING,
    "valid_to": maybe(STRING),
    "superseded_by": maybe(INTEGER),
    "source": obj(True, how=STRING),
}
MEMORIES = array(obj(True, **_MEMORY))
RECALLED = array(obj(True, **_MEMORY, score=NUMBER))
EVAL = obj(
    dataset=STRING,
    items=INTEGER,
    metrics={"type": "object", "additionalProperties": NUMBER},
    baselines={"type": "object", "additionalProperties": {"type": "object", "additionalProperties": NUMBER}},
    settings={"type": "object"},
    seconds=NUMBER,
)

PER_METRIC = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2},
}
CELL = obj(task=STRING, length=INTEGER, depth={"type": ["number", "null"]}, score=NUMBER, trials=INTEGER)
EVAL_CONTEXT = EVAL | {
    "properties": EVAL["properties"]
    | {
        "intervals": PER_METRIC,
        "skipped": {"type": "object", "additionalProperties": STRING},
        "cells": {"type": "array", "items": CELL},
    },
    "required": [*EVAL["required"], "intervals", "skipped", "cells"],
}


def check(data: Any, shape: dict[str, Any]) -> None:
    jsonschema.validate(data, shape)
