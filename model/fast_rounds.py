"""A round of greedy speculation without the host: a pass of the model, its judgement of the drafts, and new drafts.

What speculate.py does in three calls, with the host between them, is here one piece of work on the device: the largest
logits say which drafts stay, and the predictor reads on from there. All shapes are fixed, so that a round can be
recorded in a CUDA graph (see graphs.py) and the host waits once for it.

N sequences, Q tokens that the model reads of each: the last one and up to Q - 1 drafts. K new drafts, D model width.
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.deepseek import DeepseekForCausalLM
from model.fast_decode import decode, logits, predict
from model.step import Step

NO_DRAFT = -1
"""Stands for a draft that a sequence does not have, at the end of its Q tokens."""


def advance(model: DeepseekForCausalLM, step: Step, cache: LatentCache, drafts: int, vocabulary: int) -> Tensor:
    """int64 [N, Q + K]: the likeliest token after each that was read, and `drafts` = K after those that stay.

    A sequence's drafts stay up to the first that is not the likeliest token before it; the likeliest token after the
    last that stays is the answer's, too. Only ids below `vocabulary` count. -1 stands for a token whose logits are not
    numbers. The predictor must have read all before the step; it then has read every token that stays.
    """
    tokens = step.tokens.view(len(step.lengths), -1)  # [N, Q]
    rope = model.model.rotary_emb(step.positions)
    hidden = decode(model, replace(step, tokens=step.tokens.clamp(min=0)) if drafts else step, cache, rope)
    best, found = logits(model, hidden)[:, :vocabulary].max(-1)
    # NaN and infinity less themselves are not 0.
    answer = found.masked_fill((best - best) != 0, -1).view_as(tokens)
    if not drafts:
        return answer
    # The predictor reads the likeliest token after every position. From the first draft that does not stay on these
    # are no part of the answer: what they leave in its cache is written over before anything attends to it.
    kept = (found.view_as(tokens)[:, :-1] == tokens[:, 1:]).cumprod(1).sum(1)  # [N]
    states = predict(model, replace(step, tokens=found), hidden, cache, rope)
    following = extend(model, step, states, _rows(tokens, kept), cache, drafts, vocabulary)
    return torch.cat([answer, *(own[:, None] for own in following)], 1)


def draft(
    model: DeepseekForCausalLM, step: Step, hidden: Tensor, cache: LatentCache, drafts: int, vocabulary: int
) -> Tensor:
    """int64 [N, K]: what the predictor drafts after it has read the tokens of `step` (see `speculate.draft`).

    `hidden` [N * Q, D] are the model's at the step's positions; where a token is NO_DRAFT, they may be any numbers.
    """
    tokens = step.tokens.view(len(step.lengths), -1)  # [N, Q]
    states = predict(model, replace(step, tokens=step.tokens.clamp(min=0)), hidden, cache)
    rows = _rows(tokens, (tokens != NO_DRAFT).sum(1) - 1)
    return torch.stack(extend(model, step, states, rows, cache, drafts, vocabulary), 1)


def extend(
    model: DeepseekForCausalLM,
    step: Step,
    states: Tensor,
    rows: Tensor,
    cache: LatentCache,
    drafts: int,
    vocabulary: int,
) -> list[Tensor]:
    """K times int64 [N]: drafts after what the predictor has read, whose states [N * Q, D] count at N of its `rows`.

    For every draft after the first it reads its own, at the places that follow; `step` says in which pages they lie.
    """
    states = states[rows]
    found = [logits(model, states)[:, :vocabulary].argmax(-1)]
    while len(found) < drafts:
        places = step.positions[rows] + len(found)
        pages = step.tables.gather(1, (places // PAGE)[:, None])[:, 0]
        ahead = replace(
            step, tokens=found[-1], positions=places, slots=pages * PAGE + places % PAGE, lengths=(places + 1).int()
        )
        states = predict(model, ahead, states, cache)
        found.append(logits(model, states)[:, :vocabulary].argmax(-1))
    return found


def _rows(tokens: Tensor, columns: Tensor) -> Tensor:
    """Where among the N * Q places of `tokens` each sequence's `columns` [N] one is."""
    return torch.arange(0, tokens.numel(), tokens.shape[1], device=tokens.device) + columns
