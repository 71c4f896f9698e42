"""`loci model bench`: how fast a model is here, beside what the device could do at best."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import AsJson, note, print_json, say, workspace

if TYPE_CHECKING:
    from model.bench import Ceiling, Row, Subject
    from model.files import Progress
    from model.settings import ModelSettings

    _Measured = tuple[str, Subject, Ceiling | None]
    """What is measured: its name, itself, and its ceiling where its dimensions are known."""

_LEAST_VOCABULARY = 1000
"""Token ids that a model of unknown dimensions is sure to have."""
_HEADINGS = "  context  batch    prefill tok/s  of ceiling     decode tok/s  of ceiling  experts hit"


def bench(
    ctx: typer.Context,
    reference: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="A reference as for --model. Default: the one in use."),
    ] = None,
    contexts: Annotated[str, typer.Option("--contexts", metavar="N,N", help="Tokens of the prompts.")] = "128,1024",
    batches: Annotated[str, typer.Option("--batches", metavar="N,N", help="Sequences at once.")] = "1",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens to write after each prompt.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="The median of so many is shown.")] = 3,
    shape: Annotated[
        str | None,
        typer.Option(
            "--random",
            metavar="SHAPE",
            help="Random weights, no download, on one device: v2-lite, v2, v3, embedded, or fewer layers: v3-layers=8.",
        ),
    ] = None,
    fp8: Annotated[bool, typer.Option("--fp8", help="With --random: weights and cache in FP8.")] = False,
    experts: Annotated[
        bool, typer.Option("--experts", help="Instead: which experts serve which kind of text.")
    ] = False,
    texts: Annotated[
        list[Path] | None, typer.Option("--text", metavar="FILE", help="With --experts: a kind of text; repeatable.")
    ] = None,
    collections: Annotated[
        list[str] | None, typer.Option("--in", metavar="NAME", help="With --experts: a collection; repeatable.")
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(
            "--thresholds", metavar="X,X", help="With --experts: skip those of less gate weight; loss and speed."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Also draw it: .svg or .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a model reads and writes, beside the ceiling of the device.

    The ceiling is what reading each weight and cached token once, or the arithmetic, must take. Ctrl-C keeps what was
    measured.

    \b
    loci model bench
    loci model bench hf:deepseek-ai/DeepSeek-V2-Lite-Chat --contexts 1024,32768 --batches 1,32
    loci model bench --random v3-layers=8 --fp8 --json
    loci model bench --experts --thresholds 0,0.05,0.1 --plot experts.svg
    """
    from app.bench_plot import check_plot, draw
    from app.errors import BadInput

    lengths, sizes = _numbers(contexts, "--contexts"), _numbers(batches, "--batches")
    levels = _levels(thresholds) if thresholds else []
    if plot is not None:
        check_plot(plot)
    if fp8 and not shape:
        raise BadInput("--fp8 belongs to --random: other weights are what they are.", "Leave it out.")
    if experts:
        from app.cli.bench_experts import bench_experts

        if shape:
            raise BadInput("Random weights have no experts of anything.", "Give --experts without --random.")
        with workspace(ctx, alone=True, model__reference=reference) as opened:
            bench_experts(opened, texts or [], collections or [], levels, plot, as_json)
        return
    if texts or collections or levels:
        raise BadInput("--text, --in and --thresholds belong to --experts.", "Add --experts.")
    from model.bench import bench as measure  # torch, 2 s
    from model.errors import BenchFailed

    rows: list[Row] = []
    with workspace(ctx, alone=True, model__reference=None if shape else reference) as opened:
        settings = opened.settings.model
        subjects = _random(shape, fp8, settings) if shape else _engine(settings, opened.loading)
        with subjects as (name, subject, ceiling):
            described = _describe(name, ceiling)
            if not as_json:
                _introduce(described)
            try:
                for row in measure(subject, ceiling, lengths, sizes, tokens, repeats):
                    rows.append(row)
                    (note if as_json else say)(_line(row))
            except (KeyboardInterrupt, BenchFailed) as stop:
                if not rows:
                    raise
                note(f"{stop or 'Interrupted.'} What was measured before is kept.")
    if as_json:
        print_json(described | {"tokens": tokens, "rows": [_values(row) for row in rows]})
    if plot is not None:
        draw(name, rows, plot)
        note(f"Drawn into {plot}.")


