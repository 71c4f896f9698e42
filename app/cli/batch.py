"""`loci batch`: many questions from a file."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import (
    NOTHING,
    PARTIAL,
    AsJson,
    In,
    Model,
    counted,
    leave,
    note,
    print_json,
    progress,
    scope,
    workspace,
)
from app.cli.show import model_note

if TYPE_CHECKING:
    from app.answer import Answer
    from app.batch import Pins
    from app.batch_rows import Row

_SHOWN = 20
"""Most failed rows that are named on the screen."""


def register(app: typer.Typer) -> None:
    app.command()(batch)


def batch(
    ctx: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="JSON lines, or CSV (named .csv) with a question column.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="JSON lines, or CSV if it ends in .csv.")],
    collections: In = None,
    model: Model = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="A system prompt for every row.")] = None,
    schema: Annotated[
        Path | None, typer.Option("--schema", metavar="FILE", help="A JSON Schema that every answer must satisfy.")
    ] = None,
    library: Annotated[bool, typer.Option("--library/--no-library", help="Search the library.")] = True,
    memory: Annotated[bool, typer.Option("--memory", help="Recall what is known about you.")] = False,
    remember: Annotated[bool, typer.Option("--remember", help="Recall, and also store each turn.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampling, for every row.")] = 0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 1024,
    timings: Annotated[
        bool,
        typer.Option(
            "--timings/--no-timings", help="Without: times and cache hits are 0, and runs agree byte for byte."
        ),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT, or start an interrupted run again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer every row of a file, in order; run it again to resume after an interruption.

    \b
    loci batch questions.jsonl -o answers.jsonl
    loci batch questions.csv -o answers.csv --in work --no-timings

    Fields that are no question pass through. Rows know nothing of each other: nothing is recalled
    or stored unless told. Exit code 4: some rows failed (rows without an answer did not); 3: the file holds no rows.
    """
    from app.answer import Ask
    from app.batch import Pins, check_out, run_batch
    from app.cli.ask import read_schema
    from app.errors import BadInput

    if not source.is_file():  # before a model is loaded for nothing
        raise BadInput(f"{source} is no file.", "Give a file of JSON lines or CSV.")
    check_out(source, out, force)
    names = scope(collections)
    schema_text = read_schema(schema)
    with workspace(ctx, model__reference=model) as opened:
        assistant = opened.assistant()
        info = opened.load()  # a model that cannot be opened is one error, not one per row
        note(model_note(info))

        def answer(row: "Row", pins: "Pins") -> "Answer":
            return assistant.ask(
                Ask(
                    row.fields["question"],
                    scope=names,
                    system=system,
                    schema=schema_text,
                    use_library=library,
                    use_memory=memory or remember,
                    store=remember,
                    seed=pins.seed,
                    max_tokens=max_tokens,
                    library_epoch=pins.library_epoch,
                )
            )

        settings = opened.settings.model_dump_json()
        options = {
            "scope": names,
            "model": info.reference,
            "system": system,
            "schema": schema_text,
            "library": library,
            "memory": memory,
            "remember": remember,
            "max_tokens": max_tokens,
            "seed": seed,
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
        }
        run = run_batch(
            source, out, answer, Pins(opened.library.epoch(), seed), options=options, timings=timings, force=force
        )
        failed = 0
        with progress("Answering", "rows") as advance:
            while True:
                try:
                    step = next(run)
                except StopIteration as stop:
                    outcome = stop.value
                    break
                advance(step.done, step.total, step.status)
                if step.error is not None:
                    failed += 1
                    if failed <= _SHOWN:
                        note(f"{source}, line {step.line}: {step.error}")
    if as_json:
        print_json(outcome.to_json())
    else:
        resumed = f" ({outcome.resumed} of them earlier)" if outcome.resumed else ""
        counts = ", ".join(f"{count} {status}" for status, count in outcome.statuses.items())
        note(f"{counted(outcome.rows, 'row')}{resumed}: {counts}")
    if outcome.statuses["error"]:
        note(f"Why rows failed stands in {out}, in the field error.")
        leave(PARTIAL)
    if not outcome.rows:
        leave(NOTHING)
