"""Who may speak to the assistant over HTTP: programs that show the token, and pages of origins that were named.

A page of a stranger can make a browser send requests to this machine, and with DNS rebinding under a name of its own:
so the Host must be one of ours (checked by starlette) and the Origin, where there is one, named by the user.
"""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.serve.shapes import refusal
from app.serve.token import shows

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def gates(token: str | None, hosts: Sequence[str], origins: Sequence[str]) -> list[Middleware]:
    """What a request passes before it is heard, from the outermost inwards. Without a token none is asked for.

    :param hosts: names under which this server may be addressed, beside those of the loopback.
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]", *hosts], www_redirect=False),
        Middleware(_OriginGate, origins=frozenset(origins)),
        *([cors] if origins else []),
        *([Middleware(_TokenGate, token=token)] if token else []),
    ]


class _OriginGate:
    """Refuses pages of origins that nobody named; programs send none."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Request(scope).headers.getlist("origin")
            if any(origin not in self._origins for origin in given):
                answer = refusal(403, "This origin is not allowed.", "Name it: loci serve --origin URL.")
                return await answer(scope, receive, send)
        return await self._app(scope, receive, send)


class _TokenGate:
    """Refuses requests that do not show the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not shows(Request(scope).headers.get("authorization"), self._token):
            answer = refusal(401, "The token is missing or wrong.", "Show it as the API key: loci serve --token.")
            return await answer(scope, receive, send)
        return await self._app(scope, receive, send)
