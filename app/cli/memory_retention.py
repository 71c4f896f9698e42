"""`loci memory shrink` and `loci memory train`: forgetting within a budget, and the model that decides it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import AsJson, Force, note, print_json, say, table, workspace

if TYPE_CHECKING:
    from memory.retention.prior import Embed


def register(app: typer.Typer) -> None:
    app.command()(shrink)
    app.command()(train)


def shrink(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be archived.")] = False,
    as_json: AsJson = False,
) -> None:
    """Archive the memories least likely to be used, down to the budget.

    Pinned ones stay. `restore` brings one back, and so does a question that it answers better than what was kept.

    \b
    loci memory shrink --dry-run
    LOCI_MEMORY__BUDGET_ROWS=500 loci memory shrink
    """
    with workspace(ctx) as opened:
        done = opened.memory.shrink(dry_run=dry_run)
    if as_json:
        print_json(asdict(done))
        return
    if done.evicted:
        rows = [[one.id, f"{one.probability:.3f}", one.text] for one in done.evicted]
        table(["id", "likely used", "text"], rows)
    count, verb = len(done.evicted), "would be archived" if dry_run else "archived"
    decided = "by recency" if done.model is None else f"by model {done.model}"
    note(f"{count} {verb} {decided}, {done.kept} stay with about {done.tokens} tokens; budget filled {done.fill:.0%}.")


def train(
    ctx: typer.Context,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Train a first model on these questions.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write that model.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Read only so many contexts of it.")] = 900,
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="Go back to this version.", show_default=False)
    ] = None,
    reset_vectors: Annotated[
        bool, typer.Option("--reset-vectors", help="Put back the vectors that use has moved.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Refit the retention model on what memories were used for, or go back to an earlier version.

    It learns after every turn anyway. With --from and --out it trains a first model for new profiles on JSON lines with
    a context and the characters that answer a question. Vectors of memories follow their use where that wins;
    --reset-vectors puts them back, and the setting memory.move_vectors keeps them there.

    \b
    loci memory train
    loci memory train --version 3
    loci memory train --from questions.jsonl --out retention.json
    """
    from app.errors import BadInput

    if (source is None) != (out is None):
        raise BadInput("A first model needs questions and a place.", "Give --from FILE and --out FILE together.")
    with workspace(ctx) as opened:
        if source is not None and out is not None:
            _train_prior(source, out, limit, force, opened.embedder.encode)
            return
        if reset_vectors:
            opened.memory.reset_vectors()
            note("Every memory is recalled by its own words again.")
            return
        model = opened.memory.roll_back(version) if version is not None else opened.memory.train()
    if as_json:
        print_json(
            None if model is None else {"version": model.id, "active": model.active, "verdict": asdict(model.verdict)}
        )
    elif model is None:
        note("Nothing to learn yet: too few memories were used, or shown in vain.")
    else:
        say(f"Version {model.id}: {'decides' if model.active else 'does not decide'} ({model.verdict.reason}).")


def _train_prior(source: Path, out: Path, limit: int, force: bool, embed: "Embed") -> None:
    from app.errors import BadInput
    from app.files import private_file
    from memory.retention.prior import train_prior
    from model.errors import why

    try:
        lines = source.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{source} cannot be read: {why(error)}.", "Give a file of JSON lines.") from None
    scorer = train_prior(lines, embed, limit)
    with private_file(out, force=force) as file:
        file.write((json.dumps(scorer.to_json(), indent=1) + "\n").encode())
    note(f"Written: {out}")
