"""The results of parallel_bench.py as tables, beside the least times that follow from bytes and collectives.

    PYTHONPATH=. python tests/bench/parallel_table.py ranks.jsonl [more.jsonl ...]

Least is what the busiest rank must read (its share of attention, dense and shared MLPs and head; router and projections
into latents whole; the experts that were really hit; its part of the cache) at the bandwidth of a copy, or must compute
at the rate of a large product, whichever takes longer; and `alone`, the collectives each by themselves. `quiet` is the
step without collectives on the slowest rank, and `waits` the share of a step beyond it: what exchange costs together
with waiting for whoever has most experts in a layer.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model.cache import fp8_row
from model.ceiling import Held, token_operations, weight_bytes
from model.config import Config
from model.random_weights import shape_config
from tests.bench.parallel_collectives import per_step
from tests.bench.parallel_parts import TOY

Line = dict[str, Any]


def read_bytes(config: Config, line: Line, fp8_cache: bool) -> float:
    """What the busiest rank reads in a step."""
    size, whole_attention = line["ranks"], line["layout"] == "data"
    held = Held(fp8=True, fp8_cache=fp8_cache)
    # 1. What is split evenly, and experts on the busiest rank.
    rest = weight_bytes(config, held, 0.0)
    expert = (weight_bytes(config, held, 1.0) - rest) / config.num_moe_layers
    router = 4.0 * config.n_routed_experts * config.hidden_size * config.num_moe_layers
    into = config.hidden_size * (config.latent_dim + (config.q_lora_rank or 0)) * config.num_hidden_layers
    total = (rest - router - into) / size + router + into
    if whole_attention:
        c, heads = config, config.num_attention_heads
        split = heads * (c.qk_head_dim * (c.q_lora_rank or c.hidden_size) + c.v_head_dim * c.hidden_size)
        split += heads * c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim)
        total += split * c.num_hidden_layers * (1 - 1 / size)
    total += line.get("busiest", 0.0) * expert * config.num_moe_layers
    # 2. The history.
    row = fp8_row(config) if fp8_cache else 2 * config.latent_dim
    tokens = line["batch"] * line["context"] / (1 if line["layout"] == "heads" else size)
    return float(total + tokens * row * config.num_hidden_layers)


def operations(config: Config, line: Line) -> float:
    """Of a step on a rank: absorbed attention to the history, the same in every layout, and what tokens take."""
    c, tokens = config, line["batch"] * line.get("new", 1)
    seen = c.num_hidden_layers * c.num_attention_heads * (c.latent_dim + c.kv_lora_rank) * line["context"]
    return float(tokens * (token_operations(c) + 2.0 * (seen + c.vocab_size * c.hidden_size)) / line["ranks"])


def alone(lines: Iterable[Line], step: Line) -> float | None:
    """Milliseconds that the collectives of a step take, each by itself; None where one was not measured."""
    found = {
        one["kind"]: one["microseconds"]
        for one in lines
        if one["what"] == "collective" and all(one.get(what) == step.get(what) for what in ("ranks", "batch", "sums"))
    }
    wanted = per_step(step["layout"], step["layers"])
    if not all(isinstance(found.get(kind), float) for kind in wanted):
        return None
    return sum(count * float(found[kind]) for kind, count in wanted.items()) / 1e3


def show(rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print()


def figure(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def steps(lines: list[Line], config: Config, bandwidth: float, matrix: float, fp8_cache: bool) -> list[list[str]]:
    head = ["GPUs", "sums", "layout", "layers", "batch x context", "new", "ms", "driven", "engine", "tok/s"]
    rows = [[*head, "least ms", "of it", "alone", "quiet", "waits", "experts on the busiest rank"]]
    for one in (line for line in lines if line["what"] == "decode"):
        least = max(read_bytes(config, one, fp8_cache) / bandwidth, operations(config, one) / matrix) * 1e3
        own, quiet = alone(lines, one), max(one.get("quiet_ms", [0.0]))
        least += own or 0.0
        ms = one["loop_ms"]
        rows.append([
            str(one["ranks"]), one.get("sums", ""), one["layout"], str(one["layers"]),
            f"{one['batch']} x {one['context']}", str(one["new"]),
            figure(ms), figure(one["driven_ms"]), figure(one.get("engine_ms")),
            figure(one["batch"] / ms * 1e3, 1), figure(least), figure(least / ms), figure(own), figure(quiet or None),
            f"{1 - quiet / ms:.0%}" if quiet else "", figure(one.get("busiest"), 1),
        ])  # fmt: skip
    return rows


def main() -> None:
    lines = [json.loads(line) for path in sys.argv[1:] for line in Path(path).read_text().splitlines()]
    for one in lines:
        if one["what"] not in ("decode", "start", "collective", "prefill", "round"):
            print(json.dumps(one)[:600])
    print()
    shapes = sorted({one["shape"] for one in lines if "shape" in one}, reverse=True)
    for shape in shapes:
        config = TOY if shape == "toy" else shape_config(shape)
        own = [one for one in lines if one.get("shape") == shape]
        rates = [rate for one in own if one["what"] == "built" for rate in one["copy_gb_per_s"]]
        matrix = [rate for one in own if one["what"] == "built" for rate in one["tflop_per_s"]]
        fp8_cache = any("--fp8-cache" in one["arguments"] for one in lines if one["what"] == "machine")
        print(f"{shape}, copy {min(rates)} to {max(rates)} GB/s, products {min(matrix)} to {max(matrix)} TFLOP/s\n")
        show(steps(own, config, max(rates) * 1e9, max(max(matrix), 1) * 1e12, fp8_cache))
        head = [
            "GPUs",
            "sums",
            "layout",
            "batch x context",
            "drafts",
            "ms",
            "engine",
            "tok/s if none is kept",
            "if all",
        ]
        rounds = [head]
        rounds += [
            [str(one["ranks"]), one.get("sums", ""), one["layout"], f"{one['batch']} x {one['context']}",
             str(one["drafts"]), figure(one["loop_ms"]), figure(one.get("engine_ms")),
             figure(one["batch"] / one["loop_ms"] * 1e3, 1),
             figure(one["batch"] * (1 + one["drafts"]) / one["loop_ms"] * 1e3, 1)]
            for one in own if one["what"] == "round"
        ]  # fmt: skip
        show(rounds)
        prompts = [["GPUs", "sums", "layout", "prompt", "s", "tok/s"]]
        prompts += [
            [str(one["ranks"]), one.get("sums", ""), one["layout"], str(one["tokens"]), figure(one["seconds"]),
             figure(one["tokens"] / one["seconds"], 0)]
            for one in own if one["what"] == "prefill"
        ]  # fmt: skip
        show(prompts)
        collectives = [["GPUs", "sums", "kind", "batch", "us"]]
        collectives += [
            [str(one["ranks"]), one.get("sums", ""), one["kind"], str(one["batch"]), str(one["microseconds"])]
            for one in own
            if one["what"] == "collective"
        ]
        show(collectives)


if __name__ == "__main__":
    main()
