"""How often the experts that a token needs are on the device, against how many of them fit there, by policy.

`python tests/bench/test_spill_hits.py [TOKENS]`: the embedded model reads the sample library, one token a pass; its
choices are recorded, and every policy sees the same ones. Evicting the least recently used is a half-life of almost
nothing, the least often used one without end.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model.checkpoint import load_model
from model.hot import HALF_LIFE, LEAST_SLOTS, HotSet
from model.moe import Router, Routing
from model.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "data"
WINDOW = 512
POLICIES = {"recency": 1e-2, "4": 4.0, "16": 16.0, "64": 64.0, "256": 256.0, "frequency": 1e12}
"""Half-lives in tokens."""


def test_use_tells_more_than_chance() -> None:
    rates = main(1024)
    for slots, row in rates.items():
        assert row[f"{HALF_LIFE:.0f}"] > row["chance"] or slots == max(rates)


def main(limit: int) -> dict[int, dict[str, float]]:
    """Hit rates by slots and policy."""
    torch.set_num_threads(1)
    model = load_model(DATA / "model", torch.float32, torch.device("cpu"))
    files = sorted(file for kind in ("md", "csv", "eml", "html") for file in DATA.glob(f"sample/*/*.{kind}"))
    texts = [file.read_text("utf-8") for file in files]
    tokens = Tokenizer(DATA / "model").encode("\n\n".join(texts))[:limit]
    chosen: dict[nn.Module, list[Tensor]] = {}

    def watch(router: nn.Module, _: object, routing: Routing) -> None:
        chosen.setdefault(router, []).append(routing.experts)

    for module in model.modules():
        if isinstance(module, Router):
            module.register_forward_hook(watch)
    with torch.inference_mode():
        for start in range(0, len(tokens), WINDOW):
            model.hidden(torch.tensor([tokens[start : start + WINDOW]]))
    layers = [torch.cat(parts).tolist() for parts in chosen.values()]
    number = model.config.n_routed_experts
    print(
        f"{len(tokens)} tokens of {len(files)} documents, {len(layers)} layers, "
        f"{model.config.num_experts_per_tok} of {number} experts a token; hit rates by half-life in tokens"
    )
    print("slots  share  chance  " + "".join(f"{name:>10}" for name in POLICIES))
    rates: dict[int, dict[str, float]] = {}
    for slots in range(LEAST_SLOTS, number + 1):
        row = {name: hit_rate(layers, number, slots, half_life) for name, half_life in POLICIES.items()}
        rates[slots] = {"chance": slots / number, **row}
        shares = "".join(f"{rate:10.1%}" for rate in row.values())
        print(f"{slots:5}  {slots / number:5.0%}  {slots / number:6.1%}  {shares}")
    return rates


def hit_rate(layers: list[list[list[int]]], number: int, slots: int, half_life: float) -> float:
    sets = [HotSet(number, slots, half_life) for _ in layers]
    for layer, hot in zip(layers, sets, strict=True):
        for experts in layer:
            counts = [0] * number
            for expert in experts:
                counts[expert] += 1
            hot.plan(counts, 1)
    hits, misses = sum(hot.hits for hot in sets), sum(hot.misses for hot in sets)
    return hits / (hits + misses)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096)
