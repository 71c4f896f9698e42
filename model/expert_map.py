"""Which routed experts texts of different kinds go to, and what leaving out weak ones costs and saves.

Reads texts by the plain path without a cache. L routed layers, E experts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.deepseek import DeepseekForCausalLM
from model.device_rates import synchronise
from model.errors import BenchFailed
from model.moe import Experts, skip_experts

WINDOW = 512
"""Tokens read at once: the loss of a token is given at most so many before it."""

_TIMED = 4
"""Windows whose reading is timed."""

_TRIES = 5


@dataclass(frozen=True, slots=True)
class DomainUse:
    """What one kind of text went to."""

    domain: str
    tokens: int
    counts: Tensor
    """int64 [L, E]: tokens that each expert received"""

    @property
    def shares(self) -> Tensor:
        """float32 [L, E]: of the domain's choices in a layer, the part that fell on each expert."""
        return self.counts / self.counts.sum(-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Specialist:
    """An expert that one domain uses more than the others do."""

    layer: int
    """among all layers, the dense ones counted"""
    expert: int
    domain: str
    share: float
    elsewhere: float
    """mean share of the other domains"""

    @property
    def lift(self) -> float:
        return self.share / max(self.elsewhere, 1e-9)


@dataclass(frozen=True, slots=True)
class Skipping:
    """What leaving out experts below `threshold` costs and saves."""

    threshold: float
    loss: float
    """nats per token"""
    skipped: float
    """of the choices, the part that was left out"""
    prefill: float
    """tokens per second"""
    decode: float
    """tokens per second, one at a time"""


@torch.inference_mode()
def domain_use(model: DeepseekForCausalLM, domain: str, tokens: Sequence[int]) -> DomainUse:
    """Count the experts that `tokens`, read in windows, are routed to.

    :raises BenchFailed: the model has no routed experts, or the text is too short to be read.
    """
    if not model.config.num_moe_layers:
        raise BenchFailed("The model has no routed experts.", "Choose a mixture of experts.")
    windows = _windows(model, tokens)
    if not windows:
        raise BenchFailed(f"The text {domain} has only {len(tokens)} tokens.", "Give a longer one.")
    total = torch.zeros(model.config.num_moe_layers, model.config.n_routed_experts, dtype=torch.int64)
    for window in windows:
        _, load = model.hidden(window, load=True)
        assert load is not None  # there are routed layers
        total += load.counts.cpu()
    return DomainUse(domain, len(tokens), total)


def specialists(uses: Sequence[DomainUse], first_layer: int, count: int) -> list[Specialist]:
    """The `count` experts whose use differs most between one domain and the mean of the others, greatest lift first.

    An expert that a domain hardly uses is no specialist of it: only shares above the even one (1 / E) are looked at.
    `first_layer` is the number of dense layers before the routed ones.
    """
    if len(uses) < 2:
        return []
    shares = torch.stack([use.shares for use in uses])  # [domains, L, E]
    others = (shares.sum(0) - shares) / (len(uses) - 1)
    found = [
        Specialist(first_layer + layer, expert, uses[domain].domain, share, float(others[domain, layer, expert]))
        for domain, layer, expert in (shares > 1 / shares.shape[-1]).nonzero().tolist()
        if (share := float(shares[domain, layer, expert]))
    ]
    return sorted(found, key=lambda one: -one.lift)[:count]


@torch.inference_mode()
def try_skipping(
    model: DeepseekForCausalLM, texts: Sequence[Sequence[int]], thresholds: Sequence[float], decoded: int = 16
) -> list[Skipping]:
    """Loss on `texts` and rates for each threshold. Speeds are of the same plain path, `decoded` single tokens.

    :raises BenchFailed: no text has two tokens.
    """
    windows = [window for tokens in texts for window in _windows(model, tokens)]
    if not windows:
        raise BenchFailed("The texts are too short to be judged.", "Give longer ones.")
    results = []
    model.hidden(windows[0])  # warm-up
    try:
        for threshold in thresholds:
            skip_experts(model, threshold)
            results.append(_judge(model, windows, threshold, decoded))
    finally:
        skip_experts(model, 0.0)
    return results


def _judge(model: DeepseekForCausalLM, windows: Sequence[Tensor], threshold: float, decoded: int) -> Skipping:
    device = windows[0].device
    skipped, chosen, loss, predicted = 0, 0, 0.0, 0

    def watch(module: torch.nn.Module, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        nonlocal skipped, chosen
        assert isinstance(module, Experts)
        skipped += int(module.too_weak(inputs[1]).sum())
        chosen += inputs[1].numel()

    # 1. What it costs. The watching would spoil the times, so these are taken apart.
    watching = [module.register_forward_pre_hook(watch) for module in model.modules() if isinstance(module, Experts)]
    for window in windows:
        hidden, _ = model.hidden(window)
        logits = model.logits(hidden)[0, :-1].float()
        loss += float(F.cross_entropy(logits, window[0, 1:], reduction="sum"))
        predicted += window.shape[1] - 1
    for one in watching:
        one.remove()
    # 2. What it saves: the shortest of a few tries, since other work on the machine only lengthens them.
    some = windows[:_TIMED]
    singles = [token.view(1, 1) for token in windows[0][0].repeat(decoded)[:decoded]]

    def write() -> None:
        for token in singles:
            model.logits(model.hidden(token)[0])

    reading = _shortest(lambda: [model.hidden(window) for window in some], device)
    writing = _shortest(write, device)
    return Skipping(
        threshold=threshold,
        loss=loss / predicted,
        skipped=skipped / chosen,
        prefill=sum(window.shape[1] for window in some) / reading,
        decode=decoded / writing,
    )


def _shortest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds."""
    times = []
    for _ in range(_TRIES):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - started)
    return min(times)


def _windows(model: DeepseekForCausalLM, tokens: Sequence[int]) -> list[Tensor]:
    """`tokens` as int64 [1, up to WINDOW], without a last one that predicts nothing."""
    device = model.model.embed_tokens.weight.device
    starts = range(0, len(tokens) - 1, WINDOW)
    cut = [list(tokens[start : start + WINDOW]) for start in starts]
    return [torch.tensor([window], device=device) for window in cut if len(window) > 1]
