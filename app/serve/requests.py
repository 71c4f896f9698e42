"""A chat completion request as a question to the assistant.

Fields: those of OpenAI's API that the assistant has a use for, and `loci`, an object of its own: `collections` (names),
`library`, `memory`, `store` (booleans), `documents` (ids to read whole). What is asked for and not done is either
refused, where the answer would not be what was asked for, or named in the answer's `loci.ignored`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.answer import Ask
from app.errors import BadInput
from app.places import without_citation_lines

MODEL = "loci"
"""The assistant in its default collections; `loci/NAME` is the same in one collection."""

_SHOWN = 3
"""Violations that are named of a request that has many."""


class _Part(BaseModel):
    """A part of a message's content; only text can be read."""

    type: str
    text: str = ""


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            if foreign := [part.type for part in self.content if part.type not in ("text", "input_text")]:
                raise BadInput(f"A message holds {foreign[0]}.", "Only text can be read.")
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class _Own(BaseModel):
    """The field `loci`."""

    model_config = ConfigDict(extra="forbid")

    collections: list[str] | None = Field(default=None, min_length=1)
    documents: list[str] = []
    library: bool = True
    memory: bool = True
    store: bool | None = None


class _Request(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str = MODEL
    messages: list[_Message] = Field(min_length=1)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    temperature: float | None = Field(default=None, ge=0, le=100)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    response_format: dict[str, Any] | None = None
    loci: _Own = _Own()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, and how the answer is to come."""

    ask: Ask
    model: str
    stream: bool
    with_usage: bool
    """A stream ends with an object that holds the usage."""
    ignored: tuple[str, ...]
    """Fields that had no effect."""


def read_request(body: bytes, scope: Sequence[str], store: bool) -> Asked:
    """What a request asks.

    :param scope: collections where it names none.
    :param store: whether turns are kept where it does not say.
    :raises BadInput: it is malformed, or asks for what there is not.
    """
    try:
        given = _Request.model_validate_json(body)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()[:_SHOWN]]
        raise BadInput(f"The request is malformed: {'; '.join(said)}.") from None
    ignored = _ignored(given.model_extra or {})
    system, history, question = _conversation(given.messages)
    keep = store if given.loci.store is None else given.loci.store
    options = given.stream_options or {}
    ask = Ask(
        question,
        scope=_scope(given, scope),
        system=system,
        history=history,
        documents=tuple(given.loci.documents),
        schema=_schema(given.response_format),
        use_library=given.loci.library,
        use_memory=given.loci.memory,
        store=keep,
        seed=given.seed or 0,
        max_tokens=given.max_completion_tokens or given.max_tokens or 1024,
        temperature=given.temperature or 0.0,
    )
    return Asked(ask, given.model, given.stream, bool(options.get("include_usage")), ignored)


def _scope(given: _Request, scope: Sequence[str]) -> tuple[str, ...]:
    base, _, name = given.model.partition("/")
    if base != MODEL:
        raise BadInput(f"There is no model {given.model!r}.", f"Use {MODEL}, or {MODEL}/COLLECTION.")
    named = given.loci.collections or ([name] if name else scope)
    return tuple(dict.fromkeys(named))


def _conversation(messages: Sequence[_Message]) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    """System prompt, earlier exchanges, and the question, which is what the user said last."""
    system = [one.text for one in messages if one.role in ("system", "developer")]
    asked: list[str] = []
    history: list[tuple[str, str]] = []
    for message in messages:
        if message.role == "user":
            asked.append(message.text)
        elif message.role == "assistant" and asked:
            history.append(("\n\n".join(asked), without_citation_lines(message.text)))
            asked = []
    question = "\n\n".join(asked).strip()
    if not question:
        raise BadInput("The last message is no question.", "End with a message of the user.")
    return "\n\n".join(system) or None, tuple(history), question


def _schema(wanted: dict[str, Any] | None) -> str | None:
    match wanted:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return '{"type": "object"}'
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return json.dumps(schema)
    raise BadInput("The response_format is none of text, json_object and json_schema with a schema.")


def _ignored(extra: dict[str, Any]) -> tuple[str, ...]:
    """Fields without effect.

    :raises BadInput: without it, the answer would not have the form that was asked for.
    """
    if extra.get("n") not in (None, 1):
        raise BadInput("There is one answer to a question.", "Leave n out.")
    if extra.get("logprobs") or extra.get("tool_choice") == "required" or isinstance(extra.get("tool_choice"), dict):
        raise BadInput("Neither log-probabilities nor calls of tools are offered.", "Leave logprobs and tools out.")
    return tuple(sorted(name for name, value in extra.items() if value not in (None, [], {}, "") and name != "n"))
