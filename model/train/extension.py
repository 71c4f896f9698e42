"""Lets a model read further than it did so far: its window and YaRN change, its weights stay (YaRN, Peng et al., 2023).

The new frequencies and the new softmax scale are of use only after some training with them.
"""

from dataclasses import replace

from model.attention import Attention
from model.config import Yarn
from model.deepseek import DeepseekForCausalLM
from model.rope import RotaryEmbedding


def extend(model: DeepseekForCausalLM, window: int, yarn: Yarn | None) -> None:
    """Give `model` this window and YaRN, in its configuration as in what it computes."""
    old = model.config
    if (window, yarn) == (old.max_position_embeddings, old.yarn):
        return
    config = model.config = replace(old, max_position_embeddings=window, yarn=yarn)
    device = model.model.embed_tokens.weight.device
    model.model.rotary_emb = RotaryEmbedding(config)
    model.model.rotary_emb.reset(device)
    for module in model.modules():
        if getattr(module, "config", None) is old:
            module.config = config  # type: ignore[assignment]  # a plain attribute of this project's modules
        if isinstance(module, Attention):
            module.scale = config.softmax_scale
