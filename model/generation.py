"""One request on its way to an answer: from drawn tokens to events. Knows nothing about models or caches."""

import time
from collections import deque
from collections.abc import Sequence

from model.constraints import TokenConstraint
from model.engine import Event, Finished, Logprobs, Prefilling, Sampling, TokenLogprob, Usage
from model.sampling import Drawn, Sampler
from model.sequence import TokenSequence
from model.streaming import Detokenizer, TextStream
from model.tokenizer import THINK, Tokenizer


class Generation:
    """The judge (see batch.py) of a request's sequence; `events` are those that nobody has fetched yet."""

    def __init__(
        self,
        sequence: TokenSequence,
        sampling: Sampling,
        constraint: TokenConstraint | None,
        tokenizer: Tokenizer,
        ends: frozenset[int],
    ) -> None:
        self.sequence = sequence
        self.sampler = Sampler(sampling, tuple(sequence.tokens), constraint)
        self.events: deque[Event] = deque()
        self.finished = False
        self._tokenizer, self._ends = tokenizer, ends
        self._prompt = len(sequence.tokens)
        self._detokenizer = Detokenizer(tokenizer.decode)
        reasoning = tokenizer.decode(sequence.tokens[-4:]).rstrip().endswith(THINK)
        self._stream = TextStream(sampling.stop, reasoning)
        self._made = self._drafted = self._kept = 0
        self._started = time.perf_counter()
        self._prefilled: float | None = None

    @property
    def left(self) -> int:
        return 0 if self.finished else self.sampler.sampling.max_tokens - self._made

    def read(self, held: int) -> None:
        if self._prefilled is not None:
            return
        self.events.append(Prefilling(held, self._prompt))
        if held == self._prompt:
            self._prefilled = time.perf_counter()
            self._settle(ended=False)

    def accept(self, drawn: Sequence[Drawn], drafted: int) -> None:
        self._drafted += drafted
        self._kept += len(drawn) - 1
        ended = False
        for one in drawn:
            self._made += 1
            if one.token in self._ends:
                ended = True
                break
            if self.sampler.sampling.logprobs:
                self.events.append(self._logprobs(one))
            self.events += self._stream.push(self._detokenizer.push(one.token))
            if self._stream.stopped:
                break
        self._settle(ended)

    def _settle(self, ended: bool) -> None:
        """Finish where nothing more may come."""
        constraint = self.sampler.constraint
        ended = ended or self._stream.stopped or (constraint is not None and constraint.complete)
        if not ended and self._made < self.sampler.sampling.max_tokens:
            return
        if not self._stream.stopped:
            self.events += self._stream.push(self._detokenizer.flush())
            self.events += self._stream.flush()
        assert self._prefilled is not None  # the prompt was read
        self.events.append(
            Finished(
                reason="stop" if ended else "length",
                usage=Usage(
                    prompt_tokens=self._prompt,
                    cached_tokens=self.sequence.cached or 0,
                    completion_tokens=self._made,
                    drafted=self._drafted,
                    accepted=self._kept,
                ),
                prefill_ms=(self._prefilled - self._started) * 1e3,
                decode_ms=(time.perf_counter() - self._prefilled) * 1e3,
            )
        )
        self.finished = True

    def _logprobs(self, drawn: Drawn) -> Logprobs:
        own, *likeliest = [
            TokenLogprob(self._tokenizer.decode([token]), logprob, token)
            for token, logprob in [(drawn.token, drawn.logprob), *drawn.likeliest]
        ]
        return Logprobs(own, tuple(likeliest))
