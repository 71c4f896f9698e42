"""What a checkpoint's predictor is worth on free text: drafts kept, tokens per second, and whether the text is one.

    PYTHONPATH=. python tests/bench/drafts_bench.py FOLDER --text validation.txt.xz --out rows.jsonl

Each prompt is the beginning of a document, continued greedily through the engine: without drafts, then with them. Where
texts part, the gap between the two tokens' log-probabilities tells rounding from a fault. On a GPU, `costs` are
milliseconds on the device: `step` is a step of one token, `verify` one of a token and its drafts (both to the likeliest
tokens), `draft` the predictor alone, `round` all of a round; `driven` is a round that the host asks for and waits for.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.cache import PAGE
from model.engine import Delta, Finished, Logprobs, Request, Sampling
from model.runner import Runner
from model.settings import ModelSettings
from model.step import Reading, make_step
from model.tokenizer import Tokenizer
from model.torch_engine import TorchEngine
from model.train.corpus import documents
from model.train.tokenizer import BEGIN_ID


def read_prompts(file: Path, tokenizer: Tokenizer, count: int, length: int) -> list[list[int]]:
    """The first `length` tokens of `count` documents that go on after them."""
    found: list[list[int]] = []
    for document in documents(file):
        tokens = [BEGIN_ID, *tokenizer.encode(document)]
        if len(tokens) > 2 * length:
            found.append(tokens[:length])
        if len(found) == count:
            break
    return found


def write(engine: TorchEngine, prompt: list[int], tokens: int) -> tuple[str, Finished]:
    """A greedy continuation."""
    events = list(engine.generate(Request(prompt, Sampling(max_tokens=tokens))))
    last = events[-1]
    assert isinstance(last, Finished)
    return "".join(event.text for event in events if isinstance(event, Delta)), last


def write_ids(engine: TorchEngine, prompt: list[int], tokens: int) -> list[int]:
    """The same as token ids."""
    events = engine.generate(Request(prompt, Sampling(max_tokens=tokens, logprobs=1)))
    return [event.token.id or 0 for event in events if isinstance(event, Logprobs)]


def gap(engine: TorchEngine, prompt: list[int], one: list[int], other: list[int]) -> float | None:
    """How far the two tokens at which texts part lie from each other in log-probability; None where they agree."""
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:
        return None
    request = Request([*prompt, *one[:at]], Sampling(max_tokens=1, logprobs=8))
    event = next(event for event in engine.generate(request) if isinstance(event, Logprobs))
    known = {token.id: token.logprob for token in event.likeliest}
    return round(abs(known.get(one[at], -99.0) - known.get(other[at], -99.0)), 4)


@torch.inference_mode()
def costs(runner: Runner, drafts: int, context: int, repeats: int = 300) -> dict[str, float]:
    """Milliseconds of a round and of its parts, one sequence with `context` tokens before it; empty without a GPU.

    What the cache holds is lost.
    """
    graphs = runner._graphs
    if graphs is None:
        return {}
    from model import fast_decode, fast_rounds  # need Triton

    vocabulary = runner.model.config.vocab_size
    pages = list(range(-(-(context + 2 * drafts + 1) // PAGE)))

    def one(count: int) -> list[Reading]:
        return [Reading(list(range(7, 7 + count)), context, pages)]

    single, several = make_step(one(1), runner.device), make_step(one(1 + drafts), runner.device)
    hidden = torch.zeros(1 + drafts, runner.model.config.hidden_size, dtype=runner.dtype, device=runner.device)

    def verify() -> Tensor:
        return fast_decode.logits(runner.model, fast_decode.decode(runner.model, several, runner.cache)).max(-1).indices

    def advance(step: Any, count: int) -> Tensor:
        return fast_rounds.advance(runner.model, step, runner.cache, count, vocabulary)

    parts = {"step": graphs._record(partial(advance, single, 0))}
    driven = {"step": partial(runner.advance_all, [], one(1), 0, vocabulary)}
    if drafts:
        parts["verify"] = graphs._record(verify)
        parts["draft"] = graphs._record(
            partial(fast_rounds.draft, runner.model, several, hidden, runner.cache, drafts, vocabulary)
        )
        parts["round"] = graphs._record(partial(advance, several, drafts))
        driven["round"] = partial(runner.advance_all, [], one(1 + drafts), drafts, vocabulary)
    found: dict[str, float] = {}
    for name, work in [*parts.items(), *((f"driven_{name}", work) for name, work in driven.items())]:
        work()
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(repeats):
            work()
        torch.cuda.synchronize()
        found[name] = round((time.perf_counter() - begun) / repeats * 1e3, 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="documents in .xz, separated by U+001E")
    parser.add_argument("--drafts", type=int, nargs="+", default=[1, 2], help="tokens drafted before each pass")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--length", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=256, help="tokens to write")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", "bfloat16", "float32"], default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="JSON lines are appended to it")
    options = parser.parse_args()
    prompts = read_prompts(options.text, Tokenizer(options.folder), options.prompts, options.length)
    plain: list[tuple[str, list[int]]] = []
    rate: float | None = None
    for drafts in (0, *options.drafts):
        started = time.perf_counter()
        settings = ModelSettings(
            device=options.device, dtype=options.dtype, threads=options.threads, speculate=drafts,
            context=options.length + options.tokens,
        )  # fmt: skip
        engine = TorchEngine(options.folder, settings)
        ids = [write_ids(engine, prompt, options.tokens) for prompt in prompts]
        write(engine, prompts[0], options.tokens)  # a GPU records and compiles
        written = [write(engine, prompt, options.tokens) for prompt in prompts]
        texts = [(text, own) for (text, _), own in zip(written, ids, strict=True)]
        plain = plain or texts
        parted = [
            gap(engine, prompt, one[1], other[1])
            for prompt, one, other in zip(prompts, plain, texts, strict=True)
            if one[0] != other[0]
        ]
        usages = [last.usage for _, last in written]
        counts, times = [one.completion_tokens - 1 for one in usages], [last.decode_ms / 1e3 for _, last in written]
        own_rate = sum(counts) / sum(times)
        rate = rate or own_rate
        drafted = sum(one.drafted for one in usages)
        row: dict[str, Any] = {
            "what": "drafts", "drafts": drafts, "prompts": len(prompts),
            "tokens": sum(one.completion_tokens for one in usages), "tokens_per_second": round(own_rate, 1),
            "median_per_prompt": round(statistics.median(n / s for n, s in zip(counts, times, strict=True)), 1),
            "speedup": round(own_rate / rate, 3),
            "acceptance": round(sum(one.accepted for one in usages) / max(drafted, 1), 4),
            "drafted": drafted, "same_text": len(prompts) - len(parted), "gaps_where_parted": parted,
            "costs": costs(engine._loaded(), drafts, options.length),
            "device": engine.describe().devices[0], "quantization": engine.describe().quantization,
            "seconds": round(time.perf_counter() - started, 1),
        }  # fmt: skip
        engine.close()
        line = json.dumps(row)
        print(line, flush=True)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
