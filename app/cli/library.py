"""`loci library`: the documents that were read."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import (
    AsJson,
    DryRun,
    In,
    Yes,
    confirm,
    group,
    note,
    print_json,
    progress,
    say,
    scope,
    table,
    workspace,
    write_exactly,
)
from app.cli.show import figures, table_line
from app.passages import locator_json
from app.places import place

if TYPE_CHECKING:
    from app.workspace import Workspace
    from retrieval.tables.store import Listed
    from retrieval.types import DocumentInfo

app = group("The documents of the library.")

Doc = Annotated[
    str, typer.Argument(metavar="DOC", help="Id (d12), path, or the end of a path that fits one.", show_default=False)
]


@app.command("list")
def list_(ctx: typer.Context, collections: In = None, as_json: AsJson = False) -> None:
    """List documents.

    \b
    loci library list --in work --json
    """
    with workspace(ctx) as opened:
        found = opened.library.documents(scope(collections) if collections else None)
    if as_json:
        print_json([asdict(document) for document in found])
    elif found:
        rows = [
            [item.id, item.collection, item.pages, item.chunks, item.ingested_at[:10], "yes" * item.pinned, item.path]
            for item in found
        ]
        table(["id", "in", "pages", "chunks", "read", "pinned", "path"], rows, keep_end=True)
    else:
        note("The library is empty: loci ingest PATH...")


@app.command()
def show(
    ctx: typer.Context,
    doc: Doc,
    text: Annotated[bool, typer.Option("--text", help="Print the extraction that offsets count in.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="START:END", help="Only these characters, with where they stand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a document and its tables, or its text exactly as citations count in it.

    \b
    loci library show report.pdf
    loci library show d12 --text > extraction.txt
    loci library show d12 --at 120:260
    """
    with workspace(ctx) as opened:
        document = opened.library.document(doc)
        if at is not None:
            start, end = _range(at)
            extract = opened.library.text(document.id)[start:end]
            position = opened.library.locate(document.id, start, end)
            if as_json:
                row = {"document": document.id, "start": start, "end": end, "text": extract, **asdict(position)}
                print_json(row | {"locator": locator_json(position.locator)})
            else:
                note(place(document.path, position.page, position.line, position.locator))
                write_exactly(extract + "\n")
            return
        if text:
            write_exactly(opened.library.text(document.id))
            return
        tables = opened.library.tables([document.collection], [document.id])
    if as_json:
        print_json(asdict(document) | {"tables": [_table(one) for one in tables]})
    else:
        for line in [*figures(asdict(document)), *map(table_line, tables)]:
            say(line)


def _table(table: "Listed") -> dict[str, object]:
    columns = [{"name": one.name, "kind": one.kind, "unit": one.unit} for one in table.columns]
    return {"sheet": table.sheet, "cells": table.cells, "rows": table.row_count, "columns": columns}


