"""What the ranks of parallel_bench.py build and run: a part of a model with random weights, and a step to be timed."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from model.cache import PAGE, LatentCache, quantise, token_bytes
from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.device_rates import measure_device
from model.kernels import supports
from model.peers import close_peers, open_peers, peers
from model.random_weights import SHAPES, random_model
from model.shard import WHOLE, Shard
from model.split_cache import SplitCache
from model.step import Reading, make_step
from tests.bench import parallel_apart
from tests.bench.parallel_collectives import Choices, collective, silent

TOY = replace(
    SHAPES["v3"], vocab_size=1024, hidden_size=512, intermediate_size=1024, moe_intermediate_size=256,
    n_shared_experts=4, num_hidden_layers=4, first_k_dense_replace=1, num_attention_heads=16, q_lora_rank=256,
    kv_lora_rank=512, n_routed_experts=32, initializer_range=0.05,
)  # fmt: skip
"""V3 at widths that all kernels and FP8 blocks divide, for up to eight ranks."""

CHUNK = 8192
"""Tokens of a prompt that are read at once."""

_ALL = 1 << 40
"""Bytes that a CPU's memory counts as."""


@dataclass(frozen=True)
class Cell:
    """A step: `new` tokens of each of `batch` sequences, the last of `context`."""

    batch: int
    context: int
    new: int = 1

    def pages(self, ranks: int = 1) -> int:
        """Those of the sequences that one of so many ranks has."""
        return self.batch // ranks * -(-self.context // PAGE)

    def readings(self, config: Config, shard: Shard = WHOLE) -> list[Reading]:
        """Of the sequences of one rank, whose pages are counted from 0."""
        pages, draw = -(-self.context // PAGE), torch.Generator().manual_seed(self.batch)
        tokens = torch.randint(0, config.vocab_size, (self.batch, self.new), generator=draw)
        own = tokens[shard.part(self.batch)].tolist()
        return [
            Reading(one, self.context - self.new, range(row * pages, (row + 1) * pages)) for row, one in enumerate(own)
        ]


@dataclass(frozen=True)
class Held:
    """What cache a rank opens."""

    pages: int
    layout: str = "heads"
    fp8: bool = False


class Part:
    """What a rank holds: its part of the model, a cache, and the step to be timed."""

    def __init__(self, model: DeepseekForCausalLM, dtype: torch.dtype, device: torch.device) -> None:
        self.model, self.dtype, self.device, self.shard = model, dtype, device, model.shard
        self.layout = "heads"
        self.cache = LatentCache(model.config, 0, dtype, device)
        self.runner: Any = None
        self.choices = Choices()
        self.work: Callable[[], Tensor] = torch.Tensor

    def sum_by(self, means: str) -> str:
        """Have small messages go through `peers`' memory, or by `nccl`; what it came to."""
        self.forget()
        close_peers()
        if means == "peers":
            open_peers(self.device)
        return "nccl" if peers() is None else "peers"

    def open(self, held: Held) -> None:
        """Begin with a new cache. After `data`, attention has other weights."""
        config, dtype, device = self.model.config, self.dtype, self.device
        self.forget()
        del self.cache, self.runner  # there may be no room for both
        if held.layout == "data" and self.layout != "data":
            parallel_apart.hold_attention_whole(self.model, dtype, device)
        self.layout, self.runner = held.layout, _runner(self.model, dtype, device, held)
        if self.runner is not None:
            self.cache = self.runner.cache
        elif held.layout == "sequence":
            self.cache = SplitCache(self.shard, config, held.pages + 1, dtype, device, held.fp8)
        else:
            self.cache = LatentCache(config, held.pages, dtype, device, held.fp8)
        latents = torch.randn(PAGE, config.latent_dim, generator=torch.Generator().manual_seed(0))
        rows = quantise(latents, config.kv_lora_rank) if held.fp8 else latents
        of = self.cache.shard
        self.cache.storage[:] = rows[of.rank :: of.size].to(device, self.cache.storage.dtype)

    def forget(self) -> None:
        """Let go of the step, and of memory that nothing uses."""
        self.work = torch.Tensor
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def prepare(self, cell: Cell, plain: bool, quiet: bool = False) -> dict[str, Any]:
        """Choose how the step is run, and run it until it is warm; the name of that way, and what experts it reads.

        A `quiet` step has no collectives, and the experts of the step before.
        """
        self.forget()
        apart = self.layout == "data"
        step = make_step(cell.readings(self.model.config, self.shard if apart else WHOLE), self.device)
        decode = parallel_apart.decode if apart else DeepseekForCausalLM.step
        head: Callable[[Tensor], Tensor] = self.model.logits
        by_kernels = not plain and supports(self.model.config, self.device, self.cache.dtype, self.cache.fp8)
        if by_kernels:
            from model import fast_decode  # needs Triton

            decode = parallel_apart.fast_decode if apart else fast_decode.decode
            head = partial(fast_decode.logits, self.model)

        def whole() -> Tensor:
            with silent() if quiet else nullcontext():
                return head(decode(self.model, step, self.cache))

        if not by_kernels:
            self.work = whole
            self.work()
            return {"path": "plain"}
        with self.choices.repeated() if quiet else self.choices.noted():
            whole()
        with self.choices.repeated() if quiet else nullcontext():
            self.work = _captured(whole)
        finite = bool(self.work().isfinite().all())
        total, most = self.choices.experts(self.shard.size, self.model.config.n_routed_experts)
        return {"path": "graph", "finite": finite, "experts": round(total, 1), "busiest": round(most, 1)}

    def prepare_round(self, cell: Cell, drafts: int) -> None:
        """The step is a round with drafts: to judge those of last time, and to make as many."""
        from model import fast_rounds  # needs Triton

        self.forget()
        step = make_step(cell.readings(self.model.config), self.device)
        words = self.model.config.vocab_size

        def whole() -> Tensor:
            return fast_rounds.advance(self.model, step, self.cache, drafts, words)

        self.work = _captured(whole)
        self.work()
        self._wait()

    def rounds(self) -> bool:
        """Whether rounds with drafts are one piece of work here."""
        known = supports(self.model.config, self.device, self.cache.dtype, self.cache.fp8)
        return known and self.model.config.num_nextn_predict_layers > 0

    def read(self, readings: list[Reading]) -> Any:
        """Hidden states [batch, D], by the engine's runner."""
        return self.runner.read([], readings, False)

    def logits(self, hidden: Tensor) -> Any:
        """[batch, vocabulary], by the engine's runner."""
        return self.runner.logits(hidden)

    def advance(self, readings: list[Reading], drafts: int) -> Any:
        """The tokens of a round with drafts, by the engine's runner."""
        return self.runner.advance_all([], readings, drafts, self.model.config.vocab_size)

    def prefill(self, tokens: int) -> float:
        """Seconds to read a prompt."""
        ids = torch.randint(0, self.model.config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))
        pages = range(-(-tokens // PAGE))
        self.forget()
        begun = time.perf_counter()
        for start in range(0, tokens, CHUNK):
            reading = Reading(ids[start : start + CHUNK].tolist(), start, pages)
            self.model.step(make_step([reading], self.device), self.cache)
        self._wait()
        return time.perf_counter() - begun

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

    def memory(self) -> dict[str, float]:
        """GiB: weights and cache, what was allocated at most and the device has left."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        weights = sum({one.data_ptr(): one.numel() * one.element_size() for one in tensors}.values())
        found = {"weights": weights, "cache": self.cache.storage.nbytes}
        if self.device.type == "cuda":
            found |= {"peak": torch.cuda.max_memory_allocated(), "free": self.room()}
        return {name: round(one / 2**30, 3) for name, one in found.items()}

    def room(self) -> int:
        """Bytes that are free."""
        self.forget()
        return torch.cuda.mem_get_info()[0] if self.device.type == "cuda" else _ALL

    def rates(self) -> tuple[float, float]:
        """Bytes/s of a copy within the device's memory, and operations/s of a large product."""
        found = measure_device(self.device, self.dtype, "")
        self.forget()
        return found.bandwidth, found.matrix

    def collective(self, kind: str, rows: int, repeats: int) -> float | str:
        """Microseconds of one for `rows` tokens, in a CUDA graph where there is a GPU; or why it cannot."""
        self.forget()
        try:
            work = collective(kind, rows, self.model.config, self.device)
            run = _captured(work, repeats) if self.device.type == "cuda" else partial(_repeated, work, repeats)
            run()
            self._wait()
            begun = time.perf_counter()
            run()
            self._wait()
            return round((time.perf_counter() - begun) / repeats * 1e6, 2)
        except (RuntimeError, AttributeError, ImportError) as error:
            return repr(error)[:300]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def cache_bytes(config: Config, ranks: int, layout: str, fp8: bool, dtype: torch.dtype) -> float:
    """Of a page on each rank that holds it."""
    return PAGE * token_bytes(config, dtype, fp8) / (ranks if layout == "sequence" else 1)


def _runner(model: DeepseekForCausalLM, dtype: torch.dtype, device: torch.device, held: Held) -> Any:
    """The engine's, where everything that an engine imports is installed, and the layout is one of its own."""
    if held.layout == "data":
        return None
    try:
        from model.runner import Runner
    except ImportError:
        return None
    runner = Runner(model, dtype, device)
    runner.open_cache(held.pages, held.fp8, held.layout == "sequence")
    return runner


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


def build_random(config: Config, dtype: torch.dtype, fp8: bool, shard: Shard, device: torch.device) -> Part:
    """A part with weights of its own."""
    return Part(random_model(config, dtype, device, fp8, shard=shard), dtype, device)
