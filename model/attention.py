"""Multi-head latent attention (DeepSeek-V2 report, section 2.1), in its two equivalent forms.

Expanded: keys and values of every head are computed from the latents; cheaper for many queries. Absorbed: the key and
value projections are folded into the query and the output, so that all heads attend to the latents themselves; cheaper
for few queries. Over a cache, the history is read in blocks whose results are merged (see partial.py): nothing grows
with the square of the context.

B batch, S new tokens, T all tokens, H heads, N no-position width, P rotary width, R latent rank, V value width,
C = R + P.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.cache import PAGE, LatentCache
from model.config import Config
from model.layers import Linear, RMSNorm
from model.page_selection import PageSelection
from model.partial import Part, attend, join, merge
from model.rope import rotate
from model.shard import WHOLE, Shard
from model.split_cache import exchange
from model.step import Branches, Step

# The reference implementations build the latent norms with this epsilon, whatever rms_norm_eps says.
LATENT_EPS = 1e-6

_HISTORY_BLOCK = 8192
"""Tokens of history that are expanded at once."""

_ABSORBED_SCORES = 1 << 25
"""Scores that absorbed attention holds at once (128 MiB)."""


class Attention(nn.Module):
    """One layer's attention, over whole sequences or over a cache."""

    def __init__(self, config: Config, layer: int, shard: Shard = WHOLE) -> None:
        """Of a part of a model, only the heads of `shard`: what it returns is then to be summed over the ranks."""
        super().__init__()
        c = self.config = config
        self.layer = layer
        self.scale = c.softmax_scale
        heads = self.heads = c.num_attention_heads // shard.size
        if c.q_lora_rank is None:
            self.q_proj = Linear(c.hidden_size, heads * c.qk_head_dim, bias=False)
        else:
            self.q_a_proj = Linear(c.hidden_size, c.q_lora_rank, bias=c.attention_bias)
            self.q_a_layernorm = RMSNorm(c.q_lora_rank, eps=LATENT_EPS)
            self.q_b_proj = Linear(c.q_lora_rank, heads * c.qk_head_dim, bias=False)
        self.kv_a_proj_with_mqa = Linear(c.hidden_size, c.latent_dim, bias=c.attention_bias)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, eps=LATENT_EPS)
        self.kv_b_proj = Linear(c.kv_lora_rank, heads * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        self.o_proj = Linear(heads * c.v_head_dim, c.hidden_size, bias=c.attention_bias and shard.first)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """Whole sequences x [B, S, D] -> [B, S, D], with gradients.

        Causal, or by `mask` (bool, broadcast to [B, H, S, S], True where a query sees a key).
        """
        (q_nope, q_rope), latents = self.queries(x, rope), self.latents(x, rope)
        key, value = self._expand(latents)
        if not x.is_cuda:
            # A CPU's flash kernel wants equal widths: a narrower value is padded, and the padding cut off again.
            value = F.pad(value, (0, max(self.config.qk_head_dim - self.config.v_head_dim, 0)))
        out = F.scaled_dot_product_attention(
            torch.cat([q_nope, q_rope], dim=-1).transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
            scale=self.scale,
        )
        result: Tensor = self.o_proj(out[..., : self.config.v_head_dim].transpose(1, 2).flatten(-2))
        return result

    def read(self, x: Tensor, rope: tuple[Tensor, Tensor], what: Step | Branches, cache: LatentCache) -> Tensor:
        """New tokens x [S, D] -> [S, D], over what `cache` holds of their sequences; a step is written into it."""
        (q_nope, q_rope), latents = self.queries(x, rope), self.latents(x, rope)
        if isinstance(what, Branches):
            out = self._branches(q_nope, q_rope, latents, what, cache)
        else:
            cache.write(self.layer, what.slots, latents)
            outs, start = [], 0
            for new, total, pages, decoding in zip(what.new, what.totals, what.pages, what.decoding, strict=True):
                own = slice(start, start + new)
                cache.complete(self.layer, pages[(total - new) // PAGE : total // PAGE])
                if decoding and cache.selection is not None:
                    outs.append(self._selected(q_nope[own], q_rope[own], total, pages, cache, cache.selection))
                else:
                    outs.append(self._sequence(q_nope[own], q_rope[own], latents[own], total, pages, cache))
                start += new
            out = torch.cat(outs, dim=1)
        result: Tensor = self.o_proj(out.transpose(0, 1).flatten(1))  # [H, S, V] -> [S, D]
        return result

    def queries(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What tokens [..., S, D] look for, without and with position: [..., S, H, N] and [..., S, H, P]."""
        c = self.config
        cos, sin = rope
        q = self.q_proj(x) if c.q_lora_rank is None else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.unflatten(-1, (self.heads, c.qk_head_dim))
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        return q_nope, rotate(q_rope, cos.unsqueeze(-2), sin.unsqueeze(-2), c.rope_interleave)

    def latents(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """What a cache keeps of tokens [..., S, D]: normalised and rotated [..., S, C]."""
        c = self.config
        kv, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        return torch.cat([self.kv_a_layernorm(kv), rotate(k_rope, *rope, c.rope_interleave)], dim=-1)

    def absorbed(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The maps from queries to the width of latents and from latents to values: [H, N, R] and [H, V, R]."""
        weight = self.kv_b_proj.expanded(dtype).view(self.heads, -1, self.config.kv_lora_rank)
        return weight[:, : self.config.qk_nope_head_dim], weight[:, self.config.qk_nope_head_dim :]

    def _absorption_pays(self, new: int) -> bool:
        """Whether absorbed attention of `new` queries takes fewer multiplications than expanding every cached token.

        Per cached token and head: expanded R(N+V) once and (N+P)+V per query, absorbed (R+P)+R per query.
        """
        c = self.config
        expand = c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim)
        saved = 2 * c.kv_lora_rank + c.qk_rope_head_dim - c.qk_head_dim - c.v_head_dim
        return new * saved < expand

    def _sequence(
        self, q_nope: Tensor, q_rope: Tensor, latents: Tensor, total: int, pages: tuple[int, ...], cache: LatentCache
    ) -> Tensor:
        """The last S of one sequence's `total` tokens over all of them -> [H, S, V]."""
        new = len(latents)
        if self._absorption_pays(new):
            return merge(self._absorbed(q_nope, q_rope, pages, total, cache, causal=True))
        query = torch.cat([q_nope, q_rope], dim=-1).transpose(0, 1)  # [H, S, N + P]
        own = self._expanded(query, latents, causal=True)
        return merge([*self._expanded_history(query, pages, total - new, cache), own])

    def _selected(
        self,
        q_nope: Tensor,
        q_rope: Tensor,
        total: int,
        pages: tuple[int, ...],
        cache: LatentCache,
        selection: PageSelection,
    ) -> Tensor:
        """As `_sequence`, over the pages that each token chooses for itself: what follows it changes nothing."""
        outs = []
        for number, own in enumerate(range(total - len(q_nope) + 1, total + 1)):
            one = slice(number, number + 1)
            outs.append(merge(self._absorbed(q_nope[one], q_rope[one], pages, own, cache, True, selection)))
        return torch.cat(outs, dim=1)

    def _branches(
        self, q_nope: Tensor, q_rope: Tensor, latents: Tensor, branches: Branches, cache: LatentCache
    ) -> Tensor:
        """Every continuation over the shared history and itself -> [H, S, V]."""
        query = torch.cat([q_nope, q_rope], dim=-1)  # [S, H, N + P]
        # What continuations see of themselves: a batch, each padded at its end to the longest.
        key, value = self._expand(latents)
        q, k, v = (x[branches.rows].transpose(1, 2) for x in (query, key, value))  # [N, H, longest, *]
        own = attend(q, k, v, self.scale, causal=True)
        out = own.out.transpose(0, 1).flatten(1, 2)[:, branches.cells]  # [N, H, longest, V] -> [H, S, V]
        lse = own.lse.transpose(0, 1).flatten(1, 2)[:, branches.cells]
        # What all of them see alike.
        if self._absorption_pays(len(latents)):
            parts = self._absorbed(q_nope, q_rope, branches.pages, branches.history, cache, causal=False)
        else:
            parts = self._expanded_history(query.transpose(0, 1), branches.pages, branches.history, cache)
        return merge([*parts, Part(out, lse)])

    def _expand(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [..., T, C] -> keys [..., T, H, N + P] and values [..., T, H, V] of every head."""
        c = self.config
        kv, k_rope = torch.split(latents, [c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        expanded = self.kv_b_proj(kv).unflatten(-1, (self.heads, -1))  # [..., T, H, N + V]
        k_nope, value = expanded.split([c.qk_nope_head_dim, c.v_head_dim], dim=-1)
        return torch.cat([k_nope, k_rope.unsqueeze(-2).expand(*k_nope.shape[:-1], -1)], dim=-1), value

    def _expanded(self, query: Tensor, latents: Tensor, causal: bool) -> Part:
        """Queries [H, S, N + P] over latents [T, C]."""
        key, value = self._expand(latents)
        out, lse = attend(query[None], key.transpose(0, 1)[None], value.transpose(0, 1)[None], self.scale, causal)
        return Part(out[0], lse[0])

    def _expanded_history(self, query: Tensor, pages: tuple[int, ...], history: int, cache: LatentCache) -> list[Part]:
        """Queries [H, S, N + P] over the first `history` tokens of `pages`, in blocks."""
        return [
            self._expanded(query, cache.read(self.layer, pages[start // PAGE :], end - start), causal=False)
            for start, end in _blocks(history, _HISTORY_BLOCK)
        ]

    def _absorbed(
        self,
        q_nope: Tensor,
        q_rope: Tensor,
        pages: tuple[int, ...],
        total: int,
        cache: LatentCache,
        causal: bool,
        selection: PageSelection | None = None,
    ) -> list[Part]:
        """Queries [S, H, *] over the first `total` tokens of `pages`, in blocks; the softmax is in float32.

        Where `causal`, the queries are the last of these tokens. A single one may attend to a `selection` of the pages.
        """
        c = self.config
        new = len(q_nope)
        w_key, w_value = self.absorbed(q_nope.dtype)
        q_latent = torch.matmul(q_nope.transpose(0, 1), w_key)  # [H, S, R]
        # All heads share the keys, so they are rows of one product.
        query = torch.cat([q_latent, q_rope.transpose(0, 1)], dim=-1) * self.scale  # [H, S, C]
        if selection is not None:
            pages, total = selection.narrow(self.layer, query[:, 0], pages, total)
        before = total - new if causal else total
        blocks = _blocks(before, max(_ABSORBED_SCORES // (self.heads * new) // PAGE, 1) * PAGE) or [(0, 0)]
        blocks[-1] = blocks[-1][0], total
        # Ranks that share the cache attend with all heads to the tokens that each of them has.
        shard = cache.shard
        heads = self.heads * shard.size
        query = shard.collect(query).flatten(0, 2)  # [H*S, C]
        parts = []
        for start, end in blocks:
            runs = cache.runs(self.layer, pages[start // PAGE :], end - start)
            scores = torch.cat([torch.matmul(query, run.T) for run in runs], dim=-1)
            scores = scores.view(heads, new, -1).float()
            if causal and end == total and new > 1:
                first, last = cache.count(before - start), cache.count(total - start)
                places = torch.arange(first, last, device=scores.device) * shard.size + shard.rank
                unseen = places > before - start + torch.arange(new, device=scores.device)[:, None]
                # Finite, since a query may see none of what is here.
                scores[..., first:].masked_fill_(unseen, torch.finfo(scores.dtype).min)
            shares = scores.softmax(-1).to(query.dtype).flatten(0, 1)  # [H*S, block]
            of_runs = torch.split(shares, [len(run) for run in runs], dim=-1)
            context = torch.matmul(of_runs[0], runs[0][:, : c.kv_lora_rank])  # [H*S, R]
            for share, run in zip(of_runs[1:], runs[1:], strict=True):
                context.addmm_(share, run[:, : c.kv_lora_rank])
            # Where one block is all there is, nothing will be merged: its log-sum-exp is not worth a pass.
            merged = len(blocks) > 1 or not causal or shard.size > 1
            parts.append(Part(context.view(heads, new, -1), scores.logsumexp(-1) if merged else scores[..., 0]))
        if shard.size > 1:
            parts = exchange(join(parts), shard)
        return [Part(torch.matmul(part.out, w_value.transpose(1, 2)), part.lse) for part in parts]


def _blocks(length: int, size: int) -> list[tuple[int, int]]:
    """0 to `length` in steps of `size`."""
    return [(start, min(start + size, length)) for start in range(0, length, size)]
