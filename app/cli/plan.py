"""`loci model plan`: whether a model fits this machine, where its parts would go, and how fast it would be."""

import re
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import FAILED, AsJson, leave, note, print_json, say, table, workspace
from app.model_plan import rate

if TYPE_CHECKING:
    from app.workspace import Workspace
    from model.plan.check import Checked
    from model.plan.result import Plan


def plan(
    ctx: typer.Context,
    reference: Annotated[
        str | None,
        typer.Argument(metavar="[REF]", help="A reference as for --model. Default: the one in use."),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="TOKENS", help="The window: 8192, 32K, 128K.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Load it, and set what it takes and how fast it is beside the plan.")
    ] = False,
    prompt: Annotated[int, typer.Option(min=64, help="With --check: tokens of the prompt that is timed.")] = 1024,
    as_json: AsJson = False,
) -> None:
    """Say whether a model fits, where its parts go, what it takes and how fast it will be; loads nothing.

    What a check or a load finds otherwise is remembered for the next plan. A model that `loci model suggest` knows is
    planned by its published shape while it is not here yet. Exit code 1 where it does not fit.

    \b
    loci model plan ~/models/DeepSeek-V2-Lite-Chat-Q4_K_M.gguf
    loci model plan hf:unsloth/DeepSeek-V3.1-GGUF:Q4_K_M --context 128K --json
    loci model plan embedded --check
    """
    from app.profile import plan_notes

    with workspace(ctx, alone=check, model__reference=reference, model__context=_tokens(context)) as opened:
        from model.plan.make import make_plan

        settings = opened.settings.model
        made = make_plan(settings.reference, settings, plan_notes(opened.profile))
        checked = _check(opened, made, prompt) if check and made.fits else []
    if as_json:
        found = [
            {"what": one.what, "unit": one.unit, "planned": one.planned, "measured": one.measured} for one in checked
        ]
        print_json(made.to_json() | ({"checked": found} if check else {}))
    else:
        _print(made, checked)
    if not made.fits:
        leave(FAILED)


def _check(opened: "Workspace", made: "Plan", prompt: int) -> "list[Checked]":
    from app.profile import plan_notes
    from model.open import open_engine
    from model.plan.check import check_memory, check_speed, record_checks

    settings, notes = opened.settings.model, plan_notes(opened.profile)
    with closing(open_engine(settings.reference, settings, opened.loading, notes=notes)) as engine:
        speeds = check_speed(made, engine, min(prompt, made.context // 2))
        checked = [*check_memory(made, engine), *speeds]
    record_checks(made, checked, notes)
    return checked


def _print(made: "Plan", checked: "list[Checked]") -> None:
    kind = f"{made.architecture}, {made.attention}, {made.quantization}, {made.engine} engine"
    say(f"{made.name} ({kind}): weights {_size(sum(made.weights.values()))}")
    say("  " + ", ".join(f"{name} {_size(size)}" for name, size in made.weights.items()))
    say(f"  a token in the cache: {', '.join(f'{size:,} bytes {kind}' for kind, size in made.cache_per_token.items())}")
    if made.refusal is not None:
        say(f"It does not fit. {made.refusal.reason} {made.refusal.mend}")
        return
    rows = [
        [one.device, *map(_size, (one.weights, one.cache, one.compute, one.runtime, one.total, one.available))]
        for one in made.devices
    ]
    table(["device", "weights", "cache", "results", "runtime", "in all", "free"], rows)
    for sentence in made.where:
        say(sentence)
    say(
        f"About {rate(made.prefill)} tokens/s of a prompt and {rate(made.decode)} of an answer, "
        f"{made.depth:,} tokens into the window; {made.threads} threads, {made.batch} tokens at once."
    )
    for sentence in made.faster:
        say(sentence)
    if checked:
        shown = [
            [one.what, _figure(one, one.planned), _figure(one, one.measured), f"{one.error:+.1%}"] for one in checked
        ]
        table(["checked", "planned", "measured", "off by"], shown)
        note("Noted for the next plan.")


def _figure(one: "Checked", value: float) -> str:
    return _size(round(value)) if one.unit == "bytes" else f"{value:,.1f} {one.unit}"


def _size(size: int) -> str:
    return f"{size / (1 << 30):,.2f} GiB" if size >= 100 << 20 else f"{size / (1 << 20):,.1f} MiB"


def _tokens(text: str | None) -> int | None:
    """`128K` as a number of tokens.

    :raises BadInput: it is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})([kKmM]?)", text.strip())
    if match is None:
        from app.errors import BadInput

        raise BadInput(f"{text!r} is no number of tokens.", "Give 8192, 32K or 128K.")
    return int(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[match[2].lower()]
