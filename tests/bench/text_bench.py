"""Held-out text by a checkpoint: what FP8 weights and an FP8 cache cost, what drafts are worth, how experts share it.

    PYTHONPATH=. python tests/bench/text_bench.py FOLDER --text validation.txt.xz --out rows.jsonl
    PYTHONPATH=. python tests/bench/text_bench.py FOLDER --text FILE --reference RUN/stages/settle

Text is documents separated by U+001E, or one document. Without a cache it is read as the trainer reads it; with one, a
few tokens at a time, so that all but these few come from the cache: on a GPU by the recorded steps that write answers.
`--reference` is a folder of the same weights in BF16, as the trainer leaves them after each stage.

N windows, S tokens of a window, V vocabulary.
"""

import argparse
import json
import lzma
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model.cache import PAGE
from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM
from model.kernels import MOST
from model.placement import choose_device
from model.runner import Runner
from model.step import Reading
from model.tokenizer import Tokenizer
from model.train.corpus import pack_part
from model.train.evaluate import evaluate_text

NEW = 4
"""Tokens read at once where there is a cache."""


def read_tokens(file: Path, tokenizer: Path, limit: int) -> NDArray[np.uint16]:
    """The first `limit` tokens of `file` (text, or text in .xz), packed as for training."""
    with tempfile.TemporaryDirectory() as made:
        if file.suffix != ".xz":
            text = file.read_bytes()
            file = Path(made) / "text.xz"
            file.write_bytes(lzma.compress(text, preset=0))
        packed = Path(made) / "text.u16"
        pack_part(file, tokenizer, packed)
        return np.fromfile(packed, dtype=np.uint16)[:limit]


@torch.inference_mode()
def cached_nats(
    model: DeepseekForCausalLM, dtype: torch.dtype, device: torch.device, windows: NDArray[np.int64], fp8: bool
) -> float:
    """Nats per token of windows [N, S + 1], each token predicted from a cache."""
    runner = Runner(model, dtype, device)
    length = windows.shape[1] - 1
    own = -(-length // PAGE)
    together = MOST // NEW
    runner.open_cache(own * min(together, len(windows)), fp8)
    total = 0.0
    for first in range(0, len(windows), together):
        some = windows[first : first + together]
        tables = [range(own * number, own * (number + 1)) for number in range(len(some))]
        for start in range(0, length, NEW):
            ends = min(start + NEW, length)
            readings = [
                Reading(row[start:ends].tolist(), start, table) for row, table in zip(some, tables, strict=True)
            ]
            logits = runner.logits(runner.read([], readings, False)).float()  # [N * NEW, V]
            targets = torch.from_numpy(some[:, start + 1 : ends + 1].reshape(-1)).to(device)
            total += float(F.cross_entropy(logits, targets, reduction="sum"))
    return total / (len(windows) * length)


@torch.inference_mode()
def expert_loads(model: DeepseekForCausalLM, windows: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """int64 [routed layers, E]: tokens that each expert received."""
    counts: torch.Tensor | None = None
    for row in windows:
        _, load = model.hidden(torch.from_numpy(row[None, :-1]).to(device), load=True)
        assert load is not None  # it has routed layers
        counts = load.counts if counts is None else counts + load.counts
    assert counts is not None  # there are windows
    return counts.cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="folder of the same weights in BF16")
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--length", type=int, default=4096, help="tokens of a window")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--out", type=Path, help="JSON lines are appended to it")
    options = parser.parse_args()
    device, dtype = choose_device(options.device), getattr(torch, options.dtype)
    started = time.perf_counter()

    def report(**row: Any) -> None:
        line = json.dumps({**row, "seconds": round(time.perf_counter() - started, 1)})
        print(line, flush=True)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    tokens = read_tokens(options.text, options.folder / "tokenizer.json", options.tokens)
    characters = len(Tokenizer(options.folder).decode(tokens.tolist()))
    count = (len(tokens) - 1) // options.length
    places = np.arange(count)[:, None] * options.length + np.arange(options.length + 1)
    windows = tokens[places].astype(np.int64)  # [N, S + 1]
    report(what="text", tokens=len(tokens), windows=count, characters_per_token=round(characters / len(tokens), 4))

    def losses(weights: str, model: DeepseekForCausalLM) -> None:
        text = evaluate_text(model, tokens, options.length, len(tokens))
        nats = {"none": text.pop("validation_nats_per_token")}
        report(what="loss", weights=weights, cache="none", nats=nats["none"], **bits(nats["none"]), **text)
        for cache in ("bf16", "fp8"):
            nats[cache] = cached_nats(model, dtype, device, windows, cache == "fp8")
            report(what="loss", weights=weights, cache=cache, nats=round(nats[cache], 4), **bits(nats[cache]))

    def bits(nats: float) -> dict[str, float]:
        return {"bits_per_character": round(nats / math.log(2) * len(tokens) / characters, 4)}

    if options.reference is not None:
        losses("reference", load_model(options.reference, dtype, device))
    model = load_model(options.folder, dtype, device)
    losses("stored", model)
    counts = expert_loads(model, windows, device).float()
    mean = counts.mean(-1)
    report(
        what="experts",
        max_over_mean_less_one=[round(one, 4) for one in (counts.amax(-1) / mean - 1).tolist()],
        min_over_mean=[round(one, 4) for one in (counts.amin(-1) / mean).tolist()],
        counts=counts.int().tolist(),
    )


if __name__ == "__main__":
    main()
