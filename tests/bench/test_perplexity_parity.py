"""One checkpoint in three homes: perplexity of the same tokens by transformers, by the torch engine and by llama.cpp.

    python -m pytest -n 0 -s -m slow tests/bench/test_perplexity_parity.py
    PYTHONPATH=. python tests/bench/test_perplexity_parity.py FOLDER --text validation.txt.xz --windows 8

transformers computes in BF16 with weights expanded to BF16; the torch engine reads the folder as it stands, in float32
and in BF16; llama.cpp reads GGUF files made from it. The second half of each window is scored after the first one.
"""

import argparse
import lzma
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F

from model.engine import Engine
from model.gguf import Type, export
from model.open import embedded_folder
from model.settings import ModelSettings
from model.tokenizer import Tokenizer

pytestmark = pytest.mark.slow
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (extra gguf)")

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "tarnwick"
BOUND = 0.005
"""Largest share by which a perplexity may differ from transformers'."""

Window = tuple[str, str]
"""What is read, and what is scored after it."""


def test_perplexities_lie_within_half_a_percent() -> None:
    text = "\n\n".join(file.read_text(encoding="utf-8") for file in sorted(SAMPLE.glob("*.md")))
    found = measure(embedded_folder(), windows(text, characters=4000, count=3))
    assert all(abs(one / found["transformers bf16"] - 1) <= BOUND for one in found.values()), found


def windows(text: str, characters: int, count: int) -> list[Window]:
    """`count` pieces of `text`, each cut between two words in its middle."""
    pieces = [text[start : start + characters] for start in range(0, len(text), characters)][:count]
    halves = [piece.rfind(" ", 0, len(piece) // 2) for piece in pieces]
    return [(piece[:half], piece[half:]) for piece, half in zip(pieces, halves, strict=True)]


def measure(folder: Path, pieces: list[Window], types: tuple[Type, ...] = ("f32", "f16")) -> dict[str, float]:
    """Perplexity by home and form; every home scores the same number of tokens."""
    from model.llama_engine import LlamaEngine
    from model.torch_engine import TorchEngine

    found = {"transformers bf16": report("transformers bf16", *by_transformers(folder, pieces))}
    tokenizer = Tokenizer(folder)
    context = 64 + max(len(tokenizer.encode(one)) + len(tokenizer.encode(other)) for one, other in pieces)
    with tempfile.TemporaryDirectory() as made:

        def by_torch(dtype: Literal["float32", "bfloat16"]) -> Engine:
            return TorchEngine(folder, ModelSettings(dtype=dtype, device="cpu"))

        def by_llama(type: Type) -> Engine:
            file = Path(made) / f"{type}.gguf"
            export(folder, file, type)
            return LlamaEngine(file, ModelSettings(context=context, cache_type="f32", gpu_layers=0))

        homes: dict[str, Callable[[], Engine]] = {
            "torch float32": partial(by_torch, "float32"),
            "torch bf16": partial(by_torch, "bfloat16"),
        } | {f"llama.cpp {type}": partial(by_llama, type) for type in types}
        for name, opened in homes.items():
            engine = opened()
            scores = [engine.score(read, [scored])[0] for read, scored in pieces]
            engine.close()
            found[name] = report(name, sum(one.logprob for one in scores), sum(one.tokens for one in scores))
    for name, value in found.items():
        print(f"{name}: {value / found['transformers bf16'] - 1:+.3%}")
    return found


@torch.inference_mode()
def by_transformers(folder: Path, pieces: list[Window]) -> tuple[float, int]:
    """Log-probability and tokens of all that is scored."""
    from transformers import AutoModelForCausalLM

    from model.checkpoint import load_model
    from model.saving import save_model

    tokenizer = Tokenizer(folder)
    total, count = 0.0, 0
    with tempfile.TemporaryDirectory() as made:
        save_model(load_model(folder, torch.bfloat16, torch.device("cpu"), keep_fp8=False), Path(made))
        model = AutoModelForCausalLM.from_pretrained(made, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
        for read, scored in pieces:
            before, after = tokenizer.encode(read), tokenizer.encode(scored)
            ids = torch.tensor([before + after])
            logits = model(ids).logits[0, len(before) - 1 : -1].float()
            total -= float(F.cross_entropy(logits, ids[0, len(before) :], reduction="sum"))
            count += len(after)
    return total, count


def report(name: str, total: float, count: int) -> float:
    perplexity = math.exp(-total / count)
    print(f"{name}: {count} tokens, {-total / count:.5f} nats, perplexity {perplexity:.4f}", flush=True)
    return perplexity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="text, or text in .xz")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--characters", type=int, default=8000, help="of a window")
    options = parser.parse_args()
    data = options.text.read_bytes()
    text = (lzma.decompress(data) if options.text.suffix == ".xz" else data).decode("utf-8").replace("\x1e", "\n\n")
    measure(options.folder, windows(text, options.characters, options.windows))


if __name__ == "__main__":
    main()
