"""One checkpoint by the torch engine and as GGUF in several types: logits, greedy answers, speed, prefixes, memory.

    PYTHONPATH=. python tests/bench/gguf_bench.py [FOLDER] --types f16 q8_0 q4_k_m --prompts 10 --prefix 4096

Logits are compared at every token of a text after its first half, both sides in float32 with an exact cache; speeds are
taken with each engine's own defaults, in turn.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from model.engine import Delta, Engine, Finished, Prefilling, Request, Sampling
from model.llama_engine import LlamaEngine
from model.open import embedded_folder
from model.quantise import Type, convert
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "tarnwick"
EXACT = ModelSettings(cache_type="f32", dtype="float32", device="cpu", gpu_layers=0, context=4096)
ANSWER = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=embedded_folder())
    parser.add_argument("--types", nargs="+", default=["f16", "q8_0", "q4_k_m"])
    parser.add_argument("--prompts", type=int, default=10)
    parser.add_argument("--prefix", type=int, default=4096, help="tokens of the first turn")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    text = "\n\n".join(file.read_text(encoding="utf-8") for file in sorted(SAMPLE.glob("*.md")))
    with tempfile.TemporaryDirectory() as made:
        files = {}
        for kind in options.types:
            started = time.perf_counter()
            done = convert(options.folder, Path(made) / f"{kind}.gguf", cast(Type, kind))
            seconds = time.perf_counter() - started
            print(f"{kind}: {done.bytes / 1e6:.1f} MB, {done.bits:.2f} bits a weight, {done.types}, {seconds:.1f} s")
            files[kind] = done.file
        compare(options.folder, files, text, options.prompts)
        for _ in range(options.repeats):
            speeds(options.folder, files, text, options.prefix)


def compare(folder: Path, files: dict[str, Path], text: str, prompts: int) -> None:
    """Logits and greedy answers of each file against the torch engine's."""
    ours = TorchEngine(folder, EXACT)
    tokens = ours._tokenizer.encode(text)[:1200]
    half = len(tokens) // 2
    expected = by_torch(ours, tokens[:half], tokens[half:])
    starts = [ours._tokenizer.decode(tokens[at : at + 40]) for at in range(0, prompts * 50, 50)]
    answers = [answer(ours, start) for start in starts]
    ours.close()
    for kind, file in files.items():
        with llama(file, EXACT) as theirs:
            theirs._sequence.read_all(tokens[:half])
            got = log_softmax(theirs._sequence.read_every(tokens[half:], half))
            theirs._sequence.tokens.clear()
            theirs._native.rewind(0)
            same = [shared(one, answer(theirs, start)) for one, start in zip(answers, starts, strict=True)]
        off = np.abs(got - expected)
        likely = expected > -8  # what nobody would draw does not count
        divergence = (np.exp(expected) * (expected - got)).sum(-1)
        rows, next_tokens = np.arange(len(got) - 1), np.array(tokens[half + 1 :])
        nats = float(expected[rows, next_tokens].mean() - got[rows, next_tokens].mean())
        agree = float((got.argmax(-1) == expected.argmax(-1)).mean())
        print(
            f"{kind}: log-probability off by {off[likely].mean():.2e} (mean), {off[likely].max():.2e} (largest); "
            f"divergence {divergence.mean():.2e} nats; {nats:+.4f} nats a token; likeliest token the same in "
            f"{agree:.1%}; greedy answers of {ANSWER} tokens the same in {sum(one == 1 for one in same)} of "
            f"{len(same)}, {np.mean(same):.1%} of their text before they part",
            flush=True,
        )


def speeds(folder: Path, files: dict[str, Path], text: str, prefix: int) -> None:
    """Prompt and answer in tokens a second, and the second turn's time to its first token beside the first turn's."""
    engines: dict[str, Path] = {"torch": folder} | files
    for name, path in engines.items():
        if name == "torch":
            engine: Engine = TorchEngine(path, ModelSettings(device="cpu"))
            planned = ""
        else:
            opened = LlamaEngine(path, ModelSettings(gpu_layers=0))
            engine, total = opened, sum(opened.allocated.values())
            wanted = sum(one.total - one.runtime for one in opened.plan.devices)
            planned = f"; memory planned {wanted / 1e6:.1f} MB, allocated {total / 1e6:.1f} ({wanted / total - 1:+.1%})"
        room = engine.describe().context
        length = min(prefix, room - 160)
        long = cut(engine, text * 8, length)
        cold, finished = first_token(engine, long)
        warm, again = first_token(engine, long + " What is the berth?")
        read = finished.usage.prompt_tokens / finished.prefill_ms * 1e3
        _, answered = first_token(engine, text[:1000], ANSWER)
        written = answered.usage.completion_tokens / answered.decode_ms * 1e3
        print(
            f"{name}: prompt of {length:,} tokens {read:,.0f} tokens/s, answer {written:,.1f}; first token after "
            f"{cold * 1e3:,.0f} ms, on the second turn {warm * 1e3:,.1f} ms ({cold / warm:.0f} times sooner, "
            f"{again.usage.cached_tokens:,} tokens cached){planned}",
            flush=True,
        )
        engine.close()


def cut(engine: Engine, text: str, tokens: int) -> str:
    """The beginning of `text` that takes about as many tokens."""
    least, most = 0, len(text)
    while most - least > 8:
        middle = (least + most) // 2
        least, most = (middle, most) if engine.count_tokens(text[:middle]) <= tokens else (least, middle)
    return text[:least]


def first_token(engine: Engine, prompt: str, tokens: int = 2) -> tuple[float, Finished]:
    """Seconds until the prompt is read, and the end of the answer."""
    started = time.perf_counter()
    after = 0.0
    for event in engine.generate(Request(prompt, Sampling(max_tokens=tokens, temperature=1.0, seed=1))):
        after = time.perf_counter() - started if isinstance(event, Prefilling) else after
        if isinstance(event, Finished):
            return max(after, event.prefill_ms / 1e3), event
    raise AssertionError("the answer did not end")


def by_torch(engine: TorchEngine, read: list[int], after: list[int]) -> NDArray[np.float64]:
    """Log-probabilities [T, vocabulary] after each token of `after`."""
    with engine._reading(read) as sequence, torch.inference_mode():
        logits = engine._loaded().branch([after], sequence.held, sequence.pages)
    return log_softmax(logits.float().numpy())


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    found: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    return found


def answer(engine: Engine, prompt: str) -> str:
    events = engine.generate(Request(prompt, Sampling(max_tokens=ANSWER)))
    return "".join(event.text for event in events if isinstance(event, Delta))


def shared(one: Sequence[str], other: Sequence[str]) -> float:
    """The part of the longer text that both begin with."""
    longest = max(len(one), len(other), 1)
    return (
        next((n for n in range(min(len(one), len(other))) if one[n] != other[n]), min(len(one), len(other))) / longest
    )


@contextmanager
def llama(file: Path, settings: ModelSettings) -> Iterator[LlamaEngine]:
    engine = LlamaEngine(file, settings)
    try:
        yield engine
    finally:
        engine.close()


if __name__ == "__main__":
    main()
