"""An engine behind an OpenAI-compatible URL: a vLLM or SGLang cluster, llama.cpp's server, another machine.

The server owns tokenizer, template and weights; this is a client with streaming, time-outs and retries. A request is
tried again only while nothing of its answer has been handed on. The wire itself is `model.remote_server`.
"""

import json
import math
import random
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from model.engine import (
    Capability,
    Choice,
    Delta,
    EngineInfo,
    Event,
    Finished,
    Grammar,
    JsonSchema,
    Logprobs,
    Message,
    Prompt,
    Request,
    Score,
    TokenLogprob,
    Usage,
)
from model.errors import RemoteFailed, UnsupportedConstraint, UnsupportedOperation
from model.remote_server import RemoteServer, SchemaRefused, Transient
from model.settings import ModelSettings

_FALLBACK_CONTEXT = 8192
"""Tokens assumed where neither the server nor the settings say."""

_BYTES_PER_TOKEN = 2.5
"""Cautious estimate for servers that count no tokens: English has about 4, code 3, Chinese 3 per character."""


class RemoteEngine:
    """`http(s)://host[:port]/v1#model-name`; without a name the server must offer exactly one model.

    :raises RemoteFailed: the server cannot be reached or does not offer the model.
    """

    def __init__(self, reference: str, settings: ModelSettings) -> None:
        base, _, name = reference.partition("#")
        self._reference = reference
        self._base = base.rstrip("/")
        self._settings = settings
        self._server = RemoteServer(self._base, settings)
        try:
            self._model, context = self._discover(name)
        except BaseException:  # Ctrl+C while it waits included
            self._server.close()
            raise
        self._context = settings.context or context or _FALLBACK_CONTEXT

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
        """As the server counts, else a cautious estimate."""
        text = _as_text(prompt)
        if text is None:
            return len(prompt)
        count = self._server.count_tokens(self._model, text)
        if count is None:
            count = math.ceil(len(text.encode()) / _BYTES_PER_TOKEN)
        # The template's own tokens: role marks and separators, which these endpoints do not count.
        return count + (0 if isinstance(prompt, str) else 8 * len(prompt))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Stream a completion; closing the generator closes the connection, which stops the server.

        :raises RemoteFailed: after the configured retries, or at once if the answer broke off in the middle.
        """
        path, body = self._body(request)
        started = time.monotonic()
        first: float | None = None
        text: list[str] = []
        attempt = 0
        while True:
            finish, usage = "stop", Usage()
            try:
                for chunk in self._server.stream(path, body):
                    if chunk.get("usage"):
                        usage = _usage(chunk["usage"])
                    for choice in chunk.get("choices") or []:
                        finish = choice.get("finish_reason") or finish
                        for sure in self._logprobs(choice) if request.sampling.logprobs else ():
                            first = first or time.monotonic()
                            yield sure
                        for delta in _deltas(choice):
                            first = first or time.monotonic()
                            text.append("" if delta.reasoning else delta.text)
                            yield delta
                break
            except SchemaRefused as error:
                asked = body.get("response_format")
                if asked is None or asked["type"] == "json_object":
                    raise RemoteFailed(f"{self._base} takes no JSON schema: {error}.") from error
                body["response_format"] = {"type": "json_object", "schema": asked["json_schema"]["schema"]}
            except Transient as error:
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
        reason: Literal["stop", "length"] = "length" if finish == "length" else "stop"
        yield Finished(reason, usage, prefill, (ended - (first or ended)) * 1000)

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
        self._server.close()

    def _logprobs(self, choice: dict[str, Any]) -> list[Logprobs]:
        """:raises RemoteFailed: they are in no form that is known."""
        try:
            return list(_read_logprobs(choice))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RemoteFailed(
                f"{self._base} sends log-probabilities in an unknown form: {error!r}.", "Ask without logprobs."
            ) from error

    def _no_prefix(self) -> NoReturn:
        raise UnsupportedOperation(f"{self._base} keeps its prompt cache to itself.")

    def _discover(self, name: str) -> tuple[str, int | None]:
        """Model name and, where the server says, its context length."""
        for attempt in range(self._settings.retries + 1):
            try:
                offered = self._server.models()
                break
            except Transient as error:
                if attempt == self._settings.retries:
                    raise RemoteFailed(
                        f"{self._base} did not answer after {attempt + 1} tries: {error}.",
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
        if sampling.repetition_penalty != 1:
            body["repetition_penalty"] = sampling.repetition_penalty
        if sampling.presence_penalty:
            body["presence_penalty"] = sampling.presence_penalty
        if sampling.frequency_penalty:
            body["frequency_penalty"] = sampling.frequency_penalty
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
            asked: dict[str, Any] = {"logprobs": sampling.logprobs} if sampling.logprobs else {}
            return "completions", body | asked | {"prompt": prompt}
        messages = [message for message in prompt if isinstance(message, Message)]
        if len(messages) != len(prompt):
            raise UnsupportedOperation(f"{self._base} takes messages or text, not token ids.")
        asked = {"logprobs": True, "top_logprobs": sampling.logprobs} if sampling.logprobs else {}
        return "chat/completions", body | asked | {
            "messages": [{"role": message.role, "content": message.content} for message in messages]
        }

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


def _read_logprobs(choice: dict[str, Any]) -> Iterator[Logprobs]:
    """Those of one streamed choice: objects in chat form, parallel lists in plain form."""
    given = choice.get("logprobs") or {}
    for one in given.get("content") or []:
        others = one.get("top_logprobs") or []
        likeliest = [TokenLogprob(str(other["token"]), float(other["logprob"])) for other in others]
        yield Logprobs(TokenLogprob(str(one["token"]), float(one["logprob"])), tuple(likeliest))
    lists = [given.get(name) or [] for name in ("tokens", "token_logprobs")]
    likely = given.get("top_logprobs") or [None] * len(lists[0])
    for token, logprob, others in zip(*lists, likely, strict=False):
        best = sorted((others or {}).items(), key=lambda pair: -pair[1])
        likeliest = [TokenLogprob(text, float(value)) for text, value in best]
        yield Logprobs(TokenLogprob(str(token), float(logprob)), tuple(likeliest))


def _usage(usage: dict[str, Any]) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        cached_tokens=int(cached),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


def _delay(attempt: int, after: float | None) -> float:
    """Seconds before another try: what the server asked, else exponential with full jitter, at most 30."""
    if after is not None:
        return min(after, 30.0)
    return random.uniform(0.0, min(30.0, 0.5 * 2.0**attempt))
