"""Decode steps of one rank against several, with random weights of a published shape; results as JSON lines.

    PYTHONPATH=. python tests/bench/parallel_bench.py v3-layers=6 --fp8 --ranks 1 2 --out ranks.jsonl
    PYTHONPATH=. python tests/bench/parallel_bench.py v3-layers=6 --fp8 --fp8-cache --ranks 2 --layout heads sequence \
        --context 1024 32768 131072 --tokens 2097152 --prefill 32768
    PYTHONPATH=. python tests/bench/parallel_bench.py toy --device cpu        # a rehearsal without a GPU

Weights are drawn on each device, by part; nothing is read. First, logits of a toy model on several ranks are compared
with those of one; at the end, a rank is killed in a step. `loop` is a step that every rank repeats by itself, `driven`
one that rank 0 asks for each time, `engine` one by the runner of the engine, with its messages, to tokens on the host.
The kernels of model/fast_decode.py are used where they are there and know the model, in a CUDA graph. `prefill` is a
prompt read by the engine's runner. Collectives are those of one layer: `all_reduce` sums hidden states, `collect` and
`exchange` are what the layout `sequence` needs beside that.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from model.cache import PAGE
from model.config import Config
from model.errors import LostRank
from model.parallel import Ranks
from model.random_weights import shape_config
from model.step import Reading
from tests.bench.parallel_parts import CHUNK, TOY, Held, Part, build_cut, build_random, decode_readings


def check(
    devices: list[torch.device], dtype: torch.dtype, options: argparse.Namespace, tell: Callable[..., None]
) -> None:
    """Compare logits of a toy model on all devices, in every layout, with those on the first."""
    fp8, found = options.fp8, {}
    for number, layout in [(1, "heads"), *((len(devices), one) for one in options.layout)]:
        held = Held(32, layout, options.fp8_cache)
        ranks: Ranks[Part] = Ranks(partial(build_cut, TOY, dtype, fp8, held), devices[:number])
        try:
            for plain in (True, False):
                for batch in (1, 3):
                    path = ranks.ask("prepare", batch, 300, plain)
                    found[number, layout, plain, batch] = ranks.ask("step"), path[0]
        finally:
            ranks.close()
    for (number, layout, plain, batch), (logits, path) in found.items():
        if number > 1:
            expected = found[1, "heads", True, batch][0][0]
            difference = max(float((own - expected).abs().max()) for own in logits)
            same = all(torch.equal(own, logits[0]) for own in logits)
            tell(
                what="check", ranks=number, layout=layout, batch=batch, path=path, largest_difference=difference,
                spread=float(expected.std()), same_on_all_ranks=same, fp8=fp8, plain_asked_for=plain,
            )  # fmt: skip


def lose(devices: list[torch.device], dtype: torch.dtype, fp8: bool, tell: Callable[..., None]) -> None:
    """Kill a rank in the middle of a step: how long until that is an error, and which."""
    ranks: Ranks[Part] = Ranks(partial(build_random, TOY, dtype, fp8, Held(32)), devices)
    ranks.ask("prepare", 1, 300, False)
    begun = time.perf_counter()
    try:
        ranks.call("lose")
    except LostRank as error:
        tell(what="lost", ranks=len(devices), seconds=round(time.perf_counter() - begun, 2), error=str(error))
    else:
        tell(what="lost", ranks=len(devices), error="none was raised")
    finally:
        ranks.close()


def _engine_step(ranks: Ranks[Part], readings: list[Reading]) -> list[int]:
    """What an engine does for the next token of each sequence."""
    with ranks.guard():
        tokens: list[int] = ranks.call("logits", ranks.call("read", readings)).argmax(-1).tolist()
        return tokens


def _typical(work: Callable[[], Any], repeats: int) -> float:
    """Milliseconds, the median; the first runs do not count."""
    seconds = []
    for _ in range(3 + repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return sorted(seconds[3:])[repeats // 2] * 1e3


def measure(
    config: Config, devices: list[torch.device], layout: str, options: argparse.Namespace, tell: Callable[..., None]
) -> None:
    """Time steps of every batch size and context, and prompts, on `devices`."""
    dtype = torch.bfloat16 if devices[0].type == "cuda" else torch.float32
    cells = [
        (batch, context)
        for context in options.context
        for batch in options.batch
        if options.tokens is None or batch * context <= options.tokens
    ]
    pages = max(
        [batch * -(-context // PAGE) for batch, context in cells] + [-(-one // PAGE) for one in options.prefill]
    )
    begun = time.perf_counter()
    held = Held(pages, layout, options.fp8_cache)
    ranks: Ranks[Part] = Ranks(partial(build_random, config, dtype, options.fp8, held), devices)
    try:
        common = {"shape": options.shape, "fp8": options.fp8, "ranks": len(devices), "layout": layout}
        gib = {name: [round(one / 2**30, 3) for one in ranks.ask(name)] for name in ("weights", "cached")}
        seconds = round(time.perf_counter() - begun, 1)
        tell(
            what="built",
            **common,
            seconds=seconds,
            tokens=pages * PAGE,
            weights_gib=gib["weights"],
            cache_gib=gib["cached"],
        )
        for batch, context in cells:
            path = ranks.ask("prepare", batch, context, options.plain)[0]
            ranks.call("loop", 3)
            loop = min(ranks.call("loop", options.repeats) for _ in range(3))
            driven = _typical(lambda: ranks.call("driven"), options.repeats)
            readings = decode_readings(batch, context, config)
            figures = {"loop_ms": round(loop, 4), "driven_ms": round(driven, 4)}
            if ranks.part.runner is not None:
                figures["engine_ms"] = round(_typical(partial(_engine_step, ranks, readings), options.repeats), 4)
            tell(what="decode", **common, context=context, batch=batch, path=path, **figures)
        for tokens in options.prefill if ranks.part.runner is not None else []:
            ranks.call("prefill", min(tokens, CHUNK))
            tell(what="prefill", **common, tokens=tokens, seconds=round(ranks.call("prefill", tokens), 4))
        for kind in _kinds(len(devices), layout, devices[0].type):
            for batch in options.batch:
                tell(what=kind, **common, batch=batch, microseconds=ranks.ask("collective", kind, batch, 100)[0])
    finally:
        ranks.close()


def _kinds(ranks: int, layout: str, device: str) -> list[str]:
    """The collectives to be timed."""
    if ranks == 1:
        return []
    if layout == "sequence":
        return ["collect", "exchange"]
    return ["all_reduce", *(["one_shot_all_reduce", "two_shot_all_reduce_"] if device == "cuda" else [])]


def main() -> None:
    options = _options()
    config = TOY if options.shape == "toy" else replace(shape_config(options.shape), num_nextn_predict_layers=0)
    if options.dense is not None:
        config = replace(config, first_k_dense_replace=options.dense)
    kind = options.device
    devices = [torch.device(kind, number) if kind == "cuda" else torch.device(kind) for number in range(8)]
    with Path(options.out).open("a") as file:

        def tell(**fields: Any) -> None:
            line = json.dumps(fields)
            print(line, flush=True)
            file.write(line + "\n")
            file.flush()

        name = torch.cuda.get_device_name(0) if kind == "cuda" else "cpu"
        tell(what="machine", device=name, torch=torch.__version__, arguments=sys.argv[1:])
        most = max(options.ranks)
        dtype = torch.bfloat16 if kind == "cuda" else torch.float32
        if most > 1:
            check(devices[: min(most, 2)], dtype, options, tell)
        for number in options.ranks:
            for layout in options.layout if number > 1 else ["heads"]:
                measure(config, devices[:number], layout, options, tell)
        if most > 1:
            lose(devices[: min(most, 2)], dtype, options.fp8, tell)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help="toy, v2-lite, v3, or fewer layers of one: v3-layers=6")
    parser.add_argument("--fp8", action="store_true", help="weights in FP8 as published; otherwise BF16")
    parser.add_argument("--dense", type=int, help="dense layers at the start, where not as published")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--context", type=int, nargs="+", default=[1024])
    parser.add_argument("--tokens", type=int, help="leave out steps over more tokens in all, for which no memory is")
    parser.add_argument("--prefill", type=int, nargs="*", default=[], help="tokens of prompts to be read")
    parser.add_argument("--layout", choices=["heads", "sequence"], nargs="+", default=["heads"])
    parser.add_argument("--fp8-cache", action="store_true", help="the cache in FP8; otherwise as the activations")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--plain", action="store_true", help="without model/fast_decode.py")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", default="parallel_bench.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    main()
