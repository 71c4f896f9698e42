"""Answers in the shapes of OpenAI's chat completions, with what only this assistant knows in the field `loci`.

`loci` is the object that `loci ask --json` prints, with `ignored`: the request's fields that had no effect. Offsets in
it count in its own `answer`; the message's text is that, and below it one line for each citation.
"""

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from app.answer import Answer
from app.places import citation_line

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer in the making: what all its objects have in common."""

    model: str
    ignored: tuple[str, ...]
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer) -> Json:
        """The object of an answer that is not streamed."""
        message: Json = {"role": "assistant", "content": text_of(answer)}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return self._object("chat.completion", [choice]) | {"usage": usage(answer), "loci": self._own(answer)}

    def chunk(self, delta: Json) -> Json:
        """An object of the stream."""
        return self._object("chat.completion.chunk", [{"index": 0, "delta": delta, "finish_reason": None}])

    def last(self, answer: Answer) -> Json:
        """The object that ends the text of a stream."""
        ended = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        return self._object("chat.completion.chunk", ended) | {"loci": self._own(answer)}

    def used(self, answer: Answer) -> Json:
        """The object after the last, where usage was asked for."""
        return self._object("chat.completion.chunk", []) | {"usage": usage(answer)}

    def _object(self, kind: str, choices: list[Json]) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def _own(self, answer: Answer) -> Json:
        return answer.to_json() | {"ignored": list(self.ignored)}


def text_of(answer: Answer) -> str:
    """The answer, with its sources below."""
    return answer.answer + sources(answer)


def sources(answer: Answer) -> str:
    """A line for each citation, after an empty one; nothing where there is none."""
    lines = [citation_line(citation) for citation in answer.citations]
    return "\n\n" + "\n".join(lines) if lines else ""


def rest_of(streamed: str, answer: Answer) -> str:
    """What is to be said after the text that was streamed, so that the checked answer has been said."""
    if streamed.strip().endswith(answer.answer.strip()):
        return ""
    if answer.answer.startswith(streamed):
        return answer.answer.removeprefix(streamed)
    return f"\n\n{answer.answer}" if streamed.strip() else answer.answer


def usage(answer: Answer) -> Json:
    used = answer.usage
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
    }


def error(message: str, kind: str) -> Json:
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


def refusal(status: int, message: str, mend: str = "", kind: str = "invalid_request_error") -> Response:
    """An error as OpenAI's clients understand it."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(error(f"{message} {mend}".strip(), kind), status, headers)


def event(data: Json) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
