"""`loci memory`: what Loci knows about you, and how to change it."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import memory_retention
from app.cli.door import (
    NOTHING,
    AsJson,
    DryRun,
    In,
    InOne,
    Yes,
    confirm,
    group,
    leave,
    note,
    note_redacted,
    note_unembedded,
    print_json,
    progress,
    say,
    scope,
    sought,
    table,
    workspace,
)
from app.cli.memory_banks import consolidate, profile
from app.cli.memory_files import export, import_
from app.cli.show import figures, memory_json
from app.cli.show_memory import show_list, show_one
from app.cli.show_retention import retention_figures
from app.why import reasons, retention_reasons
from memory.types import Kind, State

if TYPE_CHECKING:
    from memory.types import Memory

app = group("What Loci remembers about you: seen, corrected, forgotten.")

memory_retention.register(app)

Id = Annotated[int, typer.Argument(metavar="ID", help="Number of the memory.", show_default=False)]


@app.command("list")
def list_(
    ctx: typer.Context,
    collections: In = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only this kind.")] = None,
    all_states: Annotated[bool, typer.Option("--all", help="Archived and forgotten ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List memories, newest first.

    \b
    loci memory list --kind preference
    loci memory list --in work --json
    """
    states: tuple[State, ...] = ("active", "archived", "tombstone") if all_states else ("active",)
    with workspace(ctx) as opened:
        found = opened.memory.list(scopes=scope(collections) if collections else None, states=states, kind=kind)
    show_list(found, as_json)


@app.command()
def recall(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD", show_default=False)],
    collections: In = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 8,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each score is the sum of.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a question would bring back, best first.

    \b
    loci memory recall "what do I drink"
    loci memory recall "what do I drink" --explain
    """
    with workspace(ctx) as opened:
        found = opened.memory.recall(sought(words), scopes=scope(collections), limit=limit)
        note_unembedded(opened)
    if as_json:
        print_json([memory_json(item.memory, item.score) | {"parts": item.parts} for item in found])
    else:
        rows = [[item.memory.id, f"{item.score:.3f}", item.memory.text] for item in found]
        if explain:
            terms = [", ".join(f"{name} {value:.2f}" for name, value in item.parts.items()) for item in found]
            rows = [[*row[:2], term, row[2]] for row, term in zip(rows, terms, strict=True)]
        table(["id", "score", *(["terms"] if explain else []), "text"], rows)
    if not found:
        note("Nothing comes to mind.")
        leave(NOTHING)


@app.command()
def show(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Show one memory whole.

    \b
    loci memory show 12
    """
    with workspace(ctx) as opened:
        show_one(opened.memory.get(id), as_json)


@app.command()
def add(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(show_default=False)],
    collection: InOne = "main",
    kind: Annotated[Kind, typer.Option("--kind", help="What it is.")] = "fact",
    as_json: AsJson = False,
) -> None:
    """Remember something.

    \b
    loci memory add "My boat is called Whimbrel."

    Secrets are left out (memory.redact). Exit code 3: there is nothing else in it, and nothing was stored.
    """
    from memory.types import Source

    with workspace(ctx) as opened:
        memory = opened.memory.add(_words(text), kind=kind, scope=collection, source=Source("command"))
        note_redacted(opened, text)
        show_one(memory, as_json)


@app.command()
def edit(
    ctx: typer.Context, id: Id, text: Annotated[str, typer.Argument(show_default=False)], as_json: AsJson = False
) -> None:
    """Correct a memory's words; the old wording is archived and can be restored.

    \b
    loci memory edit 12 "My boat is 9.6 metres long."
    """
    with workspace(ctx) as opened:
        memory = opened.memory.edit(id, _words(text))
        note_redacted(opened, text)
        show_one(memory, as_json)


