"""Decode steps of one rank against several, with random weights of a published shape; results as JSON lines.

    PYTHONPATH=. python tests/bench/parallel_bench.py v3-layers=6 --fp8 --ranks 1 2 --out ranks.jsonl
    PYTHONPATH=. python tests/bench/parallel_bench.py toy --device cpu        # a rehearsal without a GPU

Weights are drawn on each device, by part; nothing is read. First, logits of a toy model on several ranks are compared
with those of one; at the end, a rank is killed in a step. `loop` is a step that every rank repeats by itself, `driven`
one that rank 0 asks for each time, `engine` one by the runner of the engine, with its messages, to tokens on the host.
The kernels of model/fast_decode.py are used where they are there and know the model, in a CUDA graph.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.errors import LostRank
from model.kernels import supports
from model.parallel import Ranks
from model.random_weights import SHAPES, random_model, shape_config
from model.shard import Shard
from model.step import Reading, make_step
from model.tensors import named_tensors

TOY = replace(
    SHAPES["v3"], vocab_size=1024, hidden_size=512, intermediate_size=768, moe_intermediate_size=256,
    num_hidden_layers=4, first_k_dense_replace=1, num_attention_heads=16, q_lora_rank=256, kv_lora_rank=512,
    n_routed_experts=32, num_nextn_predict_layers=0, initializer_range=0.05,
)  # fmt: skip
"""V3 at widths that all kernels and FP8 blocks divide, for up to two ranks."""


def decode_readings(batch: int, context: int, config: Config) -> list[Reading]:
    """One new token of each of `batch` sequences, the last of `context`."""
    pages = -(-context // PAGE)
    tokens = torch.randint(0, config.vocab_size, (batch,), generator=torch.Generator().manual_seed(batch)).tolist()
    return [Reading([tokens[row]], context - 1, list(range(row * pages, (row + 1) * pages))) for row in range(batch)]


class Part:
    """What a rank holds: its part of the model, a cache, and the step to be timed."""

    def __init__(self, model: DeepseekForCausalLM, dtype: torch.dtype, pages: int, device: torch.device) -> None:
        self.model, self.device, self.shard = model, device, model.shard
        self.runner = _runner(model, dtype, device)
        if self.runner is None:
            self.cache = LatentCache(model.config, pages, dtype, device)
        else:
            self.runner.open_cache(pages, fp8=False)
            self.cache = self.runner.cache
        latents = torch.randn(PAGE, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
        self.cache.storage[:] = latents.to(device, self.cache.storage.dtype)
        self.work: Callable[[], Tensor] = torch.Tensor
        self.path = ""

    def prepare(self, batch: int, context: int, plain: bool) -> str:
        """Choose how the step is run, and run it until it is warm; the name of that way."""
        step = make_step(decode_readings(batch, context, self.model.config), self.device)
        decode, head, self.path = self.model.step, self.model.logits, "plain"
        if not plain and supports(self.model.config, self.device, self.cache.dtype, fp8_cache=False):
            from model import fast_decode  # needs Triton

            decode, head = partial(fast_decode.decode, self.model), partial(fast_decode.logits, self.model)
            self.path = "graph"

        def whole() -> Tensor:
            return head(decode(step, self.cache))

        self.work = whole
        for _ in range(3):
            self.work()
        if self.path == "graph":
            self.work = _captured(whole)
        self._wait()
        return self.path

    def read(self, readings: list[Reading]) -> Any:
        """Hidden states [batch, D], by the engine's runner."""
        return self.runner.read([], readings, False)

    def logits(self, hidden: Tensor) -> Any:
        """[batch, vocabulary], by the engine's runner."""
        return self.runner.logits(hidden)

    def step(self) -> Tensor:
        """Logits [batch, vocabulary], on the host."""
        return self.work().float().cpu()

    def loop(self, repeats: int) -> float:
        """Milliseconds of a step."""
        self._wait()
        begun = time.perf_counter()
        for _ in range(repeats):
            self.work()
        self._wait()
        return (time.perf_counter() - begun) / repeats * 1e3

    def driven(self) -> None:
        """One step, to its end."""
        self.work()
        self._wait()

    def lose(self) -> None:
        """Steps, in one of which the last rank is killed."""
        for number in range(20):
            if number == 10 and self.shard.rank == self.shard.size - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            self.driven()

    def weights(self) -> int:
        """Bytes."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum({one.data_ptr(): one.numel() * one.element_size() for one in tensors}.values())

    def collective(self, kind: str, rows: int, repeats: int) -> float | str:
        """Microseconds of summing [rows, D] over the ranks, in a CUDA graph where there is a GPU; or why it cannot."""
        try:
            work = _collective(kind, rows, self.model.config.hidden_size, self.device)
            run = _captured(work, repeats) if self.device.type == "cuda" else partial(_repeated, work, repeats)
            run()
            self._wait()
            begun = time.perf_counter()
            run()
            self._wait()
            return (time.perf_counter() - begun) / repeats * 1e6
        except (RuntimeError, AttributeError, ImportError) as error:
            return repr(error)[:300]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _runner(model: DeepseekForCausalLM, dtype: torch.dtype, device: torch.device) -> Any:
    """The engine's, where everything that an engine imports is installed."""
    try:
        from model.runner import Runner
    except ImportError:
        return None
    return Runner(model, dtype, device)


def _repeated(work: Callable[[], Tensor], repeats: int) -> Tensor:
    for _ in range(repeats):
        out = work()
    return out


