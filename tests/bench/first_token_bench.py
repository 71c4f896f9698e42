"""The first token of an answer and the speed of the rest, through the engine, on a CPU.

    PYTHONPATH=. python tests/bench/first_token_bench.py MODEL --text validation.txt.xz --out rows.jsonl [--threads 2]

Every prompt is held-out text that no prompt before it begins with, so that nothing is read from the cache. Of a folder,
all of `--dtypes` with all of `--drafts`; of a GGUF file one row. What is printed and kept is the median of `--repeats`,
after an answer that warms up.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from model.engine import Delta, Engine, Finished, Request, Sampling
from model.open import open_engine
from model.settings import ModelSettings
from model.tokenizer import Tokenizer
from model.train.corpus import documents


def measure(engine: Engine, prompts: list[str], tokens: int) -> dict[str, Any]:
    """Medians over all prompts but the first."""
    firsts, rates, last = [], [], None
    for prompt in prompts:
        began, first = time.perf_counter(), None
        for event in engine.generate(Request(prompt, Sampling(max_tokens=tokens))):
            if isinstance(event, Delta) and first is None:
                first = time.perf_counter() - began
            elif isinstance(event, Finished):
                last = event
        assert first is not None and last is not None and last.usage.cached_tokens < 128, last
        firsts.append(first)
        rates.append((last.usage.completion_tokens - 1) / last.decode_ms * 1e3)
    assert last is not None
    return {
        "prompt": last.usage.prompt_tokens,
        "first_token_s": round(statistics.median(firsts[1:]), 3),
        "tokens_per_s": round(statistics.median(rates[1:]), 1),
    }


def settings(model: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    shared = {"context": 2 * options.length, "threads": options.threads}
    if model.is_dir():
        for dtype, drafts in product(options.dtypes, options.drafts):
            yield shared | {"device": "cpu", "dtype": dtype, "speculate": drafts}
    else:
        yield shared | {"gpu_layers": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a checkpoint, or a .gguf file of it")
    parser.add_argument("--text", type=Path, required=True, help="documents, xz-compressed")
    parser.add_argument(
        "--tokenizer", type=Path, default=Path("data/model"), help="folder of the checkpoint's tokenizer"
    )
    parser.add_argument("--length", type=int, default=2048, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--drafts", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    tokenizer = Tokenizer(options.tokenizer)
    ids = tokenizer.encode("\n\n".join(documents(options.text)[:600]))
    starts = range(0, (options.repeats + 1) * options.length, options.length)
    prompts = [tokenizer.decode(ids[start : start + options.length]) for start in starts]
    for chosen in settings(options.model, options):
        engine = open_engine(str(options.model), ModelSettings(**chosen))
        row = chosen | measure(engine, prompts, options.tokens)
        engine.close()
        print(json.dumps(row), flush=True)
        with options.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
