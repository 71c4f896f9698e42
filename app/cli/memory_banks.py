"""`loci memory profile` and `loci memory consolidate`: the banks above single memories."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.door import NOTHING, AsJson, In, Model, leave, note, print_json, say, scope, workspace
from app.cli.show import memory_json


def profile(
    ctx: typer.Context,
    collections: In = None,
    edited: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Take over the lines of an edited profile.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what matters most about you; of an edited one, changed lines change memories, deleted ones are forgotten.

    \b
    loci memory profile > me.txt
    loci memory profile --from me.txt
    """
    from memory.profile import edits, written
    from memory.types import Source

    with workspace(ctx) as opened:
        known = opened.memory.profile(scope(collections) if collections else None)
        if edited is not None:
            done = edits({memory.id: memory.text for memory in opened.memory.list()}, _lines(edited))
            for key, said in done.changed.items():
                opened.memory.edit(key, said)
            for key in done.removed:
                opened.memory.forget(key)
            for said in done.added:
                opened.memory.add(said, scope=scope(collections)[0], source=Source("command"))
            note(f"{len(done.changed)} changed, {len(done.removed)} forgotten, {len(done.added)} added.")
            known = opened.memory.profile(scope(collections) if collections else None)
    if as_json:
        print_json([memory_json(memory) for memory in known])
    elif known:
        say(written(known).rstrip("\n"))
    if not known:
        note("Nothing is known about you yet.")
        leave(NOTHING)


def consolidate(
    ctx: typer.Context,
    model: Model = None,
    calls: Annotated[int, typer.Option("--calls", min=0, help="Messages that a model may read.")] = 50,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be written, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sum up the conversations that rest, in their own words; done for one at the end of each question, too.

    A model other than the embedded one also reads messages for what was missed, and copies it word for word.

    \b
    loci memory consolidate
    loci memory consolidate --model model.gguf --calls 200
    loci memory consolidate --dry-run --json
    """
    with workspace(ctx, model__reference=model) as opened:
        read = []
        if calls and opened.settings.model.reference != "embedded":
            read = opened.memory.read_turns(opened.reader(), calls, dry_run=dry_run)
        written = [*read, *opened.memory.consolidate(limit=1000, dry_run=dry_run)]
    rows = [memory_json(memory) for memory in written]
    if dry_run:
        for row in rows:
            del row["id"]  # what is not written has none
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            say(f"Would write: {row['text']}" if dry_run else f"{row['id']}  {row['text']}")
    if not written:
        note("There was nothing new to remember or to sum up.")


def _lines(file: Path) -> str:
    from app.errors import BadInput
    from model.errors import why

    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {why(error)}.", "Name a text file in UTF-8.") from error
