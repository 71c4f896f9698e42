"""Published shapes with random weights, made on the device in the form in which a loaded checkpoint holds them.

For measuring a machine before anything is downloaded: speed depends on shapes and storage, not on values. Knows nothing
about files.
"""

import re
import zlib
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from model.config import FP8_BLOCK, Config, Yarn
from model.deepseek import DeepseekForCausalLM
from model.errors import UnknownModel
from model.fp8 import E4M3_MAX, block_grid
from model.layers import Linear, RMSNorm
from model.moe import Experts, Router
from model.shard import WHOLE, Shard, check_split
from model.tensors import quantizable

_SPREAD = E4M3_MAX / 5
"""Standard deviation of the e4m3 values: five of them fill the format's range."""

_V2_LITE = Config(
    architecture="deepseek_v2",
    vocab_size=102_400,
    hidden_size=2048,
    intermediate_size=10_944,
    moe_intermediate_size=1408,
    num_hidden_layers=27,
    num_attention_heads=16,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=64,
    num_experts_per_tok=6,
    n_shared_experts=2,
    first_k_dense_replace=1,
    max_position_embeddings=163_840,
    yarn=Yarn(factor=40.0, original_context=4096, mscale=0.707, mscale_all_dim=0.707),
    bos_token_id=100_000,
    eos_token_ids=(100_001,),
)
_V2 = replace(
    _V2_LITE,
    hidden_size=5120,
    intermediate_size=12_288,
    moe_intermediate_size=1536,
    num_hidden_layers=60,
    num_attention_heads=128,
    q_lora_rank=1536,
    n_routed_experts=160,
    n_group=8,
    topk_group=3,
    routed_scaling_factor=16.0,
    yarn=Yarn(factor=40.0, original_context=4096, mscale=1.0, mscale_all_dim=1.0),
)
_V3 = replace(
    _V2,
    architecture="deepseek_v3",
    vocab_size=129_280,
    hidden_size=7168,
    intermediate_size=18_432,
    moe_intermediate_size=2048,
    num_hidden_layers=61,
    first_k_dense_replace=3,
    n_routed_experts=256,
    n_shared_experts=1,
    num_experts_per_tok=8,
    topk_group=4,
    routed_scaling_factor=2.5,
    norm_topk_prob=True,
    num_nextn_predict_layers=1,
    fp8_block=FP8_BLOCK,
    bos_token_id=0,
    eos_token_ids=(1,),
)

SHAPES = MappingProxyType({"v2-lite": _V2_LITE, "v2": _V2, "v3": _V3})
"""The published shapes (config.json of deepseek-ai/DeepSeek-V2-Lite, DeepSeek-V2 and DeepSeek-V3)."""


def shape_config(name: str) -> Config:
    """The published shape `v2-lite`, `v2` or `v3`; `v3-layers=8` is that shape with 8 layers.

    :raises UnknownModel: there is no such shape, or it has not that many layers.
    """
    match = re.fullmatch(r"([\w-]+?)(?:-layers=(\d+))?", name)
    if match is None or match[1] not in SHAPES:
        raise UnknownModel(
            f"There is no shape {name!r}.",
            f"Give {', '.join(SHAPES)}, or fewer layers of one: v3-layers=8.",
        )
    config = SHAPES[match[1]]
    layers = int(match[2] or config.num_hidden_layers)
    if not 1 <= layers <= config.num_hidden_layers:
        raise UnknownModel(
            f"{match[1]} has 1 to {config.num_hidden_layers} layers, not {layers}.", "Give a number of layers in range."
        )
    return replace(config, num_hidden_layers=layers)


def random_model(
    config: Config,
    dtype: torch.dtype,
    device: torch.device,
    fp8: bool = False,
    seed: int = 0,
    shard: Shard = WHOLE,
) -> DeepseekForCausalLM:
    """A model of `config` in inference mode whose weights are drawn on `device`; the same for the same seed and device.

    Of a part of a model, what every rank holds is the same on all of them, so that they choose the same experts; what
    is split is drawn anew, and is not the part that it would be of the whole. No experts spill to the host.

    Standard deviations are those of `DeepseekForCausalLM.init_weights`. With `fp8` the projections are e4m3 with a
    factor per block (`weight_scale_inv`, `gate_up_scale_inv`, `down_scale_inv`), as published; routers stay in
    float32, everything else is in `dtype`. No more than one projection is ever held twice.
    """
    config = replace(config, fp8_block=(config.fp8_block or FP8_BLOCK) if fp8 else None)
    check_split(config, shard.size)
    with torch.device("meta"):
        model = DeepseekForCausalLM(config, shard=shard)
    draw_weights(model, config, dtype, device, str(seed))
    model.tie()
    model.model.rotary_emb.reset(device)
    return model.eval().requires_grad_(False)


