"""The objective of group-relative policy optimisation (DeepSeekMath, Shao et al., 2024; R1, DeepSeek-AI, 2025).

A question and the answers sampled to it are one row: the prompt stands there once, and after it every answer, each with
the positions that follow the prompt and blind to the others. That is what a row for each answer would give, for a
fraction of the work. Knows nothing about where answers and rewards come from.

B questions, G answers to each, S tokens of the longest row, M tokens of all answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.deepseek import DeepseekForCausalLM

_EPS = 1e-4
_MULTIPLE = 64
"""Row widths are rounded up to it: few shapes, and masks whose rows are aligned."""


def advantages(rewards: Tensor, scaled: bool) -> Tensor:
    """How much better each answer is than the others of its group: [B, G] -> [B, G].

    `scaled` divides by the group's standard deviation, as first published. Without it, questions on which answers
    differ little do not count as much as those on which they differ most, and the gradient is that of the mean reward
    (Dr. GRPO; Liu et al., 2025).
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, correction=0, keepdim=True) + _EPS) if scaled else centred


def surrogate(now: Tensor, then: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's clipped objective of each token, to be raised (Schulman et al., 2017); all are [M].

    `now` are log-probabilities and `then` those under the policy that sampled. What a token gains by being more (or
    less) likely than then ends at a ratio of 1 +- `clip`.
    """
    ratio = (now - then).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def divergence(now: Tensor, reference: Tensor) -> Tensor:
    """Unbiased, never negative estimate of KL(policy | reference) at each sampled token (Schulman's k3), [M]."""
    difference = reference - now
    return difference.exp() - difference - 1


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of questions with their answers."""

    tokens: NDArray[np.int64]
    """[B, S]: a prompt, then its answers, each without its last token, of which nothing follows"""
    positions: NDArray[np.int64]
    """[B, S]"""
    parts: NDArray[np.int64]
    """[B, S]: 0 in the prompt, else the number of the answer from 1; padding is a part of its own"""
    places: NDArray[np.int64]
    """[M]: where in B*S each token of an answer is predicted"""
    targets: NDArray[np.int64]
    """[M]: that token"""
    answers: NDArray[np.int64]
    """[M]: which of the B*G answers it belongs to"""


def pack(prompts: Sequence[Sequence[int]], groups: Sequence[Sequence[Sequence[int]]]) -> Packed:
    """One row for each prompt with the answers to it, each of at least one token."""
    lengths = [len(p) + sum(len(one) - 1 for one in group) for p, group in zip(prompts, groups, strict=True)]
    width = -(-max(lengths) // _MULTIPLE) * _MULTIPLE
    shape = len(prompts), width
    tokens, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    parts = np.full(shape, 1 + max(len(group) for group in groups), np.int64)
    places: list[int] = []
    targets: list[int] = []
    answers: list[int] = []
    number = 0
    for row, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        size = len(prompt)
        tokens[row, :size], positions[row, :size], parts[row, :size] = prompt, np.arange(size), 0
        end = size
        for part, answer in enumerate(group, 1):
            own = slice(end, end + len(answer) - 1)
            tokens[row, own], parts[row, own] = answer[:-1], part
            positions[row, own] = np.arange(size, size + len(answer) - 1)
            places += [row * width + place for place in (size - 1, *range(own.start, own.stop))]
            targets += answer
            answers += [number] * len(answer)
            number, end = number + 1, own.stop
    return Packed(tokens, positions, parts, np.array(places), np.array(targets), np.array(answers))


def visible(parts: Tensor) -> Tensor:
    """bool [B, 1, S, S]: whether a query sees a key, which is not later, of its own part or of the prompt."""
    own = parts[:, :, None] == parts[:, None, :]
    return (own | (parts == 0)[:, None, :]).tril()[:, None]


def log_probabilities(model: DeepseekForCausalLM, packed: Packed) -> Tensor:
    """float32 [M], of every token of every answer, given what stands before it."""
    device = model.model.embed_tokens.weight.device
    tokens, positions, parts, places, targets = (
        torch.from_numpy(array).to(device, non_blocking=True)
        for array in (packed.tokens, packed.positions, packed.parts, packed.places, packed.targets)
    )
    hidden, _ = model.hidden(tokens, positions, visible(parts))
    logits = model.logits(hidden.flatten(0, 1)[places]).float()  # [M, V]
    chosen: Tensor = logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)
    return chosen
