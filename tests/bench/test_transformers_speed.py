"""The embedded model on a CPU: this engine against transformers, on the same weights in float32, in one run.

`python tests/bench/test_transformers_speed.py [THREADS]`. Both take turns, so that a busy machine slows both; a ratio
is that of the medians, above 1 where this engine is faster.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.cache import PAGE, LatentCache
from model.checkpoint import load_model
from model.saving import save_model
from model.step import Reading, make_step

pytestmark = pytest.mark.slow

EMBEDDED = Path(__file__).parents[2] / "data" / "model"
CPU = torch.device("cpu")
LENGTHS = (64, 512, 2048)
DECODED = 32
ROUNDS = 7
CHUNK = 512  # what the engine reads between two chances to cancel


def test_prefill_and_decode_are_at_least_as_fast_as_those_of_transformers() -> None:
    # A tenth of slack for the noise of a shared machine; the printed ratios are the result.
    assert all(ratio > 0.9 for ratio in main(1).values())


@torch.inference_mode()
def main(threads: int) -> dict[str, float]:
    """Median time of transformers divided by that of this engine, for each kind of work."""
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(threads)
    own = load_model(EMBEDDED, torch.float32, CPU)
    with tempfile.TemporaryDirectory() as name:
        save_model(own, Path(name), torch.float32)
        reference = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, attn_implementation="sdpa").eval()
    generator = torch.Generator().manual_seed(0)
    ratios = {}
    for length in LENGTHS:
        prompt = torch.randint(2, own.config.vocab_size, (length,), generator=generator).tolist()

        def ours(prompt: list[int] = prompt) -> tuple[float, float, list[int]]:
            cache = LatentCache(own.config, -(-(len(prompt) + DECODED) // PAGE), torch.float32, CPU)
            pages = range(cache.storage.shape[1])
            started = time.perf_counter()
            for first in range(0, len(prompt), CHUNK):
                hidden = own.step(make_step([Reading(prompt[first : first + CHUNK], first, pages)], CPU), cache)
            made = [int(own.logits(hidden[-1]).argmax())]
            read = time.perf_counter()
            for place in range(len(prompt), len(prompt) + DECODED):
                hidden = own.step(make_step([Reading(made[-1:], place, pages)], CPU), cache)
                made.append(int(own.logits(hidden[-1]).argmax()))
            return read - started, time.perf_counter() - read, made

        def theirs(prompt: list[int] = prompt) -> tuple[float, float, list[int]]:
            cache = DynamicCache()
            started = time.perf_counter()
            logits = reference(torch.tensor([prompt]), past_key_values=cache, logits_to_keep=1).logits
            made = [int(logits[0, -1].argmax())]
            read = time.perf_counter()
            for _ in range(DECODED):
                logits = reference(torch.tensor([made[-1:]]), past_key_values=cache).logits
                made.append(int(logits[0, -1].argmax()))
            return read - started, time.perf_counter() - read, made

        ratios |= compare(length, ours, theirs)
    return ratios


def compare(
    length: int,
    ours: Callable[[], tuple[float, float, list[int]]],
    theirs: Callable[[], tuple[float, float, list[int]]],
) -> dict[str, float]:
    """Both in turn; prints and returns the ratios of prefill and decode."""
    assert ours()[2] == theirs()[2]
    runs = [(ours(), theirs()) for _ in range(ROUNDS)]
    ratios = {}
    for which, kind, tokens in ((0, "prefill", length), (1, "decode", DECODED)):
        mine = statistics.median(own[which] for own, _ in runs)
        other = statistics.median(reference[which] for _, reference in runs)
        name = f"{kind} at {length}"
        ratios[name] = other / mine
        print(f"{name}: {tokens / mine:.0f} tok/s, transformers {tokens / other:.0f} tok/s, ratio {other / mine:.2f}")
    return ratios


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
