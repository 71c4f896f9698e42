"""`loci eval context`: whether a model finds what stands anywhere in a long text, by length and depth."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.door import (
    NOTHING,
    AsJson,
    Model,
    counted,
    lasting,
    leave,
    note,
    print_json,
    progress,
    say,
    table,
    workspace,
)

if TYPE_CHECKING:
    from app.workspace import Workspace


def context(
    ctx: typer.Context,
    model: Model = None,
    path: Annotated[
        Path | None,
        typer.Option("--path", metavar="PATH", help="Text to hide things in: a file or folder. Default: made up."),
    ] = None,
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,N", help="Tokens of prompt and answer; 4K is 4096.")
    ] = "4K,8K,16K,32K,64K,128K",
    tasks: Annotated[
        str, typer.Option("--tasks", metavar="NAME,NAME", help="Of passkey, multikey, tracking and common.")
    ] = "passkey,multikey,tracking,common",
    depths: Annotated[int, typer.Option(min=1, help="Places in the text, spread evenly.")] = 10,
    trials: Annotated[int, typer.Option(min=1, help="At each length and depth.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides what is hidden and where the text begins.")] = 0,
    answering: Annotated[
        Literal["auto", "chat", "continue", "score"],
        typer.Option("--answer", help="Ask in a message, let the text be continued, or score candidates."),
    ] = "auto",
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer. Default: as each task needs.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--override", metavar="KEY=VALUE", help="Change the model's config.json; repeatable."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Also draw it: .svg or .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a model finds in long texts, by length and depth.

    passkey: a number; multikey: one of eight; tracking: variables assigned from each other; common: the most frequent
    words of a list (which has no depth). Lengths beyond the model's window are skipped. An interrupted run goes on with
    the same command. After each length it says how long the longer ones take: on a CPU, the default takes days.

    \b
    loci eval context --path essays --plot heat.svg
    loci eval context --model hf:deepseek-ai/DeepSeek-V2-Lite-Chat --lengths 32K,128K --tasks passkey,multikey

    Controls, for a folder of safetensors: without YaRN; the softmax scale without m^2; YaRN that was never trained.

    \b
    --override rope_scaling=null
    --override rope_scaling.mscale=0 --override rope_scaling.mscale_all_dim=0
    --override max_position_embeddings=131072 --override 'rope_scaling={"type": "yarn",
      "factor": 40, "original_max_position_embeddings": 4096, "mscale": 1, "mscale_all_dim": 1}'
    """
    from app.bench_plot import check_plot, draw_heat_map
    from app.evaluation.context import Plan, choose_answering, evaluate, journal_name
    from app.evaluation.haystack import read_haystack
    from app.profile import make_private

    plan = Plan(
        _lengths(lengths), tuple(dict.fromkeys(tasks.split(","))), depths, trials, seed,
        None if answering == "auto" else answering, answer_tokens,
    )  # fmt: skip
    if plot is not None:
        check_plot(plot)
    haystack = read_haystack(path)
    with workspace(ctx, alone=True, model__reference=model) as outer, _overridden(ctx, outer, override or []) as opened:
        engine = opened.engine()
        journal = outer.profile.cache / "evaluations" / journal_name(_identity(opened), haystack, plan)
        make_private(journal.parent)
        if journal.exists():
            note("An earlier run was interrupted; what it measured is kept.")
        how = {"chat": "asked in a message", "continue": "by continuing the text", "score": "by scoring candidates"}
        note(f"{engine.describe().name} answers {how[choose_answering(plan, engine.describe())]}.")
        try:
            with progress("Measuring") as advance:
                result = evaluate(engine, haystack, plan, journal, advance, _foretell)
        except KeyboardInterrupt:
            note("Interrupted. What was measured is kept; the same command goes on.")
            raise
    result["settings"] |= {"model": outer.settings.model.reference, "override": override or []}
    if as_json:
        print_json(result)
    else:
        _show(result)
    if plot is not None:
        draw_heat_map(f"{result['settings']['model']}: share found", result["cells"], plot)
        note(f"Drawn into {plot}.")
    journal.unlink(missing_ok=True)
    if not result["items"]:
        leave(NOTHING)


def _foretell(length: int, least: float, most: float) -> None:
    note(
        f"{length:,} tokens are measured; the longer lengths take {lasting(least)} at least, {lasting(most)} at most. "
        "Ctrl+C keeps what was measured, --lengths names fewer."
    )


@contextmanager
def _overridden(ctx: typer.Context, opened: "Workspace", changes: list[str]) -> "Iterator[Workspace]":
    """The workspace itself, or one whose model is a variant of its model."""
    from app.errors import BadInput
    from app.evaluation.variant import variant
    from model.open import resolve

    if not changes:
        yield opened
        return
    found = resolve(opened.settings.model.reference)
    if found.engine != "torch":
        raise BadInput(f"{found.reference} has no config.json to override.", "Name a folder of safetensors.")
    with (
        variant(Path(found.target), changes) as folder,
        workspace(ctx, alone=True, model__reference=str(folder)) as other,
    ):
        yield other


def _identity(opened: "Workspace") -> str:
    """What tells one model's content and settings from another's."""
    from model.checkpoint import fingerprint
    from model.open import resolve

    settings = opened.settings.model.model_dump(exclude={"reference"})
    found = resolve(opened.settings.model.reference)
    if found.engine == "torch":
        return f"{fingerprint(Path(found.target))} {settings}"
    size = Path(found.target).stat().st_size if found.engine == "llama" else 0
    return f"{found.target} {size} {settings}"


def _lengths(text: str) -> tuple[int, ...]:
    from app.errors import BadInput

    try:
        return tuple(
            int(one[:-1]) * 1024 if one[-1:] in ("k", "K") else int(one) for one in map(str.strip, text.split(","))
        )
    except ValueError:
        raise BadInput(f"--lengths {text!r} is not a list of whole numbers.", "Write it as in 4K,8192.") from None


def _show(result: dict[str, Any]) -> None:
    chance = result["baselines"]["chance"]
    rows = [
        [name, f"{value:.3f}", "{:.3f} to {:.3f}".format(*result["intervals"][name]), f"{chance[name]:.3f}"]
        for name, value in result["metrics"].items()
    ]
    table(["metric", "value", "95% interval", "chance"], rows)
    for name, reason in result["skipped"].items():
        say(f"{name} was skipped: {reason}.")
    say(f"{counted(result['items'], 'trial')} in {result['seconds']:.1f} s.")
