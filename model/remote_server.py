"""The wire to an OpenAI-compatible server: requests, server-sent events, and failures told apart by what mends them.

Knows nothing about engines, prompts or retries. Safe to use from several threads. The key never reaches a message.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from model.errors import PromptTooLong, RemoteFailed
from model.event_stream import BrokenStream, events
from model.patience import Transient, retry_after
from model.remote_chunks import choices
from model.remote_key import find_key, without
from model.settings import ModelSettings

if TYPE_CHECKING:
    import httpx

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504, 529)

_SAID = 200
"""Characters of what a server says that are repeated to a person."""

_MOST_BYTES = 64 << 20
"""Of an answer that is no stream; a list of models has kilobytes."""


class SchemaRefused(Transient):
    """The server knows JSON schemas only in llama-cpp-python's older form."""


class RemoteServer:
    """A connection pool to the server at `base`, which usually ends in /v1."""

    def __init__(self, base: str, settings: ModelSettings) -> None:
        import httpx  # 60 ms

        self._base = base
        self._root = base.removesuffix("/v1")
        self._settings = settings
        self._key = find_key(base, settings.api_key_env)
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.in_flight),
        )
        self._counting = "unknown"
        """URL of the endpoint that counts tokens; `none` if there is none."""

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What the server offers.

        :raises Transient: another try may mend it.
        :raises RemoteFailed: it is no OpenAI-compatible server.
        """
        url = f"{self._base}/models"
        with self._failures():
            answer = self._whole("GET", url)
            try:
                data = json.loads(answer)["data"]
                return [model for model in data if isinstance(model, dict)]
            except (ValueError, KeyError, TypeError) as error:
                raise RemoteFailed(
                    f"{url} is not an OpenAI-compatible server: it answered something else than a list of models.",
                    "Check the URL; it usually ends in /v1.",
                ) from error

    def props(self) -> Any:
        """What llama.cpp's server says of how it runs; None from others."""
        return self._asked("GET", f"{self._root}/props")

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The JSON objects of a server-sent event stream, up to `[DONE]`; one of them says why the answer ends.

        :raises Transient: another try may mend it.
        :raises PromptTooLong: the server says so.
        :raises RemoteFailed: every other refusal.
        """
        with self._failures(), self._http.stream("POST", f"{self._base}/{path}", json=body) as response:
            if response.status_code >= 300:
                self._refuse(response, _bounded(response))
            ended = False
            for data in events(response.iter_bytes(), self._settings.timeout):
                if data == "[DONE]":
                    break
                try:
                    chunk = json.loads(data)
                except (ValueError, RecursionError) as error:
                    raise Transient(f"a line of the stream is not JSON ({self._said(data, 60)!r})") from error
                if not isinstance(chunk, dict):
                    raise Transient(f"a line of the stream is not an object ({self._said(data, 60)!r})")
                if "error" in chunk:
                    raise Transient(f"the server reported {self._said(_message(chunk))!r}")
                yield chunk
                ended = ended or any(one.get("finish_reason") for one in choices(chunk))
            # An answer has ended where the server said why: some send no closing mark, and llama-cpp-python's sends it
            # to whom it interrupts for another request.
            if not ended:
                raise Transient("the stream ended without a reason")

    def complete(self, body: dict[str, Any]) -> Any:
        """The JSON that `completions` answers to `body`, which asks for no stream.

        :raises Transient: another try may mend it.
        :raises PromptTooLong: the server says so.
        :raises RemoteFailed: every other refusal.
        """
        with self._failures():
            return json.loads(self._whole("POST", f"{self._base}/completions", body))

    def count_tokens(self, model: str, text: str) -> int | None:
        """Tokens of `text`, None if the server does not count: vLLM, SGLang and llama.cpp have an endpoint each.

        :raises Transient: it counts, and failed to just now.
        """
        ways = {
            f"{self._root}/extras/tokenize/count": {"input": text},
            f"{self._root}/tokenize": {"model": model, "prompt": text, "content": text},
        }
        if self._counting in ways:
            with self._failures():
                return _count(json.loads(self._whole("POST", self._counting, ways[self._counting])))
        for url, body in ways.items() if self._counting == "unknown" else ():
            if (count := _count(self._asked("POST", url, body))) is not None:
                self._counting = url
                return count
        self._counting = "none"
        return None

    def _asked(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that the server answers to what not every server knows; None if it does not."""
        try:
            with self._failures():
                return json.loads(self._whole(method, url, body))
        except (Transient, RemoteFailed, PromptTooLong, ValueError, RecursionError):
            return None

    def _whole(self, method: str, url: str, body: dict[str, Any] | None = None) -> bytes:
        """The content of an answer that is no stream."""
        with self._http.stream(method, url, json=body) as response:
            content = _bounded(response)
            if response.status_code >= 300:
                self._refuse(response, content)
            return content

    def _refuse(self, response: "httpx.Response", content: bytes) -> NoReturn:
        """:raises Transient: for statuses worth another try.

        :raises PromptTooLong: when the server says so.
        :raises RemoteFailed: for every other refusal.
        """
        status = response.status_code
        if status < 400:  # not followed: the key is for the host that was named
            where = self._said(response.headers.get("location", "elsewhere"))
            raise RemoteFailed(
                f"{response.request.url} sends requests on to {where}.", "Give that URL, if you trust it."
            )
        try:
            said = self._said(_message(json.loads(content)))
        except (ValueError, RecursionError):
            said = self._said(content.decode("utf-8", "replace"))
        if "response_format" in said and "json_schema" in said:
            raise SchemaRefused(said)
        if status in _RETRIED:
            after = retry_after(response.headers.get("retry-after", ""))
            busy = status == 429 or (status in (503, 529) and after is not None)
            raise Transient(f"HTTP {status} {said}".strip(), after, busy)
        if status in (400, 413) and "context" in said.lower():
            raise PromptTooLong(said)
        mend = {
            401: f"Set the key in the environment variable {self._settings.api_key_env}, or in the keyring.",
            403: "The key has no access.",
            404: "Check the URL.",
        }.get(status, "")
        raise RemoteFailed(f"{response.request.url} answered HTTP {status}: {said}".strip(), mend)

    def _said(self, text: str, most: int = _SAID) -> str:
        """The beginning of what the server said, fit to be repeated."""
        return without(self._key, text)[:most]

    @contextmanager
    def _failures(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Transient(str(error) or "no connection", unreachable=True) from error
        except httpx.TimeoutException as error:
            raise Transient(f"no answer within {self._settings.timeout:g} s") from error
        except (BrokenStream, json.JSONDecodeError, RecursionError) as error:
            raise Transient(str(error)) from error
        except httpx.InvalidURL as error:
            raise RemoteFailed(f"{self._base} is not a URL: {error}.") from error
        except httpx.HTTPError as error:
            raise Transient(str(error) or type(error).__name__) from error


def _bounded(response: "httpx.Response") -> bytes:
    """The content of a response.

    :raises BrokenStream: there is far too much of it.
    """
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise BrokenStream(f"an answer is longer than {_MOST_BYTES >> 20} MiB")
    return bytes(content)


def _count(answer: Any) -> int | None:
    if not isinstance(answer, dict):
        return None
    if isinstance(answer.get("count"), int):
        return int(answer["count"])
    return len(answer["tokens"]) if isinstance(answer.get("tokens"), list) else None


def _message(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)
