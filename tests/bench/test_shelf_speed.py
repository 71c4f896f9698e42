"""A shelf of 16K tokens of a model of the embedded size on a CPU: restored against read.

`python tests/bench/test_shelf_speed.py [TOKENS]`. The disk's own rate is that of reading the same file in large pieces.
"""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.config import Yarn, read_config
from model.deepseek import DeepseekForCausalLM
from model.engine import Delta, Finished, Request, Sampling
from model.saving import save_model
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

pytestmark = pytest.mark.slow

EMBEDDED = Path(__file__).parents[2] / "data" / "model"


def write_checkpoint(folder: Path, context: int) -> None:
    """The embedded model's shape with random weights, stretched by YaRN."""
    factor = -(-context // 4096)
    yarn = Yarn(float(factor), 4096, mscale=1.0, mscale_all_dim=1.0)
    config = replace(read_config(EMBEDDED), yarn=yarn, max_position_embeddings=4096 * factor, fp8_block=None)
    model = DeepseekForCausalLM(config)
    model.init_weights(torch.Generator().manual_seed(0))
    save_model(model, folder, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((EMBEDDED / name).read_bytes())


def test_a_shelf_is_restored_20_times_faster_than_it_is_read() -> None:
    assert main(16384) >= 20


def answer(engine: TorchEngine, prompt: list[int]) -> tuple[str, Finished, float]:
    started = time.perf_counter()
    *events, last = engine.generate(Request(prompt, Sampling(max_tokens=16)))
    assert isinstance(last, Finished)
    text = "".join(event.text for event in events if isinstance(event, Delta))
    return text, last, time.perf_counter() - started - last.decode_ms / 1e3


def main(tokens: int) -> float:
    """How many times faster."""
    with tempfile.TemporaryDirectory() as name:
        folder, shelves = Path(name) / "model", Path(name) / "shelves"
        folder.mkdir()
        write_checkpoint(folder, tokens + 256)
        settings = ModelSettings(threads=1)
        prompt = torch.randint(2, 8000, (tokens,), generator=torch.Generator().manual_seed(1)).tolist()
        engine = TorchEngine(folder, settings, shelves=shelves)
        expected, _, read = answer(engine, [*prompt, 5])
        started = time.perf_counter()
        engine.shelve([[*prompt, 5], [*prompt, 6]], "bench")
        written = time.perf_counter() - started
        engine.close()
        file = next(shelves.glob("*.safetensors"))
        size = file.stat().st_size
        answered, restored = {}, {}
        for state in ("warm", "cold"):
            engine = TorchEngine(folder, settings, shelves=shelves)
            if state == "cold":
                _drop(file)
            started = time.perf_counter()
            engine._fetch(engine._sequence([*prompt, 5]))
            restored[state] = time.perf_counter() - started
            text, last, rest = answer(engine, [*prompt, 5])
            answered[state] = restored[state] + rest
            engine.close()
            assert (text, last.usage.cached_tokens) == (expected, tokens)
        _drop(file)
        started = time.perf_counter()
        with file.open("rb", buffering=0) as opened:
            buffer = bytearray(1 << 24)
            while opened.readinto(buffer):
                pass
        disk = time.perf_counter() - started
        print(f"{tokens} tokens, {size / 1e6:.0f} MB: read by the model in {read:.2f} s, written in {written:.2f} s")
        for state, seconds in restored.items():
            print(
                f"restored {state} in {seconds * 1e3:.0f} ms ({size / seconds / 1e9:.2f} GB/s, {disk / seconds:.0%} of "
                f"the disk's {size / disk / 1e9:.2f} GB/s), first token after {answered[state] * 1e3:.0f} ms: "
                f"{read / answered[state]:.0f}x faster"
            )
    return read / answered["cold"]


def _drop(file: Path) -> None:
    """Take `file` out of the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16384)
