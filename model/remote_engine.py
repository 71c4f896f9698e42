"""An engine behind an OpenAI-compatible URL: a vLLM or SGLang cluster, llama.cpp's server, another machine.

The server owns tokenizer, template and weights; this is a client with streaming, time-outs and retries. A request is
tried again only while nothing of its answer has been handed on. Keys come from the environment and never reach a
message or a log.
"""

import json
import math
import os
import random
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from model.engine import (
    Capability,
    Choice,
    Delta,
    EngineInfo,
    Event,
    Finished,
    Grammar,
    JsonSchema,
    Message,
    Prompt,
    Request,
    Score,
    Usage,
)
from model.errors import PromptTooLong, RemoteFailed, UnsupportedConstraint, UnsupportedOperation
from model.settings import ModelSettings

if TYPE_CHECKING:
    import httpx

_FALLBACK_CONTEXT = 8192
"""Tokens assumed where neither the server nor the settings say."""

_BYTES_PER_TOKEN = 2.5
"""Cautious estimate for servers that count no tokens: English has about 4, code 3, Chinese 3 per character."""

_RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)


class _Transient(Exception):
    """A failure that another try may mend; `after` is what the server asked to wait, in seconds."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class _SchemaRefused(_Transient):
    """The server knows JSON schemas only in llama-cpp-python's older form."""


