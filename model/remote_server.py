"""The wire to an OpenAI-compatible server: requests, server-sent events, and failures told apart by what mends them.

Knows nothing about engines, prompts or retries. Keys come from the environment and never reach a message or a log.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model.errors import PromptTooLong, RemoteFailed
from model.settings import ModelSettings

if TYPE_CHECKING:
    import httpx

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)


class Transient(Exception):
    """A failure that another try may mend; `after` is what the server asked to wait, in seconds."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class SchemaRefused(Transient):
    """The server knows JSON schemas only in llama-cpp-python's older form."""


class RemoteServer:
    """A connection pool to the server at `base`, which usually ends in /v1."""

    def __init__(self, base: str, settings: ModelSettings) -> None:
        import httpx  # 60 ms

        self._base = base
        self._settings = settings
        key = os.environ.get(settings.api_key_env, "")
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
        )
        self._counting: str | None = "unknown"

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What the server offers.

        :raises Transient: another try may mend it.
        :raises RemoteFailed: it is no OpenAI-compatible server.
        """
        url = f"{self._base}/models"
        with self._failures():
            response = self._http.get(url)
            _raise_for_status(response)
            try:
                data = response.json()["data"]
                return [model for model in data if isinstance(model, dict)]
            except (ValueError, KeyError, TypeError) as error:
                raise RemoteFailed(
                    f"{url} is not an OpenAI-compatible server: it answered something else than a list of models.",
                    "Check the URL; it usually ends in /v1.",
                ) from error

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The JSON objects of a server-sent event stream, up to `[DONE]`.

        :raises Transient: another try may mend it.
        :raises PromptTooLong: the server says so.
        :raises RemoteFailed: every other refusal.
        """
        with self._failures(), self._http.stream("POST", f"{self._base}/{path}", json=body) as response:
            if response.status_code >= 400:
                response.read()
            _raise_for_status(response)
            for line in response.iter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                try:
                    chunk = json.loads(data)
                except ValueError as error:
                    raise Transient(f"a line of the stream is not JSON ({data[:60]!r})") from error
                if not isinstance(chunk, dict):
                    raise Transient(f"a line of the stream is not an object ({data[:60]!r})")
                if "error" in chunk:
                    raise Transient(f"the server reported {_message(chunk)!r}")
                yield chunk
            raise Transient("the stream ended without its closing mark")

    def count_tokens(self, model: str, text: str) -> int | None:
        """Tokens of `text`, None if the server does not count: vLLM, SGLang and llama.cpp have an endpoint each."""
        root = self._base.removesuffix("/v1")
        ways = {
            f"{root}/extras/tokenize/count": {"input": text},
            f"{root}/tokenize": {"model": model, "prompt": text, "content": text},
        }
        for url, body in ways.items():
            if self._counting in ("unknown", url) and (count := self._count_at(url, body)) is not None:
                self._counting = url
                return count
        self._counting = None
        return None

    def _count_at(self, url: str, body: dict[str, Any]) -> int | None:
        import httpx

        try:
            response = self._http.post(url, json=body)
            if response.status_code >= 400:
                return None
            answer = response.json()
        except (httpx.HTTPError, ValueError):
            return None
        if not isinstance(answer, dict):
            return None
        if isinstance(answer.get("count"), int):
            return int(answer["count"])
        return len(answer["tokens"]) if isinstance(answer.get("tokens"), list) else None

    @contextmanager
    def _failures(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            raise Transient(f"no answer within {self._settings.timeout:g} s") from error
        except httpx.InvalidURL as error:
            raise RemoteFailed(f"{self._base} is not a URL: {error}.") from error
        except httpx.HTTPError as error:
            raise Transient(str(error) or type(error).__name__) from error


def _raise_for_status(response: "httpx.Response") -> None:
    """:raises Transient: for statuses worth another try.

    :raises PromptTooLong: when the server says so.
    :raises RemoteFailed: for every other refusal.
    """
    status = response.status_code
    if status < 400:
        return
    try:
        said = _message(response.json())
    except ValueError:
        said = response.text[:200]
    if "response_format" in said and "json_schema" in said:
        raise SchemaRefused(said)
    if status in _RETRIED:
        after = response.headers.get("retry-after", "")
        raise Transient(f"HTTP {status} {said}".strip(), float(after) if after.isdigit() else None)
    if status == 400 and "context" in said.lower():
        raise PromptTooLong(said)
    mend = {401: "Set the key in the environment.", 403: "The key has no access.", 404: "Check the URL."}.get(
        status, ""
    )
    raise RemoteFailed(f"{response.request.url} answered HTTP {status}: {said}".strip(), mend)


def _message(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
