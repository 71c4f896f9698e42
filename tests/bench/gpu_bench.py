"""The torch engine on one GPU with random weights of a published shape, and its peers; results as JSON lines.

    PYTHONPATH=. python tests/bench/gpu_bench.py decode v2-lite --out rates.jsonl
    PYTHONPATH=. python tests/bench/gpu_bench.py decode v2-lite --fp8 --contexts 64 32768
    PYTHONPATH=. python tests/bench/gpu_bench.py peer v2-lite        # transformers, and every cached token expanded
    PYTHONPATH=. python tests/bench/gpu_bench.py shelf v2-lite --contexts 100000

Steps are driven from the host, as the engine drives them; the likeliest token is fed back.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.bench import RunnerSubject
from model.cache import PAGE
from model.ceiling import Held, decode_seconds, expected_experts, prefill_seconds
from model.config import Config
from model.device_rates import device_rates
from model.prefix import open_prefix, read_prefix, write_prefix
from model.random_weights import random_model, shape_config
from model.runner import Runner
from model.step import Reading

GPU = torch.device("cuda")
CHUNK = 8192


class Report:
    def __init__(self, out: Path | None) -> None:
        self._out = out

    def __call__(self, **row: Any) -> None:
        line = json.dumps({"gpu": torch.cuda.get_device_name(), **row})
        print(line, flush=True)
        if self._out is not None:
            with self._out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def decode(config: Config, options: argparse.Namespace, report: Report) -> None:
    """Prefill and decode rates beside their ceilings, and the memory of the cache."""
    model = random_model(config, torch.bfloat16, GPU, options.fp8)
    subject = RunnerSubject(Runner(model, torch.bfloat16, GPU), CHUNK, options.fp8_cache)
    held = Held(fp8=options.fp8, fp8_cache=options.fp8_cache)
    device = device_rates(GPU, torch.bfloat16)
    for batch in options.batches:
        for context in options.contexts:
            subject.time(context, batch, 4, 0)
            timed = [subject.time(context, batch, options.tokens, seed) for seed in range(1, options.repeats + 1)]
            rate = statistics.median(one.decoded / one.decode for one in timed)
            read = statistics.median(batch * context / one.prefill for one in timed)
            best = batch / decode_seconds(config, held, device, context + options.tokens / 2, batch)
            fastest = batch * context / prefill_seconds(config, held, device, context, batch)
            report(
                what="decode", shape=options.shape, layers=config.num_hidden_layers, fp8=options.fp8,
                fp8_cache=options.fp8_cache, batch=batch, context=context, decode=round(rate, 1),
                decode_ceiling=round(best, 1), decode_share=round(rate / best, 3),
                experts=round(expected_experts(config, batch), 1), prefill=round(read), prefill_ceiling=round(fastest),
                prefill_share=round(read / fastest, 3),
                cache_gib=round(subject.cache_bytes / (1 << 30), 3),
                bandwidth=device.bandwidth, matrix=device.matrix,
            )  # fmt: skip


def peer(config: Config, options: argparse.Namespace, report: Report) -> None:
    """transformers' own model of the same shape with random weights, decoding after a prefill of each context."""
    from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

    values = replace(config, fp8_block=None).to_json()
    theirs = DeepseekV2Config(**{key: value for key, value in values.items() if key != "architectures"})
    for attention in ("sdpa", "eager"):
        theirs._attn_implementation = attention
        torch.set_default_dtype(torch.bfloat16)
        with GPU:
            model = DeepseekV2ForCausalLM(theirs).eval()
        torch.set_default_dtype(torch.float32)
        for context in options.contexts:
            try:
                ids = torch.randint(0, 1000, (1, context), device=GPU)
                with torch.inference_mode():
                    started = now()
                    out = model(ids, use_cache=True, logits_to_keep=1)
                    read = now() - started
                    last = out.logits[:, -1:].argmax(-1)
                    for _ in range(3):
                        last = model(last, past_key_values=out.past_key_values, use_cache=True).logits.argmax(-1)
                    started = now()
                    for _ in range(16):
                        last = model(last, past_key_values=out.past_key_values, use_cache=True).logits.argmax(-1)
                    rate = 16 / (now() - started)
                report(what="transformers", attention=attention, context=context, decode=round(rate, 2),
                       prefill=round(context / read))  # fmt: skip
            except torch.OutOfMemoryError:
                report(what="transformers", attention=attention, context=context, error="out of memory")
        del model
        torch.cuda.empty_cache()


def shelf(config: Config, options: argparse.Namespace, report: Report) -> None:
    """A document's latents from disk, cold and warm, against reading it; the same greedy tokens after both."""
    model = random_model(config, torch.bfloat16, GPU, options.fp8)
    runner = Runner(model, torch.bfloat16, GPU)
    for context in options.contexts:
        count = -(-(context + 64) // PAGE)
        runner.open_cache(2 * count, options.fp8_cache)
        pages, others = range(count), range(count, 2 * count)
        tokens = torch.randint(0, config.vocab_size, (context,)).tolist()

        def read(tokens: list[int], pages: range) -> None:
            for start in range(0, len(tokens), CHUNK):
                runner.read([], [Reading(tokens[start : start + CHUNK], start, pages)], False)

        def write(pages: range, context: int, first: int) -> list[int]:
            made = [first]
            for held in range(context, context + 48):
                made.append(int(runner.logits(runner.read([], [Reading(made[-1:], held, pages)], False)).argmax()))
            return made

        read(tokens[:CHUNK], pages)
        started = now()
        read(tokens, pages)
        prefill = now() - started
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            file = Path(folder) / "shelf"
            started = now()
            size = write_prefix(file, "bench", tokens, runner.cache, pages)
            written = now() - started
            times = {}
            for name in ("raw cold", "cold", "raw warm", "warm"):
                if "cold" in name:
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
                        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                started = now()
                if "raw" in name:
                    with file.open("rb", buffering=0) as opened:
                        buffer = bytearray(16 << 20)
                        while opened.readinto(buffer):
                            pass
                else:
                    read_prefix(open_prefix(file, "bench", runner.cache), runner.cache, others, context)
                times[name] = now() - started
        same = write(pages, context, 7) == write(others, context, 7)
        seconds = {f"{name.replace(' ', '_')}_s": round(value, 3) for name, value in times.items()}
        report(
            what="shelf", context=context, gib=round(size / (1 << 30), 3), prefill_s=round(prefill, 3),
            written_s=round(written, 3), **seconds, share_of_disk=round(times["raw cold"] / times["cold"], 3),
            speedup_cold=round(prefill / times["cold"], 1), speedup_warm=round(prefill / times["warm"], 1),
            same_tokens=same,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["decode", "peer", "shelf"])
    parser.add_argument("shape", help="v2-lite, v2 or v3; v3-layers=5 has five layers")
    parser.add_argument("--fp8", action="store_true", help="weights as e4m3 blocks")
    parser.add_argument("--fp8-cache", action="store_true")
    parser.add_argument("--contexts", type=int, nargs="+", default=[64, 32768])
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where a shelf is written")
    parser.add_argument("--out", type=Path, help="JSON lines are appended to it")
    options = parser.parse_args()
    work = {"decode": decode, "peer": peer, "shelf": shelf}[options.what]
    work(shape_config(options.shape), options, Report(options.out))


if __name__ == "__main__":
    main()
