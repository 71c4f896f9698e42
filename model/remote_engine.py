"""An engine behind an OpenAI-compatible URL: a vLLM or SGLang cluster, llama.cpp's server, another machine.

The server owns tokenizer, template and weights; this is a client with streaming, time-outs and retries. A request is
tried again only while nothing of its answer has been handed on. The wire itself is `model.remote_server`. Unlike other
engines, this one may be used by several threads at once: each request is a connection of its own.
"""

import json
import math
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from model.engine import (
    Choice,
    Constraint,
    Delta,
    EngineInfo,
    Event,
    Finished,
    JsonSchema,
    Logprobs,
    Message,
    Prompt,
    Request,
    Score,
    Usage,
)
from model.errors import BrokeOff, RemoteFailed, Unreachable, UnsupportedConstraint, UnsupportedOperation
from model.patience import Patience, Transient
from model.remote_chunks import choices, deltas, echoed, logprobs, usage
from model.remote_dialect import (
    ECHOES,
    capabilities,
    constraint_fields,
    dialect_of,
    trained_window,
    window,
    window_of_props,
)
from model.remote_server import RemoteServer, SchemaRefused
from model.settings import ModelSettings

_FALLBACK_CONTEXT = 8192
"""Tokens assumed where neither the server nor the settings say."""

_BYTES_PER_TOKEN = 2.5
"""Cautious estimate for servers that count no tokens: English has about 4, code 3, Chinese 3 per character."""

_ASK_AGAIN = "Check that the server runs, then ask again; a batch goes on where it stopped."