def _captured(work: Callable[[], Tensor], repeats: int = 1) -> Callable[[], Tensor]:
    """`work` as a CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # NCCL has threads of its own
        out = _repeated(work, repeats)

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


def _collective(kind: str, rows: int, width: int, device: torch.device) -> Callable[[], Tensor]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    if kind == "all_reduce":
        values = torch.zeros(rows, width, dtype=dtype, device=device)
        return partial(Shard(0, dist.get_world_size()).sum, values)
    # Peers read one another's buffers directly: one kernel, no protocol. Works without NVLink multicast.
    import torch.distributed._symmetric_memory as symmetric

    group = dist.group.WORLD.group_name  # type: ignore[union-attr]
    buffer = symmetric.empty(rows, width, dtype=dtype, device=device)
    symmetric.rendezvous(buffer, group)
    return partial(getattr(torch.ops.symm_mem, kind), buffer, "sum", group)


def build_random(config: Config, dtype: torch.dtype, fp8: bool, pages: int, shard: Shard, device: torch.device) -> Part:
    """A part with weights of its own."""
    return Part(random_model(config, dtype, device, fp8, shard=shard), dtype, pages, device)


def build_cut(config: Config, dtype: torch.dtype, fp8: bool, pages: int, shard: Shard, device: torch.device) -> Part:
    """A part that is cut from the whole model, which every rank draws alike."""
    sources = named_tensors(random_model(config, dtype, device, fp8))
    model = random_model(config, dtype, device, fp8, shard=shard)
    for name, target in named_tensors(model).items():
        target.copy_(sources[name][shard.slices(name, tuple(sources[name].shape), config)])
    return Part(model, dtype, pages, device)


def check(devices: list[torch.device], dtype: torch.dtype, fp8: bool, tell: Callable[..., None]) -> None:
    """Compare logits of a toy model on all devices with those on the first."""
    found = {}
    for number in (1, len(devices)):
        ranks: Ranks[Part] = Ranks(partial(build_cut, TOY, dtype, fp8, 32), devices[:number])
        try:
            for plain in (True, False):
                for batch in (1, 3):
                    path = ranks.ask("prepare", batch, 300, plain)
                    found[number, plain, batch] = ranks.ask("step"), path[0]
        finally:
            ranks.close()
    for (number, plain, batch), (logits, path) in found.items():
        if number > 1:
            expected = found[1, True, batch][0][0]
            difference = max(float((own - expected).abs().max()) for own in logits)
            same = all(torch.equal(own, logits[0]) for own in logits)
            tell(
                what="check", ranks=number, batch=batch, path=path, largest_difference=difference,
                spread=float(expected.std()), same_on_all_ranks=same, fp8=fp8, plain_asked_for=plain,
            )  # fmt: skip


def lose(devices: list[torch.device], dtype: torch.dtype, fp8: bool, tell: Callable[..., None]) -> None:
    """Kill a rank in the middle of a step: how long until that is an error, and which."""
    ranks: Ranks[Part] = Ranks(partial(build_random, TOY, dtype, fp8, 32), devices)
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
    config: Config, devices: list[torch.device], options: argparse.Namespace, tell: Callable[..., None]
) -> None:
    """Time steps of every batch size on `devices`."""
    dtype = torch.bfloat16 if devices[0].type == "cuda" else torch.float32
    pages = max(options.batch) * -(-options.context // PAGE)
    begun = time.perf_counter()
    ranks: Ranks[Part] = Ranks(partial(build_random, config, dtype, options.fp8, pages), devices)
    try:
        common = {"shape": options.shape, "fp8": options.fp8, "ranks": len(devices), "context": options.context}
        weights = [round(one / 2**30, 3) for one in ranks.ask("weights")]
        tell(what="built", **common, seconds=round(time.perf_counter() - begun, 1), weights_gib=weights)
        for batch in options.batch:
            path = ranks.ask("prepare", batch, options.context, options.plain)[0]
            ranks.call("loop", 3)
            loop = min(ranks.call("loop", options.repeats) for _ in range(3))
            driven = _typical(lambda: ranks.call("driven"), options.repeats)
            readings = decode_readings(batch, options.context, config)
            figures = {"loop_ms": round(loop, 4), "driven_ms": round(driven, 4)}
            if ranks.part.runner is not None:
                figures["engine_ms"] = round(_typical(partial(_engine_step, ranks, readings), options.repeats), 4)
            tell(what="decode", **common, batch=batch, path=path, **figures)
        if len(devices) > 1:
            kinds = ["all_reduce"]
            if devices[0].type == "cuda":
                kinds += ["one_shot_all_reduce", "two_shot_all_reduce_"]
            for kind in kinds:
                for batch in options.batch:
                    tell(what=kind, **common, batch=batch, microseconds=ranks.ask("collective", kind, batch, 100)[0])
    finally:
        ranks.close()


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
            check(devices[: min(most, 2)], dtype, options.fp8, tell)
        for number in options.ranks:
            measure(config, devices[:number], options, tell)
        if most > 1:
            lose(devices[: min(most, 2)], dtype, options.fp8, tell)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help="toy, v2-lite, v3, or fewer layers of one: v3-layers=6")
    parser.add_argument("--fp8", action="store_true", help="weights in FP8 as published; otherwise BF16")
    parser.add_argument("--dense", type=int, help="dense layers at the start, where not as published")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--plain", action="store_true", help="without model/fast_decode.py")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--out", default="parallel_bench.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    # Ranks import what they build by the name of its module, which this is not when run as a script.
    from tests.bench.parallel_bench import main as imported

    imported()
