"""`loci ingest`: read documents into the library."""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import (
    FAILED,
    NOTHING,
    PARTIAL,
    AsJson,
    InOne,
    counted,
    lasting,
    leave,
    note,
    print_json,
    progress,
    workspace,
)

if TYPE_CHECKING:
    from retrieval.ingest import Estimate, FileResult, Progress


def register(app: typer.Typer) -> None:
    app.command()(ingest)


def ingest(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.", show_default=False)],
    collection: InOne = "main",
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove documents whose files are gone from these paths.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and read what comes or changes, until Ctrl+C.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate only: files, chunks and time.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read documents into the library; what has not changed is not read again.

    \b
    loci ingest ~/papers report.pdf
    loci ingest ~/work --in work --prune
    loci ingest ~/papers --watch

    Files that cannot be read are named with the reason, and the rest is kept (exit code 4). Scans and pictures of
    pages (PDF, PNG, JPEG, TIFF) are read by the program tesseract, if it is installed.
    Types that no reader knows are skipped, and so are text files that are empty; if that is all there is, the exit
    code is 3.

    With --watch the paths are looked at every two seconds, and read once nothing is being written to them; each time
    is told as one run is, with --json on one line. The exit code is 0.
    """
    if dry_run:
        _estimate(ctx, paths, collection, as_json)
    elif watch:
        _watch(ctx, paths, collection, prune, as_json)
    else:
        results = _read(ctx, paths, collection, prune)
        _tell(results, as_json)
        failed = sum(result.status == "failed" for result in results)
        if failed:
            leave(FAILED if failed == len(results) else PARTIAL)
        if all(result.status == "skipped" for result in results):
            leave(NOTHING)


def _estimate(ctx: typer.Context, paths: list[Path], collection: str, as_json: bool) -> None:
    from retrieval.ingest import estimate

    with workspace(ctx) as opened:
        guess = estimate(opened.library, paths, collection=collection)
    if as_json:
        print_json(asdict(guess))
    else:
        print(_told(guess))


def _watch(ctx: typer.Context, paths: list[Path], collection: str, prune: bool, as_json: bool) -> None:
    """The profile is opened for each run alone, so that other commands find it as they do without this one."""
    from retrieval.watch import changes

    try:
        for there in changes(paths):
            if not there:
                note("A watched path is gone; what was read of it stays.")
                continue
            _tell(_read(ctx, paths, collection, prune), as_json)
            sys.stdout.flush()  # to whoever reads along in a pipe
            note("Watching; Ctrl+C ends it.")
    except KeyboardInterrupt:
        note("No longer watching.")


def _read(ctx: typer.Context, paths: list[Path], collection: str, prune: bool) -> "list[FileResult]":
    from app.foreign import MEND, beyond_embedder
    from app.pinned import forget, forget_sessions
    from retrieval.ingest import estimate, ingest

    with workspace(ctx) as opened:
        library = opened.library
        guess = estimate(library, paths, collection=collection)
        if guess.files:
            note(f"To read: {_told(guess)}.")
        with progress("Reading") as advance:
            results = ingest(
                library,
                paths,
                collection=collection,
                prune=prune,
                progress=lambda at: advance(at.bytes_done, at.bytes, _detail(at)),
            )
        if any(result.status == "removed" for result in results):
            forget_sessions(opened)
        foreign = Counter(result.beyond for result in results if result.beyond)
        changed = [result.document for result in results if result.status == "updated" and result.document]
        pinned = [document for document in changed if library.document(document).pinned]
        if pinned and forget(opened, collection):
            note(f"What the model had read of pinned documents is out of date: loci library pin {pinned[0]} mends it.")
        embedder = library.embedder.id if foreign else ""
    for language, count in sorted(foreign.items()):
        note(f"{counted(count, 'document')} in {language}, which {beyond_embedder(embedder)} {MEND}")
    return results


def _tell(results: "list[FileResult]", as_json: bool) -> None:
    counts = _counts(results)
    if as_json:
        print_json({"files": [asdict(result) for result in results], "counts": counts})
        return
    for result in results:
        if result.reason:
            reason = result.reason.removeprefix(f"{result.path}: ")  # a reader's reason names the file too
            note(f"{result.status}: {result.path}: {reason}")
    print(", ".join(f"{count} {status}" for status, count in counts.items()) or "No files there.")


def _told(guess: "Estimate") -> str:
    chunks = counted(guess.chunks, "chunk")
    return f"{counted(guess.files, 'file')}, {_size(guess.bytes)}, about {chunks}, {lasting(guess.seconds)}"


def _detail(at: "Progress") -> str:
    return f"{at.files_done}/{at.files} files, {at.rate:.0f} passages/s  {at.path[-40:]}"


def _counts(results: "list[FileResult]") -> dict[str, int]:
    counts: dict[str, int] = {}
    for result in results:
        counts[result.status] = counts.get(result.status, 0) + 1
    return counts


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