_LONGEST_TOKEN = 256
"""Characters; the longest tokens of known vocabularies, runs of spaces, have 128."""


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
            model = self._discover(name)
            self._model = str(model["id"])
            self._dialect = dialect_of(model)
            self._context = settings.context or self._window(model)
        except BaseException:  # Ctrl+C while it waits included
            self._server.close()
            raise

    def describe(self) -> EngineInfo:
        return EngineInfo(
            reference=self._reference,
            name=self._model,
            engine="remote",
            architecture=self._model,
            context=self._context,
            quantization="unknown",
            devices=(self._base,),
            capabilities=capabilities(self._dialect),
        )

    def count_tokens(self, prompt: Prompt) -> int:
        """As the server counts, else a cautious estimate."""
        text = _as_text(prompt)
        if text is None:
            return len(prompt)
        count = self._counted(text)
        if count is None:
            count = math.ceil(len(text.encode()) / _BYTES_PER_TOKEN)
        # The template's own tokens: role marks and separators, which these endpoints do not count.
        return count + (0 if isinstance(prompt, str) else 8 * len(prompt))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Stream a completion; closing the generator closes the connection, which stops the server.

        :raises BrokeOff: at once, if a part of the answer has been handed on.
        :raises RemoteFailed: after the configured retries.
        """
        return self._generate(request, self._patience())

    def generate_whole(self, request: Request) -> list[Event]:
        """The same at its end: nothing is handed on before, so that an answer that broke off is asked for again.

        :raises RemoteFailed: after the configured retries.
        """
        patience = self._patience()
        while True:
            try:
                return list(self._generate(request, patience))
            except BrokeOff as error:
                assert isinstance(error.__cause__, Transient)  # as `_generate` raises it
                if not patience.wait(error.__cause__):
                    raise

    def _generate(self, request: Request, patience: Patience) -> Generator[Event, None, None]:
        path, body = self._body(request)
        handed_on = False
        while True:
            try:
                for event in self._attempt(path, body, request):
                    handed_on = True
                    yield event
                return
            except SchemaRefused as error:
                asked = body.get("response_format")
                if asked is None or asked["type"] == "json_object":
                    raise RemoteFailed(f"{self._base} takes no JSON schema: {error}.") from error
                body["response_format"] = {"type": "json_object", "schema": asked["json_schema"]["schema"]}
            except Transient as error:
                if handed_on:
                    raise BrokeOff(f"{self._base} broke off in the middle of the answer: {error}.") from error
                self._wait(patience, error, _ASK_AGAIN)

    def _attempt(self, path: str, body: dict[str, Any], request: Request) -> Generator[Event, None, None]:
        """One request, from its start to `Finished`.

        :raises Transient: another try may mend it.
        """
        started = time.monotonic()
        first: float | None = None
        text: list[str] = []
        room = _LONGEST_TOKEN * max(request.sampling.max_tokens, 1)
        reason: Literal["stop", "length"] = "stop"
        used = Usage()
        for chunk in self._server.stream(path, body):
            used = usage(chunk) or used
            for choice in choices(chunk):
                if ended := choice.get("finish_reason"):
                    reason = "length" if ended == "length" else "stop"
                told: list[Event] = [*self._logprobs(choice, request), *deltas(choice)]
                for event in told:
                    first = first or time.monotonic()
                    if isinstance(event, Delta):
                        room -= len(event.text)
                        text.append("" if event.reasoning else event.text)
                    yield event
            if room < 0:
                raise RemoteFailed(f"{self._base} does not stop after {request.sampling.max_tokens} tokens.")
        self._require(request.constraint, "".join(text))
        ended_at = time.monotonic()
        first = first or ended_at
        yield Finished(reason, used, (first - started) * 1000, (ended_at - first) * 1000)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        """How much less likely the prompt with a candidate is than the prompt alone, as vLLM and SGLang tell.

        :raises UnsupportedOperation: another server, or messages: their template is the server's.
        """
        if self._dialect not in ECHOES:
            raise UnsupportedOperation(f"{self._base} cannot score candidates.", "Use a local model, vLLM or SGLang.")
        if not isinstance(prompt, str):
            raise UnsupportedOperation(f"{self._base} scores what follows a text, not messages.", "Use a local model.")
        alone, before = self._likelihood(prompt)
        wholes = [self._likelihood(prompt + candidate) for candidate in candidates]
        return [Score(whole - alone, max(tokens - before, 1)) for whole, tokens in wholes]

    def _likelihood(self, text: str) -> tuple[float, int]:
        """Log-probability of `text` but for its first token, and its tokens.

        :raises RemoteFailed: the server tells it in no form that is known.
        """
        # One token has to be written, by OpenAI's rules.
        body = {"model": self._model, "prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        patience = self._patience()
        while True:
            try:
                return echoed(self._server.complete(body), text)
            except Transient as error:
                self._wait(patience, error, _ASK_AGAIN)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise RemoteFailed(
                    f"{self._base} does not tell how likely a text is: {error!r}.", "Use a local model to score."
                ) from error

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        """:raises UnsupportedOperation: always; the server keeps its own cache."""
        self._no_prefix()

    def load_prefix(self, file: Path) -> int:
        """:raises UnsupportedOperation: always; the server keeps its own cache."""
        self._no_prefix()

    def close(self) -> None:
        self._server.close()

    def _patience(self) -> Patience:
        return Patience(self._settings.retries, self._settings.timeout)

    def _wait(self, patience: Patience, error: Transient, mend: str) -> None:
        """Until the next try.

        :raises RemoteFailed: there is none.
        """
        if not patience.wait(error):
            tries = f"{patience.tries} {'try' if patience.tries == 1 else 'tries'}"
            kind = Unreachable if error.unreachable else RemoteFailed
            raise kind(f"{self._base} did not answer after {tries}: {error}.", mend) from error

    def _counted(self, text: str) -> int | None:
        patience = self._patience()
        while True:
            try:
                return self._server.count_tokens(self._model, text)
            except Transient as error:
                self._wait(patience, error, _ASK_AGAIN)

    def _logprobs(self, choice: dict[str, Any], request: Request) -> list[Logprobs]:
        """:raises RemoteFailed: they are in no form that is known."""
        if not request.sampling.logprobs:
            return []
        try:
            return list(logprobs(choice))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RemoteFailed(
                f"{self._base} sends log-probabilities in an unknown form: {error!r}.", "Ask without logprobs."
            ) from error

    def _no_prefix(self) -> NoReturn:
        raise UnsupportedOperation(f"{self._base} keeps its prompt cache to itself.")

    def _discover(self, name: str) -> dict[str, Any]:
        """What the server says of the model."""
        patience = self._patience()
        while True:
            try:
                offered = [model for model in self._server.models() if isinstance(model.get("id"), str)]
                break
            except Transient as error:
                self._wait(patience, error, "Check that the server runs and that the URL ends in /v1.")
        names = ", ".join(model["id"] for model in offered) or "nothing"
        if not name:
            if len(offered) != 1:
                raise RemoteFailed(f"{self._base} offers {len(offered)} models: {names}.", "Name one: URL#NAME.")
            return offered[0]
        for model in offered:
            if model["id"] == name:
                return model
        raise RemoteFailed(f"{self._base} does not offer {name!r}.", f"It offers: {names}.")

    def _window(self, model: dict[str, Any]) -> int:
        """Tokens of prompt and answer together."""
        told = window(model)
        if told is None and self._dialect == "llama.cpp":
            told = window_of_props(self._server.props()) or trained_window(model)
        return told or _FALLBACK_CONTEXT

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
            case constraint:
                fields = constraint_fields(self._dialect, constraint)
                if fields is None:
                    raise UnsupportedConstraint(
                        f"{self._base} takes JSON schemas, not {type(constraint).__name__} constraints.",
                        "Use a local model, or a server of vLLM, SGLang or llama.cpp.",
                    )
                body |= fields
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

    def _require(self, constraint: Constraint | None, text: str) -> None:
        """Find out a server that ignores what it was asked for.

        :raises RemoteFailed: it does.
        """
        if isinstance(constraint, Choice) and text not in constraint.options:
            raise RemoteFailed(
                f"{self._base} was asked for one of {len(constraint.options)} texts and answered something else.",
                "The server may not support such constraints; use a local model.",
            )
        if isinstance(constraint, JsonSchema):
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
