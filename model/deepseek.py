"""The DeepSeek-V2/V3 decoder as modules whose names are those of the Hugging Face layout.

Routed experts are stacked in memory (`mlp.experts.gate_up_proj`, `mlp.experts.down_proj`) and split per expert in files
(see checkpoint.py). Knows nothing about files, tokens' text or sampling.

B batch, S tokens of a sequence, T new tokens of all sequences in a step, D hidden width, L layers.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.cache import LatentCache
from model.config import Config
from model.decoder_layer import DecoderLayer
from model.layers import Linear, RMSNorm
from model.moe import Experts, LayerLoad, MoE, Router
from model.mtp import MultiTokenPredictor
from model.rope import RotaryEmbedding
from model.shard import WHOLE, Shard
from model.step import Branches, Step


class Load(NamedTuple):
    """How the routed layers spread a batch, for a trainer."""

    counts: Tensor
    """int64 [routed layers, E]"""
    balance: Tensor
    """float32 []: mean over routed layers of the sequence-wise balance loss, 1 when even"""


class Decoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, config: Config, shard: Shard = WHOLE) -> None:
        super().__init__()
        # From an empty tensor, since the usual initialisation loads the compiler (1.5 s) where the device is `meta`.
        empty = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, _weight=empty)
        self.layers = nn.ModuleList(DecoderLayer(config, layer, shard) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config)


class DeepseekForCausalLM(nn.Module):
    """The whole model, or the part of it that one of several ranks holds.

    `compute_dtype` is the activations' dtype: None follows the weights; bfloat16 trains on float32 master weights.
    Every method of a part is called on all ranks at once, and returns the same on all. Only whole models are trained.
    """

    def __init__(self, config: Config, compute_dtype: torch.dtype | None = None, shard: Shard = WHOLE) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        self.shard = shard
        self.recompute = False
        """Whether training keeps only what goes into each layer, and computes the layer again for its gradients."""
        self.model = Decoder(config, shard)
        words = shard.part(config.vocab_size)
        self.lm_head = Linear(config.hidden_size, words.stop - words.start, bias=False)
        self.mtp = nn.ModuleList(MultiTokenPredictor(config, k, shard) for k in range(config.num_nextn_predict_layers))
        self.tie()

    def tie(self) -> None:
        """Make the output head the embedding, where the configuration says so; again after either was replaced."""
        if self.config.tie_word_embeddings:
            embedding = self.model.embed_tokens.weight
            if self.shard.size > 1:
                rows = embedding.data[self.shard.part(self.config.vocab_size)]
                embedding = nn.Parameter(rows, requires_grad=False)
            self.lm_head.weight = embedding

    def forward(self, input_ids: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Logits [B, S, vocabulary] of full causal sequences [B, S]; see `hidden` for the arguments."""
        hidden, _ = self.hidden(input_ids, positions, mask)
        return self.logits(hidden)

    def hidden(
        self,
        input_ids: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        load: bool = False,
    ) -> tuple[Tensor, Load | None]:
        """Final hidden states [B, S, D] of full sequences, without a cache; this is the training path.

        `positions` [S] or [B, S] default to 0..S-1. `mask` (bool, broadcast to [B, H, S, S]) replaces plain causality,
        for documents packed into one row. `load` also returns what the experts received.
        """
        if positions is None:
            positions = torch.arange(input_ids.shape[-1], device=input_ids.device)
        x = self._embed(input_ids)
        rope = self.model.rotary_emb(positions)
        loads: list[LayerLoad] = []
        for layer in self.model.layers:
            x, layer_load = self._whole(layer, x, rope, mask, load)
            if layer_load is not None:
                loads.append(layer_load)
        x = self.model.norm(x)
        if not loads:
            return x, None
        counts = torch.stack([one.counts for one in loads])
        return x, Load(counts, torch.stack([one.balance for one in loads]).mean())

    def step(self, step: Step, cache: LatentCache) -> Tensor:
        """Read the step's T tokens into `cache`; final hidden states [T, D]."""
        return self._read(step, cache)

    def branch(self, branches: Branches, cache: LatentCache) -> Tensor:
        """Final hidden states [T, D] of many continuations of what `cache` holds, which stays as it is."""
        return self._read(branches, cache)

    def draft(self, k: int, step: Step, hidden: Tensor, cache: LatentCache) -> Tensor:
        """Hidden states [T, D] of predictor `k`, of which `logits` are about the token after `step.tokens`.

        `hidden` [T, D] is what `step` (for later predictors: `draft`) returned at `step.positions`, and `step.tokens`
        the tokens that follow these positions. The predictor's own cache is written there.
        """
        rope = self.model.rotary_emb(step.positions)
        predictor = cast(MultiTokenPredictor, self.mtp[k])
        return predictor.read(self._embed(step.tokens), hidden, rope, step, cache)

    def draft_whole(self, k: int, next_ids: Tensor, hidden: Tensor) -> Tensor:
        """`draft` over whole sequences without a cache: next_ids [B, S] and hidden [B, S, D] -> [B, S, D]."""
        return self.predict(k, next_ids, hidden)[0]

    def predict(
        self, k: int, next_ids: Tensor, hidden: Tensor, mask: Tensor | None = None, load: bool = False
    ) -> tuple[Tensor, LayerLoad | None]:
        """`draft_whole` as it is trained; `mask` and `load` as in `hidden`."""
        rope = self.model.rotary_emb(torch.arange(next_ids.shape[-1], device=next_ids.device))
        return self._whole(self.mtp[k], self._embed(next_ids), hidden, rope, mask, load)

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., vocabulary], in the dtype of `hidden`."""
        return self.shard.gather(self.lm_head(hidden), self.config.vocab_size)

    def _embed(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.model.embed_tokens(tokens)
        return x if self.compute_dtype is None else x.to(self.compute_dtype)

    def _whole(self, layer: nn.Module, *arguments: Any) -> tuple[Tensor, LayerLoad | None]:
        """A layer or predictor over whole sequences; its inner results are kept for gradients unless `recompute`."""
        result: tuple[Tensor, LayerLoad | None]
        if self.recompute and torch.is_grad_enabled():
            result = checkpoint(layer, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            result = layer(*arguments)
        return result

    def _read(self, what: Step | Branches, cache: LatentCache) -> Tensor:
        x = self._embed(what.tokens)
        rope = self.model.rotary_emb(what.positions)
        for layer in self.model.layers:
            x = cast(DecoderLayer, layer).read(x, rope, what, cache)
        normed: Tensor = self.model.norm(x)
        return normed

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Start training from scratch: normal weights of std `initializer_range`, unit norms, zero biases.

        Projections back into the residual stream are divided by sqrt(2L): its variance does not grow with depth.
        """
        std = self.config.initializer_range
        into_residual = std / (2 * self.config.num_hidden_layers) ** 0.5
        for name, module in self.named_modules():
            if isinstance(module, Linear):
                last = name.endswith(("o_proj", "down_proj"))
                module.weight.normal_(0.0, into_residual if last else std, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, std, generator=generator)
            elif isinstance(module, RMSNorm):
                module.weight.fill_(1.0)
            elif isinstance(module, Router):
                module.weight.normal_(0.0, std, generator=generator)
                if self.config.sigmoid_router:
                    module.e_score_correction_bias.zero_()
            elif isinstance(module, Experts):
                module.gate_up_proj.normal_(0.0, std, generator=generator)
                module.down_proj.normal_(0.0, into_residual, generator=generator)
            elif isinstance(module, RotaryEmbedding):
                module.reset()


