"""Decode steps of one rank against several, with random weights of a published shape; results as JSON lines.

    PYTHONPATH=. python tests/bench/parallel_bench.py v3-layers=6 --fp8 --ranks 1 2 --out ranks.jsonl
    PYTHONPATH=. python tests/bench/parallel_bench.py v3-layers=6 --fp8 --fp8-cache --ranks 2 --layout heads sequence \
        --context 1024 32768 131072 --prefill 32768
    PYTHONPATH=. python tests/bench/parallel_bench.py v3 --fp8 --fp8-cache --ranks 8 --layout heads sequence data \
        --batch 1 16 64 256 --context 1024 32768 131072 --prefill 32768 8192 131072 --drafts 1 3 \
        --quiet --lose
    PYTHONPATH=. python tests/bench/parallel_bench.py toy --fp8 --ranks 8 --layout heads sequence data --check
    PYTHONPATH=. python tests/bench/parallel_bench.py toy --device cpu        # a rehearsal without a GPU

Weights are drawn on each device, by part; nothing is read. `loop` is a step that every rank repeats by itself, `driven`
one that rank 0 asks for each time, `engine` one by the runner of the engine, with its messages, to tokens on the host.
The kernels of model/fast_decode.py are used where they are there and know the model, in a CUDA graph. `quiet` is a step
without collectives, on each rank. `prefill` is a prompt read in chunks, the first of --prefill in every layout, the
others in the first. Of drafts, a step that judges them is one of `new` tokens; a `round` makes as many as well. The
layout `data` is not the program's (see parallel_apart.py). `--sums peers nccl` has small messages go through peers'
memory (model/peers.py), and before that some steps by NCCL.

What runs is one job after the other. A job that fails or outlasts its limit ends the run; the same command, with the
same --out, goes on after it. parallel_table.py makes a table of the results.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from model.cache import PAGE
from model.config import Config
from model.kernels import MOST
from model.parallel import Ranks
from model.random_weights import shape_config
from model.step import Reading
from tests.bench.parallel_collectives import kinds
from tests.bench.parallel_journal import Journal
from tests.bench.parallel_losses import Twin, check, lose
from tests.bench.parallel_parts import CHUNK, TOY, Cell, Held, Part, build_random, cache_bytes

_SPARE = 5 << 30
"""Bytes left free beside the cache, for what a step or a chunk of a prompt needs."""

_SECONDS = 0.4
"""About how long a step is repeated at a time."""


def _engine_step(ranks: Ranks[Part], readings: list[Reading]) -> list[int]:
    """What an engine does for the next token of each sequence."""
    with ranks.guard():
        tokens: list[int] = ranks.call("logits", ranks.call("read", readings)).argmax(-1).tolist()
        return tokens


def _typical(work: Callable[[], Any], repeats: int) -> float:
    """Milliseconds, the median; the first run does not count."""
    seconds = []
    for _ in range(1 + repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return round(sorted(seconds[1:])[repeats // 2] * 1e3, 4)


class Session:
    """One model on so many devices, and what is measured on it."""

    def __init__(
        self, config: Config, devices: list[torch.device], options: argparse.Namespace, journal: Journal
    ) -> None:
        self.config, self.devices, self.options, self.journal = config, devices, options, journal
        self.dtype = torch.bfloat16 if devices[0].type == "cuda" else torch.float32
        self.common: dict[str, Any] = {
            "shape": options.shape,
            "layers": config.num_hidden_layers,
            "ranks": len(devices),
        }
        begun = time.perf_counter()
        with journal.limit(180, f"build on {len(devices)}"):
            build = partial(build_random, config, self.dtype, options.fp8)
            self.ranks: Ranks[Part] = Ranks(build, devices, 1 if devices[0].type == "cpu" else None)
            seconds = round(time.perf_counter() - begun, 1)
            copy, matrix = zip(*self.ranks.ask("rates"), strict=True)
            journal.tell(
                what="built", **self.common, seconds=seconds, memory=self.ranks.ask("memory"),
                copy_gb_per_s=[round(rate / 1e9) for rate in copy], tflop_per_s=[round(rate / 1e12) for rate in matrix],
            )  # fmt: skip

    def run(self) -> None:
        """Every layout with its steps and prompts, then the end of a rank.

        Sums that are not made as --sums has it first have steps at the first context alone, before everything else.
        """
        options = self.options
        if len(self.devices) == 1:
            self._layout("heads", True)
            return
        for means in reversed(options.sums):
            whole = means == options.sums[0]
            with self.journal.limit(60, "peers"):
                self.common["sums"] = self.ranks.ask("sum_by", means)[0]
            for layout in options.layout if whole else [one for one in options.layout if one != "data"]:
                if not self.journal.starts(f"{len(self.devices)} {means} {layout}", again=True):
                    return
                self._layout(layout, whole)
        if options.lose and self.journal.starts(f"{len(self.devices)} lose"):
            with self.journal.limit(60):
                lose(self.ranks, self.journal)

    def _layout(self, layout: str, whole: bool) -> None:
        options, ranks, journal, size = self.options, self.ranks, self.journal, len(self.devices)
        first = whole and layout == options.layout[0]
        prompts = options.prefill if first else options.prefill[:1] if whole else []
        contexts = options.context if whole else options.context[:1]
        cells = [Cell(batch, context) for context in contexts for batch in options.batch]
        cells = [one for one in cells if options.tokens is None or one.batch * one.context <= options.tokens]
        if layout == "data":
            cells, prompts = [one for one in cells if one.batch % size == 0], []
        apart = size if layout == "data" else 1
        # 1. A cache for all that there is room for.
        each = cache_bytes(self.config, size, layout, options.fp8_cache, self.dtype)
        with journal.limit(60, "open"):
            ranks.ask("open", Held(1, layout, options.fp8_cache))  # which lets go of the cache before
            room = int((min(ranks.ask("room")) - _SPARE) / each) - 1
            wanted = [one.pages(apart) for one in cells] + [-(-tokens // PAGE) for tokens in prompts]
            pages = max((one for one in wanted if one <= room), default=1)
            ranks.ask("open", Held(pages, layout, options.fp8_cache))
        self.common |= {"layout": layout}
        whole = cache_bytes(self.config, 1, "heads", options.fp8_cache, self.dtype) / PAGE
        journal.tell(
            what="opened", **self.common, tokens=pages * PAGE * apart, memory=ranks.ask("memory"),
            gib_of_128k=round(131_072 * whole * (size if layout == "heads" else 1) / 2**30, 3),
        )  # fmt: skip
        # 2. Steps, the smallest contexts first, and what else there is about them.
        for one in cells:
            if one.pages(apart) > room:
                gib = round(one.pages(apart) * each / 2**30, 1)
                journal.tell(what="no room", **self.common, batch=one.batch, context=one.context, gib_a_rank=gib)
                continue
            self._job(partial(self._decode, one, options.quiet and whole), "decode", one)
            if first and one == cells[0]:
                self._drafts(one.context, pages)
        # 3. Prompts, and collectives alone.
        for tokens in prompts:
            if -(-tokens // PAGE) <= pages:
                self._job(partial(self._prefill, tokens), "prefill", tokens)
        beyond = whole and self.devices[0].type == "cuda" and layout == options.layout[-1]
        for kind in kinds(size, layout, beyond):
            self._job(partial(self._collective, kind), kind, limit=30)

    def _job(self, work: Callable[[], None], *what: Any, limit: float = 90) -> None:
        sums = self.common.get("sums", "")
        name = " ".join(str(one) for one in (len(self.devices), sums, self.common["layout"], *what))
        if self.journal.starts(name):
            with self.journal.limit(limit):
                work()

    def _decode(self, cell: Cell, quiet: bool = False) -> None:
        ranks, options = self.ranks, self.options
        begun = time.perf_counter()
        path: dict[str, Any] = ranks.call("prepare", cell, options.plain)
        figures: dict[str, Any] = {"prepared_s": round(time.perf_counter() - begun, 1)}
        repeats = min(max(int(_SECONDS * 1e3 / ranks.call("loop", 2)), 2), options.repeats)
        figures["loop_ms"] = round(min(ranks.call("loop", repeats) for _ in range(3)), 4)
        figures["driven_ms"] = _typical(lambda: ranks.call("driven"), repeats)
        if quiet and len(self.devices) > 1:
            ranks.call("prepare", cell, options.plain, True)
            figures["quiet_ms"] = [round(one, 4) for one in ranks.ask("loop", repeats)]
        if ranks.part.runner is not None and cell.batch * cell.context <= 1 << 16:
            readings = cell.readings(self.config)
            figures["engine_ms"] = _typical(partial(_engine_step, ranks, readings), min(repeats, 10))
        self.journal.tell(
            what="decode", **self.common, context=cell.context, batch=cell.batch, new=cell.new, **path, **figures
        )

    def _drafts(self, context: int, pages: int) -> None:
        """Steps that judge drafts, and rounds that make them as well; as long as kernels take so many tokens."""
        for drafts in self.options.drafts:
            for batch in self.options.batch:
                cell = Cell(batch, context - drafts, 1 + drafts)  # the predictor needs room for its own
                if batch * cell.new <= MOST and cell.pages() <= pages:
                    self._job(partial(self._decode, cell), "judge", cell)
                    if self.ranks.part.rounds():
                        self._job(partial(self._round, cell, drafts), "round", cell)

    def _round(self, cell: Cell, drafts: int) -> None:
        ranks = self.ranks
        ranks.call("prepare_round", cell, drafts)
        figures = {"loop_ms": round(min(ranks.call("loop", 10) for _ in range(3)), 4)}
        if ranks.part.runner is not None:
            readings = cell.readings(self.config)
            figures["engine_ms"] = _typical(lambda: ranks.call("advance", readings, drafts), 10)
        self.journal.tell(what="round", **self.common, context=cell.context, batch=cell.batch, drafts=drafts, **figures)

    def _prefill(self, tokens: int) -> None:
        self.ranks.call("prefill", min(tokens, CHUNK))
        seconds = round(self.ranks.call("prefill", tokens), 4)
        self.journal.tell(
            what="prefill", **self.common, tokens=tokens, seconds=seconds, memory=self.ranks.ask("memory")
        )

    def _collective(self, kind: str) -> None:
        for batch in self.options.batch:
            found = self.ranks.ask("collective", kind, batch, 100)[0]
            self.journal.tell(what="collective", kind=kind, **self.common, batch=batch, microseconds=found)


def _check(devices: list[torch.device], options: argparse.Namespace, journal: Journal) -> None:
    """Compare every layout with one rank, in float32 and as weights are kept."""
    on_gpu = devices[0].type == "cuda"
    with journal.limit(60, "build a toy"):
        ranks: Ranks[Twin] = Ranks(partial(Twin, TOY, options.fp8), devices, None if on_gpu else 1)
    try:
        for dtype in (torch.float32, *([torch.bfloat16] if on_gpu else [])):
            for layout in options.layout:
                if journal.starts(f"check {layout} {dtype}"):
                    with journal.limit(90):
                        check(ranks, dtype, layout, journal)
    finally:
        ranks.close()


def main() -> None:
    options = _options()
    config = TOY if options.shape == "toy" else shape_config(options.shape)
    if options.dense is not None:
        config = replace(config, first_k_dense_replace=options.dense)
    kind = options.device
    devices = [torch.device(kind, number) if kind == "cuda" else torch.device(kind) for number in range(8)]
    with Journal(options.out, options.until) as journal:
        name = torch.cuda.get_device_name(0) if kind == "cuda" else "cpu"
        journal.tell(what="machine", device=name, torch=torch.__version__, arguments=sys.argv[1:])
        if options.check:
            _check(devices[: max(options.ranks)], options, journal)
        for number in options.ranks if not options.check else []:
            session = Session(config, devices[:number], options, journal)
            try:
                session.run()
            finally:
                session.ranks.close()
        journal.tell(what="done")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help="toy, v2-lite, v3, or fewer layers of one: v3-layers=6")
    parser.add_argument("--fp8", action="store_true", help="weights in FP8 as published; otherwise BF16")
    parser.add_argument("--dense", type=int, help="dense layers at the start, where not as published")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--context", type=int, nargs="+", default=[1024])
    parser.add_argument("--tokens", type=int, help="leave out steps over more tokens in all")
    parser.add_argument("--prefill", type=int, nargs="*", default=[], help="tokens of prompts to be read")
    parser.add_argument("--drafts", type=int, nargs="*", default=[], help="drafts of a sequence in rounds with them")
    parser.add_argument("--layout", choices=["heads", "sequence", "data"], nargs="+", default=["heads"])
    parser.add_argument(
        "--sums", choices=["peers", "nccl"], nargs="+", default=["nccl"], help="how small messages go between ranks"
    )
    parser.add_argument("--fp8-cache", action="store_true", help="the cache in FP8; otherwise as the activations")
    parser.add_argument("--quiet", action="store_true", help="steps without collectives, too")
    parser.add_argument("--check", action="store_true", help="only compare logits of a toy model with one rank's")
    parser.add_argument("--lose", action="store_true", help="at the end kill a rank in a step")
    parser.add_argument("--repeats", type=int, default=50, help="at most")
    parser.add_argument("--plain", action="store_true", help="without model/fast_decode.py")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--until", type=float, help="begin nothing after this time (seconds since 1970)")
    parser.add_argument("--out", default="parallel_bench.jsonl")
    options = parser.parse_args()
    if "data" in options.layout[:-1]:
        parser.error("data comes last: the others have no use for its weights")
    return options


if __name__ == "__main__":
    main()
