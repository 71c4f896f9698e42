"""The assistant as an OpenAI-compatible endpoint: a list of models, and chat completions, streamed or whole.

Knows nothing about models and stores; a turn is `app.serve.turns`, a request's form `app.serve.requests`, an answer's
`app.serve.shapes`, and who may speak at all `app.serve.gate`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.answer import Completed, Text
from app.errors import BadInput, LociError
from app.serve.gate import gates
from app.serve.requests import MODEL, Asked, read_request
from app.serve.shapes import Completion, error, event, refusal, rest_of, sources
from app.serve.turns import Turns
from model.errors import PromptTooLong

_MOST_BYTES = 16 << 20
"""Of a request: a window of a million tokens is a quarter of that."""

_ALIVE = 10.0
"""Seconds of silence after which a stream gets a comment, so that nobody on the way gives it up."""

_PREFIX = "/v1"


@dataclass(frozen=True, slots=True)
class Served:
    """What the endpoint offers, and to whom."""

    turns: Turns
    collections: Callable[[], Sequence[str]]
    """Names of those that hold documents."""
    scope: tuple[str, ...] = ("main",)
    """Collections of a request that names none."""
    store: bool = False
    """Whether turns are kept, where a request does not say."""
    token: str | None = None
    """None asks for none."""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def application(served: Served) -> Starlette:
    """The ASGI application."""
    doors = _Doors(served)
    routes = [
        Route(f"{_PREFIX}/models", doors.models),
        Route(f"{_PREFIX}/models/{{name:path}}", doors.model),
        Route(f"{_PREFIX}/chat/completions", doors.chat, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=gates(served.token, served.hosts, served.origins),
        exception_handlers={404: _not_found, 405: _not_found},
    )


async def _not_found(request: Request, problem: Exception) -> Response:
    return refusal(404, f"There is no {request.method} {request.url.path}.", f"There are {_PREFIX}/models and "
                   f"{_PREFIX}/chat/completions.")  # fmt: skip


class _Doors:
    def __init__(self, served: Served) -> None:
        self._served = served

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(name) for name in await self._names()]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in await self._names():
            return refusal(404, f"There is no model {name!r}.", kind="model_not_found")
        return JSONResponse(_model(name))

    async def _names(self) -> list[str]:
        collections = await asyncio.to_thread(self._served.collections)
        return [MODEL, *(f"{MODEL}/{name}" for name in collections)]

    async def chat(self, request: Request) -> Response:
        try:
            asked = read_request(await _body(request), self._served.scope, self._served.store)
        except BadInput as problem:
            return refusal(400, str(problem))
        except ClientDisconnect:
            return Response(status_code=499)
        made = Completion(asked.model, asked.ignored)
        if asked.stream:
            return StreamingResponse(_kept_alive(self._stream(asked, made)), media_type="text/event-stream",
                                     headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})  # fmt: skip
        try:
            return JSONResponse(made.whole(await self._served.turns.answer(asked.ask)))
        except LociError as problem:
            return _failed(problem)

    async def _stream(self, asked: Asked, made: Completion) -> AsyncIterator[str]:
        """The draft as it is written; then what the check added to it, the sources, and the whole answer in `loci`."""
        yield event(made.chunk({"role": "assistant", "content": ""}))
        said = ""
        try:
            async with aclosing(self._served.turns.events(asked.ask)) as events:
                async for one in events:
                    if isinstance(one, Text) and one.text:
                        said += "" if one.reasoning else one.text
                        yield event(made.chunk({"reasoning_content" if one.reasoning else "content": one.text}))
                    elif isinstance(one, Completed):
                        if rest := rest_of(said, one.answer) + sources(one.answer):
                            yield event(made.chunk({"content": rest}))
                        yield event(made.last(one.answer))
                        if asked.with_usage:
                            yield event(made.used(one.answer))
        except LociError as problem:
            yield event(error(str(problem), _kind(problem)))
        yield "data: [DONE]\n\n"


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "loci"}


async def _body(request: Request) -> bytes:
    """:raises BadInput: it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise BadInput(f"The request is longer than {_MOST_BYTES >> 20} MiB.")
    return bytes(body)


async def _kept_alive(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The same, with a comment wherever nothing came for a while: a long prompt is read in silence."""
    waiting = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=_ALIVE)
            if not done:
                yield ": still at work\n\n"
                continue
            if (one := waiting.result()) is None:
                return
            yield one
            waiting = asyncio.ensure_future(anext(events, None))
    finally:
        waiting.cancel()


def _own(problem: Exception) -> bool:
    """Whether it is the request that must be changed."""
    return getattr(problem, "exit_code", 1) != 1 or isinstance(problem, PromptTooLong)


def _kind(problem: Exception) -> str:
    if isinstance(problem, PromptTooLong):
        return "context_length_exceeded"
    return "invalid_request_error" if _own(problem) else "server_error"


def _failed(problem: Exception) -> Response:
    """What a person may meet, as a status."""
    return refusal(400 if _own(problem) else 500, str(problem), kind=_kind(problem))
