"""Multi-head latent attention (DeepSeek-V2 report, section 2.1), in its two equivalent forms.

Expanded: keys and values of every head are computed from the latents; cheaper for many queries. Absorbed: the key and
value projections are folded into the query and the output, so that all heads attend to the latents themselves; cheaper
for few queries.

B batch, S new tokens, T all tokens, H heads, N no-position width, P rotary width, R latent rank, V value width,
C = R + P.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.cache import LatentCache
from model.config import Config
from model.layers import Linear, RMSNorm
from model.rope import rotate

# The reference implementations build the latent norms with this epsilon, whatever rms_norm_eps says.
_LATENT_EPS = 1e-6


class Attention(nn.Module):
    """One layer's attention, with or without a cache."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        c = self.config = config
        self.layer = layer
        self.scale = c.softmax_scale
        heads = c.num_attention_heads
        if c.q_lora_rank is None:
            self.q_proj = Linear(c.hidden_size, heads * c.qk_head_dim, bias=False)
        else:
            self.q_a_proj = Linear(c.hidden_size, c.q_lora_rank, bias=c.attention_bias)
            self.q_a_layernorm = RMSNorm(c.q_lora_rank, eps=_LATENT_EPS)
            self.q_b_proj = Linear(c.q_lora_rank, heads * c.qk_head_dim, bias=False)
        self.kv_a_proj_with_mqa = Linear(c.hidden_size, c.latent_dim, bias=c.attention_bias)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, eps=_LATENT_EPS)
        self.kv_b_proj = Linear(c.kv_lora_rank, heads * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        self.o_proj = Linear(heads * c.v_head_dim, c.hidden_size, bias=c.attention_bias)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        cache: LatentCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """x [B, S, D] -> [B, S, D].

        With a cache (B = 1), the new tokens follow the T - S that it holds; without, S = T. Attention is causal, or
        follows `mask` (bool, broadcast to [B, H, S, T], True where a query sees a key).
        """
        q_nope, q_rope, latents = self._project(x, rope)
        new = x.shape[1]
        if cache is not None:
            latents = cache.write(self.layer, latents)
            if mask is None and 1 < new < latents.shape[1]:
                mask = causal_mask(new, latents.shape[1], x.device)
        if cache is not None and self._absorption_pays(new):
            out = self._absorbed(q_nope, q_rope, latents, mask)
        else:
            out = self._expanded(q_nope, q_rope, latents, mask)
        result: Tensor = self.o_proj(out.flatten(-2))
        return result

    def _project(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B, S, H, N] and [B, S, H, P], latents [B, S, C] of the new tokens; normalised and rotated."""
        c = self.config
        cos, sin = rope
        q = self.q_proj(x) if c.q_lora_rank is None else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.unflatten(-1, (c.num_attention_heads, c.qk_head_dim))
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        q_rope = rotate(q_rope, cos.unsqueeze(-2), sin.unsqueeze(-2), c.rope_interleave)
        kv, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        latent = torch.cat([self.kv_a_layernorm(kv), rotate(k_rope, cos, sin, c.rope_interleave)], dim=-1)
        return q_nope, q_rope, latent

    def _absorption_pays(self, new: int) -> bool:
        """Whether absorbed attention of `new` queries takes fewer multiplications than expanding every cached token.

        Per cached token and head: expanded R(N+V) once and (N+P)+V per query, absorbed (R+P)+R per query.
        """
        c = self.config
        expand = c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim)
        saved = 2 * c.kv_lora_rank + c.qk_rope_head_dim - c.qk_head_dim - c.v_head_dim
        return new * saved < expand

    def _expanded(self, q_nope: Tensor, q_rope: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """Queries [B, S, H, *] over latents [B, T, C] -> [B, S, H, V].

        Without a mask, causal where S = T, and of a single query over everything otherwise.
        """
        c = self.config
        kv, k_rope = latents[..., : c.kv_lora_rank], latents[..., c.kv_lora_rank :]
        expanded = self.kv_b_proj(kv).view(*kv.shape[:-1], c.num_attention_heads, -1)  # [B, T, H, N + V]
        k_nope, value = expanded.split([c.qk_nope_head_dim, c.v_head_dim], dim=-1)
        key = torch.cat([k_nope, k_rope.unsqueeze(-2).expand(*k_nope.shape[:-1], -1)], dim=-1)
        query = torch.cat([q_nope, q_rope], dim=-1)
        # Flash kernels want equal widths: a narrower value is padded, and the padding cut off again.
        value = F.pad(value, (0, max(c.qk_head_dim - c.v_head_dim, 0)))
        out = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None and query.shape[1] == key.shape[1],
            scale=self.scale,
        )
        return out[..., : c.v_head_dim].transpose(1, 2)

    def _absorbed(self, q_nope: Tensor, q_rope: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """The same as `_expanded`, on the latents themselves; the softmax is in float32."""
        c = self.config
        batch, new, heads, _ = q_nope.shape
        weight = self.kv_b_proj.weight.to(q_nope.dtype).view(heads, -1, c.kv_lora_rank)
        w_key, w_value = weight[:, : c.qk_nope_head_dim], weight[:, c.qk_nope_head_dim :]  # [H, N, R], [H, V, R]
        q_latent = torch.matmul(q_nope.transpose(1, 2), w_key)  # [B, H, S, R]
        query = torch.cat([q_latent, q_rope.transpose(1, 2)], dim=-1) * self.scale  # [B, H, S, C]
        # All heads share the keys, so they are rows of one product.
        scores = torch.matmul(query.flatten(1, 2), latents.transpose(1, 2)).view(batch, heads, new, -1).float()
        if mask is None and new > 1:
            mask = causal_mask(new, new, latents.device)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        shares = scores.softmax(-1).to(query.dtype).flatten(1, 2)  # [B, H*S, T]
        context = torch.matmul(shares, latents[..., : c.kv_lora_rank]).view(batch, heads, new, -1)  # [B, H, S, R]
        return torch.matmul(context, w_value.transpose(1, 2)).transpose(1, 2)


def causal_mask(new: int, total: int, device: torch.device) -> Tensor:
    """bool [new, total]: the last `new` of `total` tokens see themselves and all before."""
    return torch.ones(new, total, dtype=torch.bool, device=device).tril(total - new)
