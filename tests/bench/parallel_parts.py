"""What the ranks of parallel_bench.py build and run: a part of a model with random weights, and a step to be timed."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from model.cache import PAGE, LatentCache, quantise
from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.kernels import supports
from model.random_weights import SHAPES, random_model
from model.shard import Shard
from model.split_cache import SplitCache
from model.step import Reading, make_step
from model.tensors import named_tensors

TOY = replace(
    SHAPES["v3"], vocab_size=1024, hidden_size=512, intermediate_size=768, moe_intermediate_size=256,
    num_hidden_layers=4, first_k_dense_replace=1, num_attention_heads=16, q_lora_rank=256, kv_lora_rank=512,
    n_routed_experts=32, num_nextn_predict_layers=0, initializer_range=0.05,
)  # fmt: skip
"""V3 at widths that all kernels and FP8 blocks divide, for up to two ranks."""

CHUNK = 8192
"""Tokens of a prompt that are read at once."""


def decode_readings(batch: int, context: int, config: Config) -> list[Reading]:
    """One new token of each of `batch` sequences, the last of `context`."""
    pages = -(-context // PAGE)
    tokens = torch.randint(0, config.vocab_size, (batch,), generator=torch.Generator().manual_seed(batch)).tolist()
    return [Reading([tokens[row]], context - 1, list(range(row * pages, (row + 1) * pages))) for row in range(batch)]


@dataclass(frozen=True)
class Held:
    """What cache a rank opens."""

    pages: int
    layout: str = "heads"
    fp8: bool = False


class Part:
    """What a rank holds: its part of the model, a cache, and the step to be timed."""

    def __init__(self, model: DeepseekForCausalLM, dtype: torch.dtype, held: Held, device: torch.device) -> None:
        self.model, self.device, self.shard = model, device, model.shard
        self.runner = _runner(model, dtype, device)
        if self.runner is not None:
            self.runner.open_cache(held.pages, held.fp8, held.layout == "sequence")
            self.cache = self.runner.cache
        elif held.layout == "sequence":
            self.cache = SplitCache(model.shard, model.config, held.pages + 1, dtype, device, held.fp8)
        else:
            self.cache = LatentCache(model.config, held.pages, dtype, device, held.fp8)
        latents = torch.randn(PAGE, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
        rows = quantise(latents, model.config.kv_lora_rank) if held.fp8 else latents
        of = self.cache.shard
        self.cache.storage[:] = rows[of.rank :: of.size].to(device, self.cache.storage.dtype)
        self.work: Callable[[], Tensor] = torch.Tensor
        self.path = ""

    def prepare(self, batch: int, context: int, plain: bool) -> str:
        """Choose how the step is run, and run it until it is warm; the name of that way."""
        step = make_step(decode_readings(batch, context, self.model.config), self.device)
        decode, head, self.path = self.model.step, self.model.logits, "plain"
        if not plain and supports(self.model.config, self.device, self.cache.dtype, self.cache.fp8):
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

    def prefill(self, tokens: int) -> float:
        """Seconds to read a prompt."""
        ids = torch.randint(0, self.model.config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))
        pages = list(range(-(-tokens // PAGE)))
        self._wait()
        begun = time.perf_counter()
        for start in range(0, tokens, CHUNK):
            self.read([Reading(ids[start : start + CHUNK].tolist(), start, pages)])
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

    def cached(self) -> int:
        """Bytes of the cache."""
        return self.cache.storage.nbytes

    def weights(self) -> int:
        """Bytes."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum({one.data_ptr(): one.numel() * one.element_size() for one in tensors}.values())

    def collective(self, kind: str, rows: int, repeats: int) -> float | str:
        """Microseconds of one for `rows` tokens, in a CUDA graph where there is a GPU; or why it cannot."""
        try:
            work = _collective(kind, rows, self.model.config, self.device)
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


def _collective(kind: str, rows: int, config: Config, device: torch.device) -> Callable[[], Tensor]:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    shard, width = Shard(dist.get_rank(), dist.get_world_size()), config.hidden_size
    heads = config.num_attention_heads // shard.size
    shapes = {
        "all_reduce": (rows, width),
        "collect": (rows, heads, config.latent_dim),
        "exchange": (shard.size, rows, heads, config.kv_lora_rank + 16),
    }
    if kind in shapes:
        work = {"all_reduce": shard.sum, "collect": shard.collect, "exchange": shard.exchange}[kind]
        return partial(work, torch.zeros(shapes[kind], dtype=dtype, device=device))
    # Peers read one another's buffers directly: one kernel, no protocol. Works without NVLink multicast.
    import torch.distributed._symmetric_memory as symmetric

    group = dist.group.WORLD.group_name  # type: ignore[union-attr]
    buffer = symmetric.empty(rows, width, dtype=dtype, device=device)
    symmetric.rendezvous(buffer, group)
    return partial(getattr(torch.ops.symm_mem, kind), buffer, "sum", group)


def build_random(config: Config, dtype: torch.dtype, fp8: bool, held: Held, shard: Shard, device: torch.device) -> Part:
    """A part with weights of its own."""
    return Part(random_model(config, dtype, device, fp8, shard=shard), dtype, held, device)


def build_cut(config: Config, dtype: torch.dtype, fp8: bool, held: Held, shard: Shard, device: torch.device) -> Part:
    """A part that is cut from the whole model, which every rank draws alike."""
    sources = named_tensors(random_model(config, dtype, device, fp8))
    model = random_model(config, dtype, device, fp8, shard=shard)
    for name, target in named_tensors(model).items():
        target.copy_(sources[name][shard.slices(name, tuple(sources[name].shape), config)])
    return Part(model, dtype, held, device)
