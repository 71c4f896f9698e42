"""Groups of answers sampled from a policy: several continuations of each of many prompts.

A prompt is read once, and its latents serve all answers to it: their queries are rows of one product with them. Knows
nothing about tokenization or rewards.

B prompts, S tokens of the longest one, G answers to each, A tokens of an answer at most, D hidden width, H heads,
N no-position width, P rotary width, R latent rank, V vocabulary, C = R + P.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from model.attention import Attention
from model.decoder_layer import DecoderLayer
from model.deepseek import DeepseekForCausalLM

Groups = list[list[list[int]]]
"""The tokens of each answer to each prompt."""


@torch.no_grad()
def sample_groups(
    model: DeepseekForCausalLM,
    prompts: Sequence[Sequence[int]],
    group: int,
    most: int,
    ends: Tensor,
    generator: torch.Generator | None = None,
) -> Groups:
    """`group` answers to each of `prompts`, drawn from the model's own distribution (temperature 1).

    :param most: tokens after which an answer is cut off.
    :param ends: bool [V], the tokens with which an answer ends; they belong to it.
    :param generator: of the model's device. None takes the likeliest token each time.
    """
    logits, latents = _read_prompts(model, prompts)
    state = _State(torch.tensor([len(one) for one in prompts], device=ends.device), latents, group, most)
    tokens = _draw(logits[:, None].expand(-1, group, -1), generator)  # [B, G]
    drawn, done = [tokens], ends[tokens]
    for place in range(most - 1):
        if done.all():
            break
        tokens = _draw(_read_next(model, tokens, place, state), generator)
        drawn.append(tokens)
        done = done | ends[tokens]
    found, ended = torch.stack(drawn, dim=-1), torch.stack([ends[one] for one in drawn], dim=-1)  # [B, G, tokens]
    before = (ended.cumsum(-1) - ended.long() == 0).sum(-1)  # tokens up to the first end, which counts
    return [
        [tokens[:length] for tokens, length in zip(answers, lengths, strict=True)]
        for answers, lengths in zip(found.tolist(), before.tolist(), strict=True)
    ]


@dataclass(slots=True)
class _State:
    """What has been read so far."""

    lengths: Tensor
    """int64 [B]: tokens of each prompt"""
    prompts: list[Tensor]
    """of each layer [B, S, C]"""
    unseen: Tensor
    """float32 [B, 1, S]: what is added to the scores of a prompt; -inf behind its end"""
    answers: list[Tensor]
    """of each layer [B, G, A, C]"""

    def __init__(self, lengths: Tensor, latents: list[Tensor], group: int, most: int) -> None:
        count, longest, width = latents[0].shape
        behind = torch.arange(longest, device=lengths.device) >= lengths[:, None]
        self.lengths, self.prompts = lengths, latents
        self.unseen = torch.zeros(count, 1, longest, device=lengths.device).masked_fill(behind[:, None], -torch.inf)
        self.answers = [one.new_zeros(count, group, most, width) for one in latents]


def _draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """[..., V] -> tokens [...]."""
    if generator is None:
        return logits.argmax(-1)
    # The likeliest of chances divided by exponential noise has the distribution of the chances (Gumbel's trick).
    chances = logits.float().softmax(-1)
    return (chances / torch.empty_like(chances).exponential_(generator=generator)).argmax(-1)


def _read_prompts(model: DeepseekForCausalLM, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, list[Tensor]]:
    """Logits after each prompt [B, V], and the latents of all tokens, of each layer [B, S, C]."""
    device = model.model.embed_tokens.weight.device
    longest = max(len(one) for one in prompts)
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in prompts], device=device)
    x, rope = _embed(model, ids), model.model.rotary_emb(torch.arange(longest, device=device))
    latents = []
    for module in model.model.layers:  # as in training: causality alone keeps the padding behind a prompt out
        layer = cast(DecoderLayer, module)
        latents.append(layer.self_attn.latents(layer.input_layernorm(x), rope))
        x, _ = layer(x, rope)
    ends = torch.tensor([len(one) - 1 for one in prompts], device=device)
    last = x[torch.arange(len(prompts), device=device), ends]
    return model.logits(model.model.norm(last)), latents


def _read_next(model: DeepseekForCausalLM, tokens: Tensor, place: int, state: _State) -> Tensor:
    """Logits [B, G, V] after token number `place` (from 0) of every answer, `tokens` [B, G]."""
    positions = (state.lengths + place)[:, None].expand(tokens.shape)
    x, rope = _embed(model, tokens), model.model.rotary_emb(positions)
    for number, module in enumerate(model.model.layers):
        layer = cast(DecoderLayer, module)
        normed = layer.input_layernorm(x)
        answers = state.answers[number]
        answers[:, :, place] = layer.self_attn.latents(normed, rope).to(answers.dtype)
        seen = answers[:, :, : place + 1]
        attended = _attend(layer.self_attn, normed, rope, state.prompts[number], state.unseen, seen)
        x, _ = layer.feed(x + attended, False)
    return model.logits(model.model.norm(x))


def _attend(
    attention: Attention, x: Tensor, rope: tuple[Tensor, Tensor], prompts: Tensor, unseen: Tensor, answers: Tensor
) -> Tensor:
    """Absorbed attention of one token of every answer, x [B, G, D], to its prompt and its own answer -> [B, G, D]."""
    rank = attention.config.kv_lora_rank
    q_nope, q_rope = attention.queries(x, rope)  # [B, G, H, *]
    to_latent, to_value = attention.absorbed(x.dtype)  # [H, N, R], [H, V, R]
    query = torch.cat([torch.einsum("bghn,hnr->bghr", q_nope, to_latent), q_rope], dim=-1) * attention.scale
    rows = query.flatten(1, 2)  # [B, G*H, C]
    of_prompt = torch.matmul(rows, prompts.mT).float() + unseen  # [B, G*H, S]
    of_answer = torch.matmul(query, answers.mT).float().flatten(1, 2)  # [B, G*H, tokens]
    shares = torch.cat([of_prompt, of_answer], dim=-1).softmax(-1).to(x.dtype)
    for_prompt, for_answer = torch.split(shares, [prompts.shape[1], answers.shape[2]], dim=-1)
    context = torch.matmul(for_prompt, prompts[..., :rank]).view(*query.shape[:3], rank)  # [B, G, H, R]
    context = context + torch.matmul(for_answer.view(*query.shape[:3], -1), answers[..., :rank])
    out: Tensor = attention.o_proj(torch.einsum("bghr,hvr->bghv", context, to_value).flatten(-2))
    return out


def _embed(model: DeepseekForCausalLM, tokens: Tensor) -> Tensor:
    x: Tensor = model.model.embed_tokens(tokens)
    return x if model.compute_dtype is None else x.to(model.compute_dtype)
