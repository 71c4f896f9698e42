"""Speculation: a multi-token-prediction module drafts, one pass of the main model judges the drafts.

The rule is that of Leviathan et al. 2023 (Fast Inference from Transformers via Speculative Decoding, section 2.3) for
drafts that are certain, not drawn: a drafted token is kept with its probability p, else one is drawn from p without it.
To draw from p and to see whether the draft came is the same, and takes the same random numbers as decoding without
drafts: a seed gives the same answer either way, up to the rounding of passes of different lengths.

N sequences, T rows of all sequences together, D hidden width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.cache import LatentCache
from model.deepseek import DeepseekForCausalLM
from model.sampling import Drawn, Sampler, draw, likeliest
from model.step import Reading, make_step


@torch.inference_mode()
def verify(
    logits: Tensor, samplers: Sequence[Sampler], drafts: Sequence[Sequence[int]], ends: frozenset[int]
) -> list[list[Drawn]]:
    """What each sequence's sampler draws for as long as its drafts foretell it: the kept drafts, and one token more.

    Logits [T, V] hold, one sequence after the other, the rows after its last token and after each of its drafts.
    Nothing is drawn after a token of `ends`, nor after one that completes a constraint.
    """
    starts = _starts([len(own) + 1 for own in drafts])
    # All positions of plain greedy sequences are judged at once; others need each token before the next.
    if all(sampler.plain for sampler in samplers):
        known = likeliest(logits)
        return [keep(known[start:], own, ends) for start, own in zip(starts, drafts, strict=True)]
    found: list[list[Drawn]] = [[] for _ in drafts]
    going: Sequence[int] = range(len(drafts))
    while going:
        rows = [starts[number] + len(found[number]) for number in going]
        drawn = draw(logits[rows], [samplers[number] for number in going])
        for number, one in zip(going, drawn, strict=True):
            found[number].append(one)
        going = [number for number in going if _foretold(found[number], drafts[number], samplers[number], ends)]
    return found


def keep(likeliest: Sequence[int], drafts: Sequence[int], ends: frozenset[int]) -> list[Drawn]:
    """What plain greedy decoding takes of one sequence's `likeliest` tokens: as `verify` does."""
    kept = 0
    while kept < len(drafts) and drafts[kept] == likeliest[kept] and likeliest[kept] not in ends:
        kept += 1
    return [Drawn(token) for token in likeliest[: kept + 1]]


def _foretold(found: Sequence[Drawn], drafts: Sequence[int], sampler: Sampler, ends: frozenset[int]) -> bool:
    """Whether the last token found was drafted, and another may follow it."""
    last = found[-1].token
    if len(found) > len(drafts) or last != drafts[len(found) - 1] or last in ends:
        return False
    return sampler.constraint is None or not sampler.constraint.complete


@torch.inference_mode()
def follow(model: DeepseekForCausalLM, cache: LatentCache, readings: Sequence[Reading], hidden: Tensor) -> Tensor:
    """Let the first predictor read what the main model has read; its hidden states [N, D] at the last positions.

    `hidden` [T, D] are the main model's at the positions from each reading's `held` on, and the reading's tokens are
    those that come *after* these positions.
    """
    out = model.draft(0, make_step(readings, hidden.device), hidden, cache)
    starts = _starts([len(one.tokens) for one in readings])
    return out[[start + len(one.tokens) - 1 for start, one in zip(starts, readings, strict=True)]]


@torch.inference_mode()
def draft(
    model: DeepseekForCausalLM,
    cache: LatentCache,
    readings: Sequence[Reading],
    hidden: Tensor,
    count: int,
    vocabulary: int,
) -> list[list[int]]:
    """`count` likely tokens after each of `readings` (see `follow`), whose pages have room for `count` - 1 more.

    The predictor was trained for one token ahead; for more it reads its own drafts and hidden states. What that leaves
    in its cache lies after what was read, and is written over by the next reading.
    """
    out = follow(model, cache, readings, hidden)  # [N, D]
    places = [one.held + len(one.tokens) for one in readings]
    drafts: list[list[int]] = [[] for _ in readings]
    while True:
        tokens = model.logits(out)[:, :vocabulary].argmax(-1).tolist()
        for own, token in zip(drafts, tokens, strict=True):
            own.append(token)
        if len(drafts[0]) == count:
            return drafts
        ahead = [
            Reading([token], place + len(own) - 1, one.pages)
            for token, place, own, one in zip(tokens, places, drafts, readings, strict=True)
        ]
        out = model.draft(0, make_step(ahead, out.device), out, cache)


def _starts(lengths: Sequence[int]) -> list[int]:
    """Where each of the consecutive spans begins."""
    starts = [0]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length)
    return starts