def draw_weights(module: nn.Module, config: Config, dtype: torch.dtype, device: torch.device, seed: str) -> None:
    """Draw what `module`, a part of a model of `config`, holds; see `random_model`."""
    draw = _Draw(dtype, device, config.fp8_block, torch.Generator(device))
    std = config.initializer_range
    into_residual = std / (2 * config.num_hidden_layers) ** 0.5
    for name, part in module.named_modules():
        draw.begin(f"{seed} {name} {part.first if isinstance(part, Experts) else 0}")
        if isinstance(part, Experts):
            _fill_experts(part, draw, std, into_residual)
        elif isinstance(part, Linear):
            if not (name == "lm_head" and config.tie_word_embeddings):
                last = name.endswith(("o_proj", "down_proj"))
                _fill_linear(part, f"{name}.weight", draw, into_residual if last else std)
        elif isinstance(part, nn.Embedding):
            part.weight = _parameter(draw.plain(part.weight.shape, std))
        elif isinstance(part, RMSNorm):
            part.weight = _parameter(torch.ones(part.weight.shape, dtype=dtype, device=device))
        elif isinstance(part, Router):
            part.weight = _parameter(draw.plain(part.weight.shape, std, torch.float32))
            if config.sigmoid_router:
                part.e_score_correction_bias = torch.zeros(config.n_routed_experts, device=device)


class _Draw:
    """Random tensors of one device, dtype and generator."""

    def __init__(
        self, dtype: torch.dtype, device: torch.device, block: tuple[int, int] | None, generator: torch.Generator
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.block = block
        self._generator = generator

    def begin(self, name: str) -> None:
        """Draw from here on what belongs to `name`, whatever was drawn before."""
        self._generator.manual_seed(zlib.crc32(name.encode()))

    def plain(self, shape: torch.Size, std: float, dtype: torch.dtype | None = None) -> Tensor:
        empty = torch.empty(shape, dtype=dtype or self.dtype, device=self.device)
        return empty.normal_(0.0, std, generator=self._generator)

    def scales(self, rows: int, columns: int, std: float, block: tuple[int, int]) -> Tensor:
        """float32 factors of e4m3 values: they differ between blocks, as those of a trained model do."""
        empty = torch.empty(block_grid((rows, columns), block), dtype=torch.float32, device=self.device)
        return empty.uniform_(0.5, 1.5, generator=self._generator) * (std / _SPREAD)

    def e4m3(self, shape: torch.Size) -> Tensor:
        """e4m3 values, drawn a matrix at a time."""
        out = torch.empty(shape, dtype=torch.float8_e4m3fn, device=self.device)
        for matrix in out.view(-1, *shape[-2:]):
            drawn = torch.empty(matrix.shape, dtype=torch.bfloat16, device=self.device)
            drawn.normal_(0.0, _SPREAD, generator=self._generator)
            matrix.copy_(drawn.clamp_(-E4M3_MAX, E4M3_MAX))
        return out


def _fill_linear(module: Linear, name: str, draw: _Draw, std: float) -> None:
    shape = module.weight.shape
    if draw.block is not None and quantizable(name):
        module.weight = _parameter(draw.e4m3(shape))
        module.register_buffer("weight_scale_inv", draw.scales(shape[0], shape[1], std, draw.block))
    else:
        module.weight = _parameter(draw.plain(shape, std))
    if module.bias is not None:
        module.bias = _parameter(torch.zeros(module.bias.shape, dtype=draw.dtype, device=draw.device))


def _fill_experts(module: Experts, draw: _Draw, std: float, into_residual: float) -> None:
    """Gate and up share a tensor but have scales of their own, since a block may not reach from one into the other."""
    gate_up, down = module.gate_up_proj.shape, module.down_proj.shape
    if draw.block is None:
        module.gate_up_proj = _parameter(draw.plain(gate_up, std))
        module.down_proj = _parameter(draw.plain(down, into_residual))
        return
    block, experts, width, inner = draw.block, down[0], down[1], down[2]
    module.gate_up_proj = _parameter(draw.e4m3(gate_up))
    halves = [draw.scales(inner, width, std, block) for _ in range(2 * experts)]
    module.register_buffer("gate_up_scale_inv", torch.stack(halves).view(experts, 2, *halves[0].shape))
    module.down_proj = _parameter(draw.e4m3(down))
    module.register_buffer(
        "down_scale_inv", torch.stack([draw.scales(width, inner, into_residual, block) for _ in range(experts)])
    )


def _parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)
