"""Drawing the next token. Pure but for its own seeded generator; knows nothing about models."""

from collections.abc import Callable

import torch
from torch import Tensor

from model.engine import Sampling

_TRIES = 48


class Sampler:
    """Temperature, then the top_k, top_p and min_p cuts. The same seed and logits draw the same tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def draw(self, logits: Tensor, allowed: Tensor | None = None, accepts: Callable[[int], bool] | None = None) -> int:
        """One token id from logits [vocabulary]: among `allowed` (int64) where given, else among those it `accepts`."""
        if allowed is not None:
            return int(allowed[self._pick(logits[allowed.to(logits.device)].float().cpu())])
        scores = logits.float().cpu()
        if accepts is None:
            return self._pick(scores)
        # Likely tokens are usually accepted; only where many were not, all are asked.
        scores = scores.clone()
        for _ in range(_TRIES):
            token = self._pick(scores)
            if accepts(token):
                return token
            scores[token] = float("-inf")
        return self.draw(logits, torch.tensor([token for token in range(len(scores)) if accepts(token)]))

    def _pick(self, scores: Tensor) -> int:
        s = self._sampling
        if s.temperature <= 0 or len(scores) == 1:
            return int(scores.argmax())
        # Sorted, the cuts keep a beginning; stable, so that ties always fall the same way.
        shares, order = (scores.double() / s.temperature).softmax(-1).sort(descending=True, stable=True)
        keep = len(shares) if s.top_k <= 0 else min(s.top_k, len(shares))
        kept = shares[:keep] / shares[:keep].sum()
        if s.top_p < 1:
            before = kept.cumsum(0) - kept
            kept = kept[: max(int((before < s.top_p).sum()), 1)]
            kept = kept / kept.sum()
        if s.min_p > 0:
            kept = kept[: max(int((kept >= s.min_p * kept[0]).sum()), 1)]
        ends = kept.cumsum(0)
        point = torch.rand((), generator=self._generator, dtype=torch.float64) * ends[-1]
        return int(order[min(int(torch.searchsorted(ends, point, right=True)), len(ends) - 1)])
