"""The engine protocol: the one seam between the assistant and every home a model can have.

Everything that crosses it is a frozen dataclass that pickles, so that an engine can live in another process or on
another machine. Constraints are data, never closures. Knows nothing about documents, memories or prompts' content.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from model.errors import InvalidSampling

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


Prompt = Sequence[Message] | Sequence[int] | str
"""Chat messages (rendered by the model's own template), token ids, or raw text (tokenised as it stands)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The output is exactly one of these strings."""

    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The output is JSON that satisfies this JSON Schema (itself JSON text)."""

    schema: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """The output is a sentence of this GBNF grammar."""

    gbnf: str


Constraint = Choice | JsonSchema | Grammar


_PENALTY = 1e6
"""Far more than forbids a token, far less than float32 holds."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn, and when to stop. Temperature 0 is greedy: no cuts, no seed.

    Penalties come first, then the constraint, the temperature and the cuts.

    :raises InvalidSampling: naming every value that is out of its bounds.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 means no limit."""
    min_p: float = 0.0
    seed: int = 0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    """Above 1, tokens of the prompt and the answer become less likely: their positive logits are divided by it, the
    others multiplied (Keskar et al. 2019, CTRL, section 4.1)."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token that the answer holds already."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit once for each time that the answer holds it already."""
    logprobs: int = 0
    """How many likeliest tokens are reported beside each drawn one (see `Logprobs`); 0 reports none."""

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (0.0, math.inf), "top_p": (0.0, 1.0), "top_k": (0, math.inf), "min_p": (0.0, 1.0),
            "max_tokens": (0, math.inf), "presence_penalty": (-_PENALTY, _PENALTY),
            "frequency_penalty": (-_PENALTY, _PENALTY), "repetition_penalty": (1 / _PENALTY, _PENALTY),
            "logprobs": (0, math.inf),
        }  # fmt: skip
        wrong = [
            f"{name} is {value}, not {_within(low, high)}"
            for name, (low, high) in bounds.items()
            if not (low <= (value := getattr(self, name)) <= high and abs(value) < math.inf)
        ]
        if wrong:
            raise InvalidSampling(f"{'; '.join(wrong)}.")


def _within(low: float, high: float) -> str:
    if math.isfinite(high):
        return f"from {low:g} to {high:g}"
    return f"at least {low:g}"


@dataclass(frozen=True, slots=True)
class Request:
    prompt: Prompt
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Prefilling:
    """Progress of reading the prompt: `done` of `total` tokens are in the cache."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that became certain. It may stand for several tokens, and is never half a character."""

    text: str
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its natural log-probability."""

    text: str
    """As it reads alone: a part of a character shows as U+FFFD."""
    logprob: float
    id: int | None = None
    """None where the engine knows no ids."""


@dataclass(frozen=True, slots=True)
class Logprobs:
    """How sure the model was of one token of the answer, where `Sampling.logprobs` asks; it comes before its text.

    These are the model's own, before penalties, constraint, temperature and cuts; ids without a text are left out.
    """

    token: TokenLogprob
    likeliest: tuple[TokenLogprob, ...]
    """Best first; the drawn token is among them where it belongs there."""


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation that was not cancelled. Times in milliseconds."""

    reason: Literal["stop", "length"]
    usage: Usage
    prefill_ms: float
    decode_ms: float


Event = Prefilling | Delta | Logprobs | Finished


@dataclass(frozen=True, slots=True)
class Score:
    """Log-probability (natural) of a candidate continuation: the sum over its `tokens` tokens."""

    logprob: float
    tokens: int

    @property
    def mean(self) -> float:
        return self.logprob / max(self.tokens, 1)


Capability = Literal["chat", "span", "score", "choice", "json_schema", "grammar", "prefix"]
"""`chat`: answers freely in prose. `span`: too small for prose; it chooses among candidates by `score`.
The others name the optional methods and constraints that the engine honours."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    reference: str
    name: str
    """For people: `DeepSeek-V2-Lite-Chat`."""
    engine: Literal["torch", "llama", "remote"]
    architecture: str
    """`deepseek_v3`, or what the server or file says of itself."""
    context: int
    """Tokens of prompt and answer together."""
    quantization: str
    devices: tuple[str, ...]
    capabilities: frozenset[Capability]
    total_parameters: int | None = None
    active_parameters: int | None = None


class Engine(Protocol):
    """A loaded model. Not thread-safe: one generation at a time; errors are `model.errors.ModelError`."""

    def describe(self) -> EngineInfo: ...

    def count_tokens(self, prompt: Prompt) -> int:
        """Tokens that `prompt` takes in the window; for messages, the template's own tokens included."""
        ...

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Stream a completion. Closing the generator cancels, between two tokens or two chunks of prefill."""
        ...

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        """Log-probability of each candidate as the continuation of `prompt`, which is read once."""
        ...

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        """Write the state after reading `prompt`, so that a later process need not read it again."""
        ...

    def load_prefix(self, file: Path) -> int:
        """Restore a saved state and return its number of tokens; a file of another model is refused."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class AnswersTogether(Protocol):
    """An engine that writes several answers at once, in less time than one after the other (the torch engine)."""

    def generate_all(self, requests: Sequence[Request]) -> Iterator[tuple[int, Event]]:
        """All `requests` together; each event with the number of its request."""
        ...


SESSION = "session"
"""The label under which conversations that ended are kept."""


@runtime_checkable
class KeepsShelves(Protocol):
    """An engine that keeps on disk what it read, and need not read it again (the torch engine)."""

    def shelve(self, prompts: Sequence[Prompt], label: str) -> int:
        """Read what `prompts` begin with in common and keep it until it is asked to go; its tokens.

        What was kept under `label` before goes.
        """
        ...

    def at_hand(self, prompt: Prompt) -> int:
        """Tokens of `prompt`, from its beginning, that need no reading."""
        ...

    def forget_sessions(self) -> None:
        """Take the conversations so far from disk, and do not put them there when the engine closes."""
        ...
