"""Drawing the next tokens of a batch. Pure but for each sequence's own seeded generator; knows nothing about models.

N sequences, M rows of them, V vocabulary. Everything [V] stays on the logits' device: one step transfers the drawn
tokens, and log-probabilities where they are asked for.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.constraints import TokenConstraint
from model.engine import Sampling
from model.errors import NotANumber

_UNIT = 1 << 50
"""A probability of 1 in integers. Sums of integers do not depend on the order of addition, which a GPU does not fix."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One drawn token; log-probabilities, the model's own, only where the sampling asks for them."""

    token: int
    logprob: float = 0.0
    likeliest: tuple[tuple[int, float], ...] = ()
    """(token, log-probability), best first."""


class Sampler:
    """What decides the next token of one sequence: its sampling, its tokens so far, its constraint and its seed.

    The same seed and logits draw the same tokens on a given device.
    """

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int] = (), constraint: TokenConstraint | None = None
    ) -> None:
        self.sampling = sampling
        self.constraint = constraint
        self._prompt = prompt
        self._random = random.Random(sampling.seed)
        self._answer: list[int] = []  # tokens that the counts below do not hold yet
        self._counts: tuple[Tensor, Tensor] | None = None
        s = sampling
        self._penalises = (s.repetition_penalty, s.presence_penalty, s.frequency_penalty) != (1.0, 0.0, 0.0)

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature <= 0

    @property
    def plain(self) -> bool:
        """Whether it takes the largest logit as it stands, and nothing else is asked."""
        return self.greedy and not self.shapes and not self.sampling.logprobs

    @property
    def shapes(self) -> bool:
        """Whether it changes logits before temperature and cuts."""
        return self._penalises or self.constraint is not None

    def shape(self, logits: Tensor) -> Tensor:
        """Logits [V] in float32 with penalties, and -inf for what the constraint forbids."""
        scores = logits.float()
        if self._penalises:
            scores = self._penalised(scores)
        if self.constraint is not None:
            scores = scores.masked_fill(~self.constraint.allowed().to(scores.device), float("-inf"))
        return scores

    def point(self) -> float:
        """The next number in [0, 1) of its generator."""
        return self._random.random()

    def accept(self, token: int) -> None:
        """Take note that `token` came."""
        if self._penalises:
            self._answer.append(token)
        if self.constraint is not None:
            self.constraint.advance(token)

    def _penalised(self, scores: Tensor) -> Tensor:
        s = self.sampling
        if self._counts is None:
            seen = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
            known = [token for token in {*self._prompt} if token < len(scores)]
            seen[torch.tensor(known, dtype=torch.int64, device=scores.device)] = True
            self._counts = seen, torch.zeros_like(scores)
        seen, counts = self._counts
        for token in self._answer:
            seen[token] = True
            counts[token] += 1
        self._answer.clear()
        repeated = torch.where(scores > 0, scores / s.repetition_penalty, scores * s.repetition_penalty)
        scores = torch.where(seen, repeated, scores)
        return scores - s.frequency_penalty * counts - s.presence_penalty * (counts > 0)


@torch.inference_mode()
def draw(logits: Tensor, samplers: Sequence[Sampler]) -> list[Drawn]:
    """One token for each row of logits [N, V]; its sampler has taken note of it.

    Where all are greedy and nothing shapes them, this is `likeliest`, with one transfer of N numbers.

    :raises NotANumber: see `likeliest`.
    """
    scores = logits
    if any(sampler.shapes for sampler in samplers):
        rows = [s.shape(row) if s.shapes else row.float() for row, s in zip(logits, samplers, strict=True)]
        scores = torch.stack(rows)
    best, tokens = scores.max(-1)  # [N]
    if drawn := [number for number, sampler in enumerate(samplers) if not sampler.greedy]:
        own = [samplers[number] for number in drawn]
        likely = shares(scores[drawn], [sampler.sampling for sampler in own])
        tokens[drawn] = pick(likely, [sampler.point() for sampler in own])
    found = [Drawn(token) for token in _checked(tokens, best)]
    if asked := [number for number, sampler in enumerate(samplers) if sampler.sampling.logprobs]:
        most = max(samplers[number].sampling.logprobs for number in asked)
        for number, one in zip(asked, logprobs(logits[asked], tokens[asked], most), strict=True):
            found[number] = Drawn(one.token, one.logprob, one.likeliest[: samplers[number].sampling.logprobs])
    for sampler, one in zip(samplers, found, strict=True):
        sampler.accept(one.token)
    return found


