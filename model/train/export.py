"""Writes a trained model as a folder in the Hugging Face layout: FP8 weights, tokenizer, template, settings."""

import json
import shutil
from pathlib import Path

import torch

from model.deepseek import DeepseekForCausalLM, parameter_counts
from model.saving import save_model
from model.train.tokenizer import END_ID, PAD_ID, PRE_TOKENIZER, tokenizer_config

_BLOCK = (128, 128)
_FILE = 15 << 20
"""Bytes of weights in a file: with scales and header it stays under 16 MiB, which any hosting of code takes."""


def export(model: DeepseekForCausalLM, tokenizer: Path, out: Path, name: str = "Loci embedded MoE") -> None:
    """The model in `out`, with projections in block FP8, and embeddings, norms and routers in BF16."""
    save_model(model, out, torch.bfloat16, _BLOCK, shard_bytes=_FILE)
    config = model.config
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    _write(out / "tokenizer_config.json", tokenizer_config(config.max_position_embeddings))
    _write(
        out / "generation_config.json",
        {"bos_token_id": config.bos_token_id, "eos_token_id": END_ID, "pad_token_id": PAD_ID, "do_sample": False},
    )
    total, active = parameter_counts(model)
    _write(
        out / "loci.json",
        {
            "name": name,
            "capabilities": ["span", "score", "choice", "prefix"],
            "pre_tokenizer": PRE_TOKENIZER,
            "parameters": total,
            "active_parameters": active,
        },
    )


def _write(file: Path, values: dict[str, object]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
