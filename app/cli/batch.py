"""`loci batch`: many questions from a file."""

import hashlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import (
    NOTHING,
    PARTIAL,
    AsJson,
    BestOf,
    In,
    Model,
    counted,
    leave,
    note,
    note_unembedded,
    print_json,
    progress,
    scope,
    workspace,
)
from app.cli.show import model_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.answer import Answer, Ask
    from app.batch import Pins
    from app.batch_rows import Row
    from app.workspace import Workspace
    from model.engine import EngineInfo

_SHOWN = 20
"""Most failed rows that are named on the screen."""

_PATIENCE = {"timeout", "connect_timeout", "retries", "in_flight"}
"""Settings that decide how an answer is fetched and not what it says: a run may be resumed under others."""


def register(app: typer.Typer) -> None:
    app.command()(batch)


def batch(
    ctx: typer.Context,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="IN", help="JSON lines, or CSV (named .csv) with a question column.", show_default=False
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="JSON lines, or CSV if it ends in .csv.")],
    each_document: Annotated[
        str | None,
        typer.Option(
            "--each-document",
            metavar="QUESTION|FILE",
            help="Ask this of every document, and write a table: .csv, .md, or JSON lines.",
        ),
    ] = None,
    where: Annotated[
        str,
        typer.Option("--where", metavar="FILTERS", help="With --each-document: which, as in:contracts type:pdf."),
    ] = "",
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
    best_of: BestOf = 1,
    in_flight: Annotated[
        int | None,
        typer.Option("--in-flight", min=1, metavar="N", help="Rows that a remote model is asked at the same time."),
    ] = None,
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
    loci batch --each-document "What is the notice period?" --where type:pdf -o terms.md

    Fields that are no question pass through. Rows know nothing of each other: nothing is recalled
    or stored unless told. A remote model answers many at once (--in-flight). Exit code 4: some rows
    failed (rows without an answer did not); 3: the file holds no rows.

    With --each-document a cell is an answer with a citation that was checked, or absent.
    """
    from app.answer import Ask
    from app.batch import Pins, check_out, run_batch
    from app.cli.ask import read_schema
    from app.cli.batch_each import each
    from app.errors import BadInput

    if (source is None) == (each_document is None):
        raise BadInput("There is no one input.", "Give a file of questions, or --each-document with a question.")
    if each_document is not None and (schema or memory or remember or not library):
        raise BadInput(
            "--each-document asks documents alone.", "Leave out --schema, --memory, --remember and --no-library."
        )
    if where and each_document is None:
        raise BadInput("--where chooses documents for --each-document.", "Give that, too, or leave --where out.")
    if source is not None and not source.is_file():  # before a model is loaded for nothing
        raise BadInput(f"{source} is no file.", "Give a file of JSON lines or CSV.")
    check_out(source, out, force)
    names = scope(collections)
    schema_text = read_schema(schema)
    with ExitStack() as entered:
        opened = entered.enter_context(workspace(ctx, model__reference=model, model__in_flight=in_flight))
        workers = _workers(opened, in_flight, remember)
        ask, info = entered.enter_context(_answering(opened, workers))
        note(model_note(info))
        settings = opened.settings.model_dump_json(exclude={"model": _PATIENCE, "resident": True, "serve": True})
        options = {
            "scope": names,
            "model": info.reference,
            "system": system,
            "schema": schema_text,
            "library": library,
            "memory": memory,
            "remember": remember,
            "max_tokens": max_tokens,
            "best_of": best_of,
            "seed": seed,
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
        }
        if memory or remember:
            note_unembedded(opened)
        pins = Pins(opened.library.epoch(), seed)

        def answer(row: "Row", pins: "Pins") -> "Answer":
            return ask(
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
                    best_of=best_of,
                    library_epoch=pins.library_epoch,
                    request=f"{pins.run}:{row.index}" if remember else None,
                )
            )

        if each_document is not None:
            fixed = {"scope": names, "system": system, "max_tokens": max_tokens, "best_of": best_of}
            run = each(
                opened, each_document, where, out, ask, fixed, pins, options=options, force=force, workers=workers
            )
        else:
            assert source is not None
            run = run_batch(source, out, answer, pins, options=options, timings=timings, force=force, workers=workers)
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
                        note(f"{source or out}, line {step.line}: {step.error}")
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


def _workers(opened: "Workspace", asked: int | None, remember: bool) -> int:
    """Rows under way at once.

    :raises BadInput: several are asked for where there can be only one.
    """
    from app.errors import BadInput
    from model.open import resolve

    model = opened.settings.model
    remote = resolve(model.reference).engine == "remote"
    if (asked or 1) > 1 and (remember or not remote):
        reason = "--remember stores rows one after the other" if remember else "A local model answers one at a time"
        raise BadInput(f"{reason}.", "Leave --in-flight out.")
    return model.in_flight if remote and not remember else 1


@contextmanager
def _answering(opened: "Workspace", workers: int) -> "Iterator[tuple[Callable[[Ask], Answer], EngineInfo]]":
    """What answers a row, and the model; one that cannot be opened is one error, not one per row."""
    if workers == 1:
        assistant = opened.assistant()
        yield assistant.ask, opened.load()
        return
    from app.in_flight import InFlight

    crew = InFlight(opened)
    with crew.held():
        yield crew.ask, crew.describe()