def likeliest(logits: Tensor) -> list[int]:
    """The id of the largest of each row of logits [N, V].

    :raises NotANumber: a row holds NaN or infinity.
    """
    best, tokens = logits.max(-1)
    return _checked(tokens, best)


def _checked(tokens: Tensor, best: Tensor) -> list[int]:
    """`tokens` [N] on the host, if the largest logit of each row is a number: NaN and infinity would be it."""
    found: list[int] = torch.where(best.abs() < math.inf, tokens, -1).tolist()
    if -1 in found:
        raise NotANumber("The model's output is not a number (NaN or infinity).", NotANumber.usual_mend)
    return found


def shares(scores: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Probabilities in float64 that scores [M, V] have after temperature (above 0), top_k, top_p and min_p.

    Each cut judges what the one before it left, as a distribution of its own. Of equal tokens at the edge of a cut,
    those with the lower ids stay.
    """
    size = scores.shape[-1]
    knobs = [[s.temperature, min(s.top_k or size, size), s.top_p, s.min_p] for s in samplings]
    columns = torch.tensor(knobs, dtype=torch.float64, device=scores.device).T[..., None]  # [4, M, 1]
    temperature, top_k, top_p, min_p = columns.unbind()
    scores = scores.double()
    # The largest becomes 0, which no temperature, however small, makes infinite.
    likely = ((scores - scores.amax(-1, keepdim=True)) / temperature).softmax(-1)
    if all(s.top_k == 0 and s.top_p >= 1 and s.min_p == 0 for s in samplings):
        return likely
    # Sorted, the cuts keep a beginning: each row's first `kept`. A few of many are found faster than sorted.
    most = int(max(knob[1] for knob in knobs))
    best = likely.topk(most).values if most < size else likely.sort(descending=True).values
    kept = top_k.long().clamp(max=size)
    ends = _whole(best).cumsum(-1)  # [M, width]
    before = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], -1)
    within = (before < top_p * ends.gather(-1, kept - 1)) | (top_p >= 1)
    kept = torch.minimum(kept, within.sum(-1, keepdim=True)).clamp(min=1)
    kept = torch.minimum(kept, (best >= min_p * best[:, :1]).sum(-1, keepdim=True)).clamp(min=1)
    edge = best.gather(-1, kept - 1)
    tied = likely == edge
    room = kept - (likely > edge).sum(-1, keepdim=True)
    likely = likely.where((likely > edge) | (tied & (tied.cumsum(-1) <= room)), 0.0)
    return likely / likely.sum(-1, keepdim=True)


def pick(shares: Tensor, points: Sequence[float]) -> Tensor:
    """The tokens, int64 [M], in which `points` of [0, 1) fall when the tokens' shares [M, V] are laid end to end."""
    ends = _whole(shares).cumsum(-1)
    where = torch.tensor(points, dtype=torch.float64, device=shares.device)[:, None]
    return torch.searchsorted(ends, (where * ends[:, -1:]).long(), right=True)[:, 0]


def logprobs(logits: Tensor, tokens: Tensor, most: int) -> list[Drawn]:
    """`tokens` [M] with their log-probabilities by logits [M, V], and the `most` likeliest of each row."""
    likely = logits.float().log_softmax(-1)
    values, ids = likely.topk(min(most, likely.shape[-1]))
    own = likely.gather(-1, tokens[:, None])[:, 0]
    return [
        Drawn(token, logprob, tuple(zip(others, theirs, strict=True)))
        for token, logprob, others, theirs in zip(
            tokens.tolist(), own.tolist(), ids.tolist(), values.tolist(), strict=True
        )
    ]


def _whole(shares: Tensor) -> Tensor:
    return (shares * _UNIT).long()