@app.command()
def pin(
    ctx: typer.Context,
    id: Id,
    off: Annotated[bool, typer.Option("--off", help="Unpin it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a memory whatever happens.

    \b
    loci memory pin 12
    """
    with workspace(ctx) as opened:
        opened.memory.pin(id, not off)
        show_one(opened.memory.get(id), as_json)


@app.command("why")
def why_(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Show where a memory comes from, what it was used for, and why it is kept.

    \b
    loci memory why 12
    """
    with workspace(ctx) as opened:
        why = opened.memory.why(id)
        memory: Memory = why.pop("memory")
    if as_json:
        print_json({"memory": memory_json(memory), **why})
    else:
        show_one(memory, as_json)
        for line in [*reasons(memory.source, why), *retention_reasons(why["retention"])]:
            say(f"    {line}")


@app.command()
def forget(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID", show_default=False)],
    for_good: Annotated[bool, typer.Option("--purge", help="For good, as `loci memory purge`.")] = False,
    yes: Yes = False,
) -> None:
    """Forget memories; `restore` brings them back.

    \b
    loci memory forget 12 --yes
    loci memory forget 12 --purge --yes
    """
    if for_good:
        purge(ctx, ids, yes=yes)
        return
    with workspace(ctx) as opened:
        for memory in [opened.memory.get(id) for id in ids]:
            confirm(f"Forget “{memory.text}”?", yes)
            opened.memory.forget(memory.id)
            note(f"Forgotten: {memory.text} (`loci memory restore {memory.id}` brings it back.)")


@app.command()
def restore(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Bring back a memory that was forgotten, edited or superseded.

    \b
    loci memory restore 12
    """
    with workspace(ctx) as opened:
        show_one(opened.memory.restore(id), as_json)


@app.command()
def purge(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID", show_default=False)],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete memories for good, wherever they are, and search all bytes for what is left.

    \b
    loci memory purge 12 --dry-run
    loci memory purge 12 --yes --json

    Their earlier wordings and what they superseded go with them; so do other memories that quote them, and their
    words in questions, answers, titles, feedback, what models kept of conversations, and known backups.
    """
    from app.cli.purging import purging
    from app.purge import purge_memories

    with workspace(ctx) as opened, purging(opened, as_json, dry_run) as (report, earlier):
        gone = earlier.memories if earlier else ()
        found = [opened.memory.get(id) for id in dict.fromkeys(ids) if id not in gone]
        for memory in found:
            if not dry_run:
                confirm(f"Delete “{memory.text}” for good?", yes)
        if found:
            report(purge_memories(opened, [memory.id for memory in found], dry_run=dry_run))


@app.command()
def reindex(ctx: typer.Context) -> None:
    """Embed the memories that the embedder in use did not embed, after a change of embedder.

    \b
    loci memory reindex

    Those of the earlier one answer until all is done; a run that was interrupted goes on where it was.
    """
    with workspace(ctx) as opened, progress("Embedding", "memories") as advance:
        opened.memory.reindex(lambda done, total: advance(done, total, ""))
        embedder = opened.memory.embedder_id
    note(f"All memories are embedded by {embedder}.")


app.command()(profile)
app.command()(consolidate)
app.command()(export)
app.command("import")(import_)


@app.command()
def stats(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Count what is stored, and show how well the retention model knows it.

    \b
    loci memory stats --json
    """
    with workspace(ctx) as opened:
        found = opened.memory.stats()
    if as_json:
        print_json(found)
    else:
        retention = found.pop("retention")
        for line in [*figures(found), *retention_figures(retention)]:
            say(line)


@app.command()
def off(ctx: typer.Context) -> None:
    """Neither recall nor store anything in this profile, until `loci memory on`.

    \b
    loci memory off

    What is stored stays, and `loci memory add` and `import` still do what they are told. For one question or
    conversation: `loci ask --incognito`, `loci chat --incognito`, or /off in the chat.
    """
    _switch(ctx, False)


@app.command()
def on(ctx: typer.Context) -> None:
    """Take back `loci memory off`.

    \b
    loci memory on
    """
    _switch(ctx, True)


def _switch(ctx: typer.Context, on: bool) -> None:
    from app.profile import config_file
    from app.settings_edit import set_value

    with workspace(ctx) as opened:
        file = config_file(opened.profile)
        set_value(file, "memory", "enabled", on)
    note(f"The memory is {'on' if on else 'off'}: {file} says so.")


def _words(text: str) -> str:
    from app.errors import BadInput

    if not text.strip():
        raise BadInput("There is nothing to remember.", "Give a sentence.")
    return text