@app.command()
def remove(
    ctx: typer.Context,
    docs: Annotated[list[str], typer.Argument(metavar="DOC", show_default=False)],
    purge: Annotated[
        bool, typer.Option("--purge", help="For good: also from answers, caches and known backups, with a receipt.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove documents from the library; the files stay.

    \b
    loci library remove d12 notes.md --yes
    loci library remove d12 --purge --dry-run
    loci library remove d12 --purge --yes --json
    """
    from app.cli.purging import purging
    from app.pinned import forget, forget_sessions
    from app.purge import purge_documents
    from retrieval.errors import NoSuchDocument

    with workspace(ctx) as opened:
        if purge:
            with purging(opened, as_json, dry_run) as (report, earlier):
                try:
                    found = _agreed(opened, docs, " for good", yes or dry_run)
                except NoSuchDocument:
                    if not (earlier and earlier.documents):
                        raise
                    return  # the same command again, after it was killed
                report(purge_documents(opened, [document.id for document in found], dry_run=dry_run))
            return
        found = _agreed(opened, docs, "", yes or dry_run)
        for document in found:
            if dry_run:
                note(f"Would remove: {document.path} (the file would stay).")
                continue
            opened.library.remove(document.id)
            if document.pinned:
                forget(opened, document.collection)
            forget_sessions(opened)
            note(f"Removed: {document.path} (the file is still there).")
    if as_json:
        print_json([{"id": document.id, "path": document.path} for document in found])


def _agreed(opened: "Workspace", docs: list[str], how: str, yes: bool) -> "list[DocumentInfo]":
    """The documents named, once the person agreed to lose each."""
    found = [opened.library.document(doc) for doc in docs]
    for document in found:
        confirm(f"Remove {document.path} from the library{how}?", yes)
    return found


@app.command()
def pin(ctx: typer.Context, doc: Doc, off: Annotated[bool, typer.Option("--off", help="Unpin it.")] = False) -> None:
    """Give a document whole to every question, and keep it when `ingest --prune` finds its file gone.

    A torch model that writes prose reads it now, and not again for a question.

    \b
    loci library pin handbook.pdf
    """
    _pin(ctx, doc, not off)


@app.command()
def unpin(ctx: typer.Context, doc: Doc) -> None:
    """Take back `pin`.

    \b
    loci library unpin handbook.pdf
    """
    _pin(ctx, doc, False)


@app.command()
def reindex(
    ctx: typer.Context,
    embedder: Annotated[
        str | None,
        typer.Option("--embedder", metavar="FOLDER", help="Embed with this one from now on: a folder or a name."),
    ] = None,
) -> None:
    """Embed all chunks anew and rebuild the indexes, after a change of embedder or damage; memories, too.

    \b
    loci library reindex
    loci library reindex --embedder ~/models/paraphrase-multilingual-MiniLM-L12-v2

    What is there answers until all is done; a run that was interrupted goes on where it was.
    """
    if embedder is not None:
        _choose(ctx, embedder)
    with workspace(ctx) as opened:
        with progress("Embedding", "documents") as advance:
            opened.library.reindex(lambda done, total: advance(done, total, ""))
        with progress("Embedding", "memories") as advance:
            opened.memory.reindex(lambda done, total: advance(done, total, ""))
        counted = opened.library.stats()
    note(f"Embedded anew: documents {counted['documents']:,}, chunks {counted['chunks']:,}.")


def _choose(ctx: typer.Context, embedder: str) -> None:
    """Write the embedder into the settings, once it is seen to be one."""
    from app.profile import config_file
    from app.settings_edit import set_value
    from retrieval.embedder import load_embedder

    folder = Path(embedder).expanduser()
    reference = str(folder.absolute()) if folder.is_dir() else embedder
    load_embedder(reference)
    with workspace(ctx) as opened:
        file = config_file(opened.profile)
    set_value(file, "retrieval", "embedder", reference)


@app.command()
def stats(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Count documents, chunks and bytes.

    \b
    loci library stats --json
    """
    with workspace(ctx) as opened:
        found = opened.library.stats()
    if as_json:
        print_json(found)
    else:
        for line in figures(found):
            say(line)


def _pin(ctx: typer.Context, doc: str, on: bool) -> None:
    with workspace(ctx) as opened:
        document = opened.library.document(doc)
        opened.library.pin(document.id, on)
        kept = opened.keep_pinned(document.collection)
        prose = "chat" in opened.model_info().capabilities
    note(f"{document.id} is {'' if on else 'no longer '}pinned.")
    if kept is not None:
        note(f"The model has read the pinned documents of {document.collection}: {kept.tokens} tokens are kept.")
        if kept.documents < kept.pinned:
            note(f"Its window has room for {kept.documents} of {kept.pinned}.")
    elif on and prose:
        note("Every question is given it whole, as far as the window has room.")
    elif on:
        note("The model in use chooses from single passages, pinned or not; one that writes prose is given it whole.")


def _range(text: str) -> tuple[int, int]:
    from app.errors import BadInput

    start, colon, end = text.partition(":")
    if not (colon and start.isdecimal() and end.isdecimal() and int(start) < int(end)):
        raise BadInput(f"{text!r} is no range of characters.", "Give START:END, as in 120:260.")
    return int(start), int(end)
