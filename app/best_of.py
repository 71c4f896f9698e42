"""Several answers to one prompt, of which the one stands that its sources support best; then the likelier one.

The first is drawn as the question asks, the others at a temperature of their own; the prompt is read once, where the
engine keeps what it read. That most of them refuse is a refusal. How far they agree is the confidence.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from app.answer import Started, TurnEvent
from app.grounding import Checked
from app.marks import marks
from app.sentences import content_words
from app.summary.statements import proven
from model.engine import AnswersTogether, Delta, Engine, Event, Finished, Logprobs, Prefilling, Request, Usage

MOST = 16
"""Samples of one answer."""
_TEMPERATURE = 0.7
"""Of all samples but the first, unless a higher one is asked for."""


@dataclass(slots=True)
class Sample:
    """One answer as it was drawn, and the milliseconds in which its prompt was read."""

    text: str = ""
    thought: str = ""
    logprob: float = 0.0
    tokens: int = 0
    """Of the answer, as far as their log-probabilities are known."""
    usage: Usage = field(default_factory=Usage)
    prefill_ms: float = 0.0

    @property
    def likelihood(self) -> float:
        """Mean log-probability (natural) of its tokens."""
        return self.logprob / max(self.tokens, 1)


def draw(engine: Engine, request: Request, count: int) -> Generator[TurnEvent, None, list[Sample]]:
    """`count` samples of the answer to `request`, together where the engine can. Closing the generator cancels."""
    own = replace(request.sampling, logprobs=1)
    requests = [
        replace(
            request,
            sampling=replace(own, temperature=max(own.temperature, _TEMPERATURE), seed=own.seed + n) if n else own,
        )
        for n in range(count)
    ]
    drawn = [Sample() for _ in requests]
    done = 0
    yield Started("answer", done, count)
    for n, event in _events(engine, requests):
        one = drawn[n]
        if isinstance(event, Prefilling):
            if event.done < event.total:
                yield Started("read", event.done, event.total)
        elif isinstance(event, Logprobs):
            one.logprob += event.token.logprob
            one.tokens += 1
        elif isinstance(event, Delta):
            one.thought += event.text if event.reasoning else ""
            one.text += "" if event.reasoning else event.text
        elif isinstance(event, Finished):
            one.usage, one.prefill_ms = event.usage, event.prefill_ms
            done += 1
            yield Started("answer", done, count)
    return drawn


def _events(engine: Engine, requests: Sequence[Request]) -> Iterator[tuple[int, Event]]:
    if isinstance(engine, AnswersTogether):
        yield from engine.generate_all(requests)
        return
    for n, request in enumerate(requests):
        for event in engine.generate(request):
            yield n, event


def best(drawn: Sequence[Sample], check: Callable[[Sample], Checked]) -> tuple[Sample, float]:
    """The sample that stands, and the confidence in it: how far the others agree, times the share that is supported;
    of a refusal, the share of those that do not refuse."""
    checked = [check(one) for one in drawn]
    refused = [one.refused and not one.supported for one in checked]
    if 2 * sum(refused) > len(drawn):
        return drawn[refused.index(True)], 1 - sum(refused) / len(drawn)
    support = [0.0 if no else _support(one) for one, no in zip(checked, refused, strict=True)]
    stands = max(range(len(drawn)), key=lambda n: (not refused[n], support[n], drawn[n].likelihood))
    said = [frozenset() if no else _words(one) for one, no in zip(checked, refused, strict=True)]
    others = [_alike(said[stands], words) for n, words in enumerate(said) if n != stands]
    return drawn[stands], support[stands] * sum(others) / max(len(others), 1)


def _support(checked: Checked) -> float:
    """Share of the sentences which claim something that the sources support."""
    kept, made = proven(checked)
    return len(kept) / made if made else 0.0


def _words(checked: Checked) -> frozenset[str]:
    text = checked.answer
    for mark in reversed(marks(text)):
        text = f"{text[: mark.start]} {text[mark.end :]}"
    return frozenset(content_words(text))


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    """F1 of the words that two answers share."""
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0
