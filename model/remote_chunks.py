"""Objects of an OpenAI-compatible stream as the engine's events. Whatever a server may send instead is `Garbled`."""

import math
from collections.abc import Iterator
from typing import Any

from model.engine import Delta, Logprobs, TokenLogprob, Usage
from model.patience import Transient


class Garbled(Transient):
    """An object of the stream is not in the form that the API promises."""


def choices(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices in one object of the stream; the last one, with the usage, has none.

    :raises Garbled: they are none.
    """
    given = chunk.get("choices") or []
    if not isinstance(given, list) or not all(isinstance(choice, dict) for choice in given):
        raise Garbled("the stream holds choices in an unknown form")
    return given


def deltas(choice: dict[str, Any]) -> Iterator[Delta]:
    """Reasoning and text of one streamed choice, in chat or plain form.

    :raises Garbled: it is in neither.
    """
    delta = choice.get("delta") or {}
    if not isinstance(delta, dict):
        raise Garbled("the stream holds text in an unknown form")
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    text = delta.get("content") or choice.get("text")
    for said in (reasoning, text):
        if not isinstance(said, str | None):
            raise Garbled("the stream holds text in an unknown form")
    if reasoning:
        yield Delta(_unicode(reasoning), reasoning=True)
    if text:
        yield Delta(_unicode(text))


def logprobs(choice: dict[str, Any]) -> Iterator[Logprobs]:
    """Those of one streamed choice: objects in chat form, parallel lists in plain form.

    :raises KeyError, TypeError, ValueError, AttributeError: they are in neither.
    """
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


def echoed(answer: dict[str, Any], text: str) -> tuple[float, int]:
    """Of a completion that begins with `text`, its prompt: the sum of the log-probabilities, and its tokens.

    Nothing is said of the first token, which counts as certain.

    :raises KeyError, TypeError, ValueError, AttributeError, IndexError: it is in no form that is known.
    """
    choice = answer["choices"][0]
    if not str(choice["text"]).startswith(text):
        raise ValueError("the text is not repeated")
    told = list(choice["logprobs"]["token_logprobs"])
    del told[len(told) - int(answer["usage"]["completion_tokens"]) :]
    return math.fsum(float(one) for one in told[1:]), len(told)


def usage(chunk: dict[str, Any]) -> Usage | None:
    """What the request took, if this object tells."""
    given = chunk.get("usage")
    if not isinstance(given, dict):
        return None
    details = given.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(
        prompt_tokens=_number(given.get("prompt_tokens")),
        cached_tokens=_number(cached),
        completion_tokens=_number(given.get("completion_tokens")),
    )


def _unicode(text: str) -> str:
    """Half of a surrogate pair, which JSON can hold and no file of ours, as a question mark."""
    return text.encode("utf-8", "replace").decode()


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1 << 53 else 0
