"""Log-probabilities of many continuations of one read prompt. Knows nothing about text.

V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.errors import NotANumber
from model.runner import Runner

_BRANCH_TOKENS = 1024
"""Tokens that one pass scores at most, where one continuation alone does not exceed them; padding counts."""


@torch.inference_mode()
def score(
    runner: Runner, pages: Sequence[int], history: int, last: Tensor, rows: Sequence[Sequence[int]]
) -> list[float]:
    """The log-probability of each row of tokens after the `history` tokens that `pages` hold.

    `last` [1, D] is the final hidden state of the last of these.

    :raises NotANumber: a score is none.
    """
    first = runner.logits(last)[0].float().log_softmax(-1).cpu()
    totals = [float(first[row[0]]) if row else 0.0 for row in rows]
    for numbers in _batches([len(row) - 1 for row in rows], _BRANCH_TOKENS):
        wanted = torch.tensor([token for number in numbers for token in rows[number][1:]], device=last.device)
        logits = runner.branch([rows[number][:-1] for number in numbers], history, pages).float()  # [T, V]
        gains = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)
        lengths = [len(rows[number]) - 1 for number in numbers]
        for number, own in zip(numbers, torch.split(gains.cpu(), lengths), strict=True):
            totals[number] += float(own.double().sum())
    if any(math.isnan(total) for total in totals):
        raise NotANumber("The model's scores are not numbers (NaN).", NotANumber.usual_mend)
    return totals


def _batches(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Indices of the positive lengths, shorter ones first, in batches that padded take at most `limit` together."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[number] > limit:
            yield batch
            batch = []
        if lengths[number] > 0:
            batch.append(number)
    if batch:
        yield batch
