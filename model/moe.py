"""Routed and shared experts (DeepSeekMoE, Dai et al., 2024; bias-balanced routing, DeepSeek-V3 report, section 2.1.2).

T tokens, E experts, K experts per token, D hidden width, F expert width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import fp8, kernels
from model.config import FP8_BLOCK, Config
from model.layers import MLP
from model.permute import combine, dispatch
from model.shard import WHOLE, Shard


class Routing(NamedTuple):
    """Which experts each token goes to."""

    weights: Tensor
    """float32 [T, K]"""
    experts: Tensor
    """int64 [T, K]"""
    scores: Tensor
    """float32 [T, E]: softmax probabilities (V2) or sigmoid affinities (V3), without the bias"""


class LayerLoad(NamedTuple):
    """How one layer spread its tokens, for a trainer."""

    counts: Tensor
    """int64 [E]: tokens each expert received, what the update of `e_score_correction_bias` needs"""
    balance: Tensor
    """float32 []: the sequence-wise balance loss before its coefficient (V3 report, equation 17); 1 when even"""


class Router(nn.Module):
    """Scores experts in float32 and picks K of them from the best groups.

    V2 groups by their best softmax score. V3 adds a bias to sigmoid scores for the choice only, groups by the sum of
    their two best, and weights by the unbiased scores. Other groups are masked with -inf: 0 could still be picked where
    biases are negative.
    """

    e_score_correction_bias: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_routed_experts, config.hidden_size))
        if config.sigmoid_router:
            self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts, dtype=torch.float32))

    def forward(self, x: Tensor) -> Routing:
        c = self.config
        logits = F.linear(x.float(), self.weight.float())  # [T, E]
        if c.sigmoid_router:
            scores = logits.sigmoid()
            choice = scores + self.e_score_correction_bias.float()
        else:
            scores = choice = logits.softmax(-1)
        if c.n_group > 1:
            grouped = choice.view(len(x), c.n_group, -1)  # [T, G, E/G]
            best = grouped.topk(2, dim=-1).values.sum(-1) if c.sigmoid_router else grouped.amax(-1)
            kept = torch.zeros_like(best, dtype=torch.bool).scatter(-1, best.topk(c.topk_group, dim=-1).indices, True)
            choice = grouped.masked_fill(~kept[..., None], float("-inf")).flatten(-2)
        experts = choice.topk(c.num_experts_per_tok, dim=-1).indices
        weights = scores.gather(-1, experts)
        if c.norm_topk_prob:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return Routing(weights * c.routed_scaling_factor, experts, scores)


class Fp8Matrices:
    """A stack of FP8 matrices, of which one at a time is expanded."""

    def __init__(self, values: Tensor, scales: Tensor, dtype: torch.dtype) -> None:
        """`values` [E, ..., N, K] and the `scales` of their blocks; several matrices of one expert are joined."""
        self._values, self._scales, self._dtype = values, scales, dtype

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, expert: int) -> Tensor:
        """In the dtype asked for, [rows, K]."""
        matrices = fp8.dequantize(self._values[expert], self._scales[expert], FP8_BLOCK, self._dtype)
        return matrices.flatten(0, -2)


Matrices = Tensor | Fp8Matrices
"""One matrix per expert."""


class Experts(nn.Module):
    """All routed experts of a layer, stacked: `gate_up_proj` [E, 2F, D] (gate rows first), `down_proj` [E, D, F].

    Where they are kept in FP8 as published, `gate_up_scale_inv` [E, 2, ceil(F / 128), ceil(D / 128)] (gate first) and
    `down_scale_inv` [E, ceil(D / 128), ceil(F / 128)] hold the factors of their blocks, float32; otherwise None.

    Of a part of a model, these are the E experts from number `first` on, and those of other ranks add nothing.
    """

    gate_up_scale_inv: Tensor | None
    down_scale_inv: Tensor | None

    def __init__(self, config: Config, shard: Shard = WHOLE) -> None:
        super().__init__()
        held = shard.part(config.n_routed_experts)
        self.first, self.partial = held.start, shard.size > 1
        self.scaling = config.routed_scaling_factor
        self.least_weight = 0.0  # see `skip_experts`
        experts, width, inner = held.stop - held.start, config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(experts, width, inner))
        self.register_buffer("gate_up_scale_inv", None)
        self.register_buffer("down_scale_inv", None)

    def forward(self, x: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        """The weighted sum of each token's experts: x [T, D], weights and experts [T, K] -> [T, D]."""
        experts = self.here(weights, experts)
        gate_up: Matrices
        down: Matrices
        if self.down_scale_inv is not None and x.dtype == torch.bfloat16 and kernels.reads_fp8(x.device):
            return self._fused(x, weights, experts)
        if self.gate_up_scale_inv is not None and self.down_scale_inv is not None:
            halves = self.gate_up_proj.view(len(self.gate_up_proj), 2, -1, x.shape[-1])  # [E, 2, F, D]
            gate_up = Fp8Matrices(halves, self.gate_up_scale_inv, x.dtype)
            down = Fp8Matrices(self.down_proj, self.down_scale_inv, x.dtype)
        else:
            gate_up, down = self.gate_up_proj.to(x.dtype), self.down_proj.to(x.dtype)
            if x.is_cuda and x.dtype == torch.bfloat16:
                return self._grouped(x, weights, experts, gate_up, down, self.partial or bool(self.least_weight))
        if len(x) == 1 and not torch.is_grad_enabled():
            return self._single(x, weights, experts, gate_up, down)
        return self._looped(x, weights, experts, gate_up, down)

    def here(self, weights: Tensor, experts: Tensor) -> Tensor:
        """int64 [T, K]: numbers among the experts held; those of other ranks and skipped ones have one after all."""
        if self.partial:
            own = experts - self.first
            experts = torch.where((own >= 0) & (own < len(self.down_proj)), own, len(self.down_proj))
        if self.least_weight:
            experts = experts.masked_fill(self.too_weak(weights), len(self.down_proj))
        return experts

    def too_weak(self, weights: Tensor) -> Tensor:
        """bool [T, K]: which experts are skipped, those below `least_weight` but never a token's strongest."""
        return (weights < self.least_weight * self.scaling) & (weights < weights.amax(-1, keepdim=True))

    def _fused(self, x: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        """FP8 weights on a GPU as they are stored; those that other ranks hold have a number that none here has."""
        from model.kernels import grouped, routing  # Triton takes 0.3 s

        chosen = experts.to(torch.int32)
        assigned = routing.assign(chosen, 0, len(self.down_proj))
        gate_up, down = (self.gate_up_proj, self.gate_up_scale_inv), (self.down_proj, self.down_scale_inv)
        return grouped.experts(x, weights, chosen, assigned, gate_up, down)

    @staticmethod
    def _grouped(
        x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor, down: Tensor, partial: bool = False
    ) -> Tensor:
        """One grouped matrix product per projection, without a host synchronisation."""
        chosen = experts.flatten()
        order = chosen.argsort()
        token = order // experts.shape[1]
        ends = count_tokens(chosen, len(down) + 1)[:-1].cumsum(0).to(torch.int32)
        if torch.is_grad_enabled():  # training: whole models only, so that every row is some expert's
            rows = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
            rows = rows.view_as(experts)
            inner = F.grouped_mm(dispatch(x, order, rows), gate_up.transpose(-2, -1), offs=ends)
            gate, up = inner.chunk(2, dim=-1)
            out = F.grouped_mm(F.silu(gate) * up, down.transpose(-2, -1), offs=ends)
            return combine(out, weights, order, rows)
        inner = F.grouped_mm(x[token], gate_up.transpose(-2, -1), offs=ends)  # [T*K, 2F]
        gate, up = inner.chunk(2, dim=-1)
        out = F.grouped_mm(F.silu(gate) * up, down.transpose(-2, -1), offs=ends)  # [T*K, D]
        if kernels.available():
            from model.kernels import grouped  # Triton takes 0.3 s

            rows = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
            if partial:  # other ranks' experts wrote nothing here
                rows = rows.masked_fill(chosen == len(down), -1)
            return grouped.gather_sum(out, rows.view_as(experts), weights)
        out = out * weights.flatten()[order, None].to(out.dtype)
        if partial:  # rows of experts that are left out were never written
            out.masked_fill_((chosen[order] == len(down))[:, None], 0.0)
        return torch.zeros_like(x).index_add(0, token, out)

    @staticmethod
    def _looped(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Matrices, down: Matrices) -> Tensor:
        """Expert after expert over its own tokens, sorted so that each expert's rows are contiguous."""
        chosen = experts.flatten()
        order = chosen.argsort(stable=True)
        token = order // experts.shape[1]
        rows = x[token]
        outs, start = [x[:0]], 0
        for expert, count in enumerate(count_tokens(chosen, len(down) + 1)[:-1].tolist()):
            if count:
                gate, up = F.linear(rows[start : start + count], gate_up[expert]).chunk(2, dim=-1)
                outs.append(F.linear(F.silu(gate) * up, down[expert]))
                start += count
        out = torch.cat(outs) * weights.flatten()[order[:start], None].to(x.dtype)
        return torch.zeros_like(x).index_add(0, token[:start], out)

    @staticmethod
    def _single(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Matrices, down: Matrices) -> Tensor:
        """One token: views of its experts' weights, no sorting and no copies (decode on a CPU)."""
        out = torch.zeros_like(x)
        for weight, expert in zip(weights[0].tolist(), experts[0].tolist(), strict=True):
            if expert < len(down):
                gate, up = F.linear(x, gate_up[expert]).chunk(2, dim=-1)
                out.add_(F.linear(F.silu(gate) * up, down[expert]), alpha=weight)
        return out


class MoE(nn.Module):
    """Shared experts for every token plus K routed ones."""

    def __init__(self, config: Config, shard: Shard = WHOLE) -> None:
        """Of a part of a model, what it returns is to be summed over the ranks."""
        super().__init__()
        self.gate = Router(config)
        self.experts = Experts(config, shard)
        self.shared_experts: MLP | None = None
        if config.n_shared_experts:
            inner = config.moe_intermediate_size * config.n_shared_experts
            self.shared_experts = MLP(config.hidden_size, shard.width(inner))

    def forward(self, x: Tensor, load: bool = False) -> tuple[Tensor, LayerLoad | None]:
        """x [B, S, D] -> [B, S, D], and the load where it is asked for."""
        flat = x.flatten(0, -2)
        routing: Routing = self.gate(flat)
        out = self.experts(flat, routing.weights, routing.experts).view_as(x)
        if self.shared_experts is not None:
            out = out + self.shared_experts(x)
        return out, self._load(routing, x.shape[0]) if load else None

    def _load(self, routing: Routing, sequences: int) -> LayerLoad:
        experts = routing.scores.shape[-1]
        chosen = routing.experts.view(sequences, -1)  # [B, S*K]
        counts = torch.zeros(sequences, experts, dtype=torch.int64, device=chosen.device)
        counts = counts.scatter_add(1, chosen, torch.ones_like(chosen))
        share = routing.scores / (routing.scores.sum(-1, keepdim=True) + 1e-20)
        mean_share = share.view(sequences, -1, experts).mean(1)  # [B, E]
        frequency = counts.float() * experts / chosen.shape[1]
        return LayerLoad(counts.sum(0), (frequency * mean_share).sum(-1).mean())


def skip_experts(model: nn.Module, threshold: float) -> None:
    """Leave out experts whose gate weight, before the scaling factor, is below `threshold`; 0 leaves out none."""
    for module in model.modules():
        if isinstance(module, Experts):
            module.least_weight = threshold


def count_tokens(experts: Tensor, number: int) -> Tensor:
    """How often each of `number` experts occurs in `experts` [N] -> int64 [number]."""
    counts = torch.zeros(number, dtype=torch.int64, device=experts.device)
    return counts.scatter_add(0, experts, torch.ones_like(experts))