def update_router_biases(model: DeepseekForCausalLM, counts: Tensor, speed: float) -> None:
    """Raise the selection bias of experts that received less than their share, lower that of the others.

    One step of the V3 report's section 2.1.2; `counts` is `Load.counts`, summed over the batch (and over ranks), and
    may go on with the predictors' blocks.
    """
    blocks = [*model.model.layers, *(cast(MultiTokenPredictor, one).block for one in model.mtp)]
    routers = [block.mlp.gate for block in blocks if isinstance(block.mlp, MoE)]
    for router, received in zip(routers, counts.float(), strict=False):
        router.e_score_correction_bias.add_(speed * (received.mean() - received).sign())


def parameter_counts(model: DeepseekForCausalLM) -> tuple[int, int]:
    """Parameters in all, and those that one token uses (its K of E routed experts), without the predictors.

    Tied embeddings count once.
    """
    total = sum(one.numel() for one in model.parameters()) - sum(one.numel() for one in model.mtp.parameters())
    config = model.config
    routed = sum(
        parameter.numel()
        for module in model.model.modules()
        if isinstance(module, Experts)
        for parameter in module.parameters()
    )
    idle = routed * (config.n_routed_experts - config.num_experts_per_tok) // config.n_routed_experts if routed else 0
    return total, total - idle