class RemoteEngine:
    """`http(s)://host[:port]/v1#model-name`; without a name the server must offer exactly one model.

    :raises RemoteFailed: the server cannot be reached or does not offer the model.
    """

    def __init__(self, reference: str, settings: ModelSettings) -> None:
        import httpx  # 60 ms

        base, _, name = reference.partition("#")
        self._reference = reference
        self._base = base.rstrip("/")
        self._settings = settings
        key = os.environ.get(settings.api_key_env, "")
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
        )
        try:
            self._model, context = self._discover(name)
        except BaseException:
            self._http.close()
            raise
        self._context = settings.context or context or _FALLBACK_CONTEXT
        self._counting: str | None = "unknown"

    def describe(self) -> EngineInfo:
        capabilities: frozenset[Capability] = frozenset({"chat", "json_schema"})
        return EngineInfo(
            reference=self._reference,
            name=self._model,
            engine="remote",
            architecture=self._model,
            context=self._context,
            quantization="unknown",
            devices=(self._base,),
            capabilities=capabilities,
        )

    def count_tokens(self, prompt: Prompt) -> int:
        """As the server counts (vLLM, SGLang and llama.cpp have an endpoint each), else a cautious estimate."""
        text = _as_text(prompt)
        if text is None:
            return len(prompt)
        root = self._base.removesuffix("/v1")
        ways = {
            f"{root}/extras/tokenize/count": {"input": text},
            f"{root}/tokenize": {"model": self._model, "prompt": text, "content": text},
        }
        for url, body in ways.items():
            if self._counting not in ("unknown", url):
                continue
            count = self._count_at(url, body)
            if count is not None:
                self._counting = url
                # The template's own tokens: role marks and separators, not counted by these endpoints.
                return count + (0 if isinstance(prompt, str) else 8 * len(prompt))
        self._counting = None
        return math.ceil(len(text.encode()) / _BYTES_PER_TOKEN) + (0 if isinstance(prompt, str) else 8 * len(prompt))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Stream a completion; closing the generator closes the connection, which stops the server.

        :raises RemoteFailed: after the configured retries, or at once if the answer broke off in the middle.
        """
        url, body = self._body(request)
        started = time.monotonic()
        first: float | None = None
        text: list[str] = []
        attempt = 0
        while True:
            finish, usage = "stop", Usage()
            try:
                for chunk in self._stream(url, body):
                    if chunk.get("usage"):
                        usage = _usage(chunk["usage"])
                    for choice in chunk.get("choices") or []:
                        finish = choice.get("finish_reason") or finish
                        for delta in _deltas(choice):
                            first = first or time.monotonic()
                            text.append("" if delta.reasoning else delta.text)
                            yield delta
                break
            except _SchemaRefused as error:
                asked = body["response_format"]
                if asked["type"] == "json_object":
                    raise RemoteFailed(f"{self._base} takes no JSON schema: {error}.") from error
                body["response_format"] = {"type": "json_object", "schema": asked["json_schema"]["schema"]}
            except _Transient as error:
                if first is not None:
                    raise RemoteFailed(f"{self._base} broke off in the middle of the answer: {error}.") from error
                if attempt == self._settings.retries:
                    raise RemoteFailed(
                        f"{self._base} did not answer after {attempt + 1} tries: {error}.",
                        "Check that the server runs, then ask again.",
                    ) from error
                time.sleep(_delay(attempt, error.after))
                attempt += 1
        if isinstance(request.constraint, JsonSchema):
            self._require_json("".join(text))
        ended = time.monotonic()
        prefill = ((first or ended) - started) * 1000
        reason = "length" if finish == "length" else "stop"
        yield Finished(reason, usage, prefill, (ended - (first or ended)) * 1000)  # type: ignore[arg-type]

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        """:raises UnsupportedOperation: always; few servers return the log-probabilities of a given text."""
        raise UnsupportedOperation(f"{self._base} cannot score candidates.", "Use a local model for this.")

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        """:raises UnsupportedOperation: always; the server keeps its own cache."""
        self._no_prefix()

    def load_prefix(self, file: Path) -> int:
        """:raises UnsupportedOperation: always; the server keeps its own cache."""
        self._no_prefix()

    def close(self) -> None:
        self._http.close()

    def _no_prefix(self) -> NoReturn:
        raise UnsupportedOperation(f"{self._base} keeps its prompt cache to itself.")

    def _discover(self, name: str) -> tuple[str, int | None]:
        """Model name and, where the server says, its context length."""
        url = f"{self._base}/models"
        for attempt in range(self._settings.retries + 1):
            try:
                offered = self._get_models(url)
                break
            except _Transient as error:
                if attempt == self._settings.retries:
                    raise RemoteFailed(
                        f"{url} did not answer after {attempt + 1} tries: {error}.",
                        "Check that the server runs and that the URL ends in /v1.",
                    ) from error
                time.sleep(_delay(attempt, error.after))
        names = [str(model.get("id")) for model in offered]
        if not name:
            if len(names) != 1:
                raise RemoteFailed(
                    f"{self._base} offers {len(names)} models: {', '.join(names)}.",
                    "Name one: URL#NAME.",
                )
            name = names[0]
        for model in offered:
            if model.get("id") == name:
                length = model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx_train")
                return name, length if isinstance(length, int) else None
        raise RemoteFailed(f"{self._base} does not offer {name!r}.", f"It offers: {', '.join(names) or 'nothing'}.")

    def _get_models(self, url: str) -> list[dict[str, Any]]:
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

    def _body(self, request: Request) -> tuple[str, dict[str, Any]]:
        prompt, sampling = request.prompt, request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.min_p:
            body["min_p"] = sampling.min_p
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        match request.constraint:
            case None:
                pass
            case JsonSchema(schema):
                body["response_format"] = {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": json.loads(schema)},
                }
            case Choice() | Grammar() as constraint:
                raise UnsupportedConstraint(
                    f"{self._base} takes JSON schemas, not {type(constraint).__name__} constraints.",
                    "Use a local model for this.",
                )
        if isinstance(prompt, str):
            return f"{self._base}/completions", body | {"prompt": prompt}
        messages = [message for message in prompt if isinstance(message, Message)]
        if len(messages) != len(prompt):
            raise UnsupportedOperation(f"{self._base} takes messages or text, not token ids.")
        return f"{self._base}/chat/completions", body | {
            "messages": [{"role": message.role, "content": message.content} for message in messages]
        }

    def _stream(self, url: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The JSON objects of a server-sent event stream, up to `[DONE]`."""
        with self._failures(), self._http.stream("POST", url, json=body) as response:
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
                    raise _Transient(f"a line of the stream is not JSON ({data[:60]!r})") from error
                if not isinstance(chunk, dict):
                    raise _Transient(f"a line of the stream is not an object ({data[:60]!r})")
                if "error" in chunk:
                    raise _Transient(f"the server reported {_message(chunk)!r}")
                yield chunk
            raise _Transient("the stream ended without its closing mark")

    @contextmanager
    def _failures(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            raise _Transient(f"no answer within {self._settings.timeout:g} s") from error
        except httpx.InvalidURL as error:
            raise RemoteFailed(f"{self._base} is not a URL: {error}.") from error
        except httpx.HTTPError as error:
            raise _Transient(str(error) or type(error).__name__) from error

    def _count_at(self, url: str, body: dict[str, Any]) -> int | None:
        import httpx

        try:
            response = self._http.post(url, json=body)
            if response.status_code >= 400:
                return None
            answer = response.json()
        except (httpx.HTTPError, ValueError):
            return None
        if isinstance(answer.get("count"), int):
            return int(answer["count"])
        return len(answer["tokens"]) if isinstance(answer.get("tokens"), list) else None

    def _require_json(self, text: str) -> None:
        try:
            json.loads(text)
        except ValueError as error:
            raise RemoteFailed(
                f"{self._base} was asked for JSON and answered something else.",
                "The server may not support JSON schemas; use a local model.",
            ) from error


def _as_text(prompt: Prompt) -> str | None:
    """The text of a prompt, None for token ids."""
    if isinstance(prompt, str):
        return prompt
    parts = [message.content for message in prompt if isinstance(message, Message)]
    return "\n".join(parts) if len(parts) == len(prompt) else None


def _deltas(choice: dict[str, Any]) -> Iterator[Delta]:
    """Reasoning and text of one streamed choice, in chat or plain form."""
    delta = choice.get("delta") or {}
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if reasoning:
        yield Delta(str(reasoning), reasoning=True)
    text = delta.get("content") or choice.get("text")
    if text:
        yield Delta(str(text))


def _usage(usage: dict[str, Any]) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(cached),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


def _raise_for_status(response: "httpx.Response") -> None:
    """:raises _Transient: for statuses worth another try.

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
        raise _SchemaRefused(said)
    if status in _RETRIED:
        after = response.headers.get("retry-after", "")
        raise _Transient(f"HTTP {status} {said}".strip(), float(after) if after.isdigit() else None)
    if status == 400 and "context" in said.lower():
        raise PromptTooLong(said)
    mend = {401: "Set the key in the environment.", 403: "The key has no access.", 404: "Check the URL."}.get(
        status, ""
    )
    raise RemoteFailed(f"{response.request.url} answered HTTP {status}: {said}".strip(), mend)


def _message(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]


def _delay(attempt: int, after: float | None) -> float:
    """Seconds before another try: what the server asked, else exponential with full jitter, at most 30."""
    if after is not None:
        return min(after, 30.0)
    return random.uniform(0.0, min(30.0, 0.5 * 2.0**attempt))
