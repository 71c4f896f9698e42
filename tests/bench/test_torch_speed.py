"""Speed of the torch engine on a random checkpoint of the first embedded model's size.

`python tests/bench/test_torch_speed.py [THREADS]`, or `make bench`.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.engine import Finished, Request, Sampling
from model.saving import save_model
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

pytestmark = pytest.mark.slow

VOCABULARY = 8192


def write_checkpoint(folder: Path) -> None:
    """A 20M-parameter V3: 8 layers of width 384, 8 experts of which 2 answer."""
    config = Config(
        architecture="deepseek_v3",
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        moe_intermediate_size=192,
        num_hidden_layers=8,
        num_attention_heads=6,
        kv_lora_rank=128,
        qk_nope_head_dim=32,
        qk_rope_head_dim=32,
        v_head_dim=64,
        n_routed_experts=8,
        num_experts_per_tok=2,
        routed_scaling_factor=1.0,
        norm_topk_prob=True,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_ids=(0,),
    )
    model = DeepseekForCausalLM(config)
    model.init_weights(torch.Generator().manual_seed(0))
    save_model(model, folder)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "w0"}), encoding="utf-8")


def test_the_synthetic_checkpoint_is_measured() -> None:
    main(None)


def main(threads: int | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name))
        started = time.perf_counter()
        engine = TorchEngine(Path(name), ModelSettings(threads=threads))
        about = engine.describe()
        total, active = (about.total_parameters or 0) / 1e6, (about.active_parameters or 0) / 1e6
        print(f"{total:.1f}M parameters, {active:.1f}M active; loaded in {time.perf_counter() - started:.2f} s")
        generator = torch.Generator().manual_seed(1)
        for length in (64, 512, 1024, 2048, 2048):
            prompt = torch.randint(2, VOCABULARY, (length,), generator=generator).tolist()
            last = list(engine.generate(Request(prompt, Sampling(max_tokens=64))))[-1]
            assert isinstance(last, Finished)
            decoded = (last.usage.completion_tokens - 1) / last.decode_ms * 1e3
            print(f"{length} tokens: prefill {length / last.prefill_ms * 1e3:.0f} tok/s, decode {decoded:.0f} tok/s")
        candidates = [" ".join(f"w{(n * 7 + k) % 8000 + 2}" for k in range(n % 8 + 1)) for n in range(64)]
        for attempt in ("first", "again"):
            started = time.perf_counter()
            engine.score(prompt, candidates)
            print(f"64 candidates after 2048 tokens, {attempt}: {time.perf_counter() - started:.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
