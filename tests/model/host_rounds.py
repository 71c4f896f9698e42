"""The plain twin of recorded rounds: what a device does in one piece, in the host's own calls, one by one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.cache import LatentCache
from model.deepseek import DeepseekForCausalLM
from model.speculate import draft, keep
from model.step import Reading, make_step


class HostRounds:
    """In the place of DecodeGraphs (see model/graphs.py); the last page of `cache` is nobody's."""

    def __init__(self, model: DeepseekForCausalLM, cache: LatentCache) -> None:
        self.model, self.cache = model, cache
        self.rounds = 0

    def covers(self, readings: Sequence[Reading]) -> bool:
        return False

    def drafts(self, readings: Sequence[Reading]) -> bool:
        return False

    def logits(self, hidden: Tensor) -> Tensor:
        return self.model.logits(hidden)

    def advances(self, sequences: int, drafts: int) -> bool:
        return True

    def advance(self, readings: Sequence[Reading], drafts: int, vocabulary: int) -> Tensor:
        self.rounds += 1
        rows = []
        for one in readings:
            pages = [*one.pages, self.cache.storage.shape[1] - 1]
            hidden = self.model.step(make_step([one._replace(pages=pages)], self.cache.storage.device), self.cache)
            found = self.model.logits(hidden)[:, :vocabulary].argmax(-1).tolist()
            kept = [own.token for own in keep(found, one.tokens[1:], frozenset())]
            ahead: list[int] = []
            if drafts:
                reading = Reading(kept, one.held, pages)
                ahead = draft(self.model, self.cache, [reading], hidden[: len(kept)], drafts, vocabulary)[0]
            rows.append([*found, *[-1] * (1 + drafts - len(found)), *ahead])
        return torch.tensor(rows)

    def likely(self, tokens: Sequence[int], held: int, pages: Sequence[int], count: int, vocabulary: int) -> list[int]:
        """The `count` tokens that plain greedy decoding has after `tokens`; what it leaves in the cache is not held."""
        made: list[int] = []
        for _ in range(count):
            reading = Reading([*tokens, *made], held, [*pages, self.cache.storage.shape[1] - 1])
            hidden = self.model.step(make_step([reading], self.cache.storage.device), self.cache)
            made.append(int(self.model.logits(hidden[-1:])[0, :vocabulary].argmax()))
        return made