@contextmanager
def _engine(settings: "ModelSettings", loading: "Progress | None") -> "Iterator[_Measured]":
    """The model in use; its ceiling is known where its dimensions are."""
    from model.bench import Ceiling, EngineSubject
    from model.ceiling import Held
    from model.config import read_config
    from model.device_rates import device_rates
    from model.open import open_engine, resolve
    from model.placement import choose_device, choose_dtype, count_parameters
    from model.torch_engine import TorchEngine

    found = resolve(settings.reference)
    with closing(open_engine(settings.reference, settings, loading)) as engine:
        if found.engine != "torch":
            yield settings.reference, EngineSubject(engine, _LEAST_VOCABULARY), None
            return
        config, device = read_config(Path(found.target)), choose_device(settings.device)
        dtype = choose_dtype(settings.dtype, count_parameters(config)[0], device)
        fp8 = device.type == "cuda" and config.fp8_block is not None  # on a CPU it is expanded
        held = Held(dtype.itemsize, fp8, settings.cache_type == "fp8")
        one = device_rates(device, dtype)
        devices = len(set(engine.describe().devices))
        together = replace(one, bandwidth=one.bandwidth * devices, matrix=one.matrix * devices)
        ceiling = Ceiling(config, held, replace(together, name=f"{devices} x {one.name}") if devices > 1 else one)
        held_tokens = engine.cache_tokens if isinstance(engine, TorchEngine) else None
        subject = EngineSubject(engine, config.vocab_size, engine.describe().context, held_tokens)
        yield settings.reference, subject, ceiling


@contextmanager
def _random(shape: str, fp8: bool, settings: "ModelSettings") -> "Iterator[_Measured]":
    """A model of random weights, by the steps of an engine.

    :raises NotEnoughMemory: the device does not hold it.
    """
    from model.bench import Ceiling, RunnerSubject
    from model.capacity import choose_capacity
    from model.ceiling import Held
    from model.config import FP8_BLOCK, read_config
    from model.device_rates import device_rates
    from model.layout import rank_bytes
    from model.open import embedded_folder
    from model.placement import choose_chunk, choose_device, choose_dtype, count_parameters, is_small
    from model.random_weights import random_model, shape_config
    from model.runner import Runner

    device = choose_device(settings.device)
    config = read_config(embedded_folder()) if shape == "embedded" else shape_config(shape)
    config = replace(config, fp8_block=FP8_BLOCK if fp8 else None)
    total, active = count_parameters(config)
    dtype = choose_dtype(settings.dtype, total, device)
    choose_capacity(config, settings, dtype, device, sum(rank_bytes(config, 1, dtype, fp8)))
    ceiling = Ceiling(config, Held(dtype.itemsize, fp8, fp8), device_rates(device, dtype))
    note(f"Drawing {total / 1e9:,.2f}B random weights on {device}.")
    runner = Runner(random_model(config, dtype, device, fp8), dtype, device, attended_pages=settings.attended_pages)
    alone = settings.threads is None and device.type == "cpu" and is_small(active)
    yield f"random {shape}", RunnerSubject(runner, choose_chunk(active, device), fp8, alone), ceiling


def _describe(name: str, ceiling: "Ceiling | None") -> dict[str, object]:
    """What the figures are of."""
    if ceiling is None:
        return {"reference": name, "device": None, "held": None, "cache_bytes_per_token": None}
    from model.ceiling import cache_token_bytes

    return {
        "reference": name,
        "device": asdict(ceiling.device),
        "held": asdict(ceiling.held),
        "cache_bytes_per_token": cache_token_bytes(ceiling.config, ceiling.held),
    }


def _introduce(described: dict[str, object]) -> None:
    device = described["device"]
    if isinstance(device, dict):
        how = "measured just now" if device["measured"] else "known"
        note(
            f"{described['reference']} on {device['name']}: {device['bandwidth'] / 1e9:,.0f} GB/s and "
            f"{device['matrix'] / 1e12:,.2f} TFLOP/s ({how}); a cached token takes "
            f"{described['cache_bytes_per_token']:,} bytes."
        )
    else:
        note(f"{described['reference']}: its dimensions are not known here, so neither is its ceiling.")
    say(_HEADINGS)


def _line(row: "Row") -> str:
    def share(of: float | None) -> str:
        return "-" if of is None else f"{of:.1%}"

    experts = "-" if row.experts is None else f"{row.experts:.1f}"
    return (
        f"{row.context:9,}  {row.batch:5}  {row.prefill:15,.1f}  {share(row.prefill_share):>10}  {row.decode:15,.1f}  "
        f"{share(row.decode_share):>10}  {experts:>11}"
    )


def _values(row: "Row") -> dict[str, object]:
    return asdict(row) | {"prefill_share": row.prefill_share, "decode_share": row.decode_share}


def _numbers(text: str, option: str) -> list[int]:
    from app.errors import BadInput

    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise BadInput(f"{option} {text!r} is not a list of positive whole numbers.", "Write it as in 128,1024.")
    return numbers


def _levels(text: str) -> list[float]:
    from app.errors import BadInput

    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        levels = [-1.0]
    if not all(0 <= level < 1 for level in levels):
        raise BadInput(
            f"--thresholds {text!r} is not a list of numbers from 0 to below 1.", "Write it as in 0,0.05,0.1."
        )
    return levels
