"""`loci sessions`: earlier conversations."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.door import (
    NOTHING,
    AsJson,
    DryRun,
    Force,
    In,
    Yes,
    confirm,
    group,
    leave,
    note,
    print_json,
    say,
    scope,
    sought,
    table,
    workspace,
    write_exactly,
)

if TYPE_CHECKING:
    from memory.types import Turn

app = group("Earlier conversations.")

Id = Annotated[int, typer.Argument(metavar="ID", help="Number of the session.", show_default=False)]


@app.command("list")
def list_(ctx: typer.Context, collections: In = None, as_json: AsJson = False) -> None:
    """List sessions.

    \b
    loci sessions list --json
    """
    with workspace(ctx) as opened:
        found = opened.memory.sessions(scope(collections) if collections else None)
    if as_json:
        print_json([asdict(session) for session in found])
    elif found:
        rows = [
            [item.id, item.scope, _minute(item.last_turn or item.started), item.turns, item.title] for item in found
        ]
        table(["id", "in", "last", "turns", "title"], rows)
    else:
        note("No session yet.")


@app.command()
def show(ctx: typer.Context, id: Id, as_json: AsJson = False) -> None:
    """Print a session's questions and answers.

    \b
    loci sessions show 3
    """
    with workspace(ctx) as opened:
        session, turns = opened.memory.session(id), opened.memory.turns(id)
    if as_json:
        print_json(asdict(session) | {"turns": [_turn(turn) for turn in turns]})
        return
    say(f"{session.title} ({_minute(session.started)}, in {session.scope})")
    for turn in turns:
        say(f"\n> {turn.question}\n{turn.answer}{'' if turn.complete else ' [incomplete]'}")


@app.command()
def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD", show_default=False)],
    collections: In = None,
    as_json: AsJson = False,
) -> None:
    """Find turns in which something was said.

    \b
    loci sessions search ferry timetable
    """
    with workspace(ctx) as opened:
        found = opened.memory.search_turns(sought(words), scope(collections))
    if as_json:
        print_json([{**asdict(item), "turn": _turn(item.turn)} for item in found])
    else:
        rows = [[item.turn.session, item.turn.id, _minute(item.turn.asked_at), item.excerpt] for item in found]
        table(["session", "turn", "asked", "excerpt"], rows)
    if not found:
        note("Nothing found.")
        leave(NOTHING)


@app.command()
def export(
    ctx: typer.Context,
    id: Id,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Default, and -: stdout.", show_default=False)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="To read, in place of JSON.")] = False,
    html: Annotated[bool, typer.Option("--html", help="One page for a browser, in place of JSON.")] = False,
    force: Force = False,
) -> None:
    """Write a session as JSON, Markdown or HTML; the file is for its owner alone (mode 0600).

    \b
    loci sessions export 3 lease.json
    loci sessions export 3 lease.html
    loci sessions export 3 --markdown

    Without an option the file's ending decides. JSON has every branch, the others the one that was asked last.
    """
    from app.files import private_file
    from app.session_export import FORMS, export_session

    by_name = FORMS.get(file.suffix.casefold(), "json") if file is not None else "json"
    form = "markdown" if markdown else "html" if html else by_name

    with workspace(ctx) as opened:
        text = export_session(opened.memory, id, form)
    if file is None or str(file) == "-":
        write_exactly(text + "\n")
    else:
        with private_file(file, force=force) as out:
            out.write((text + "\n").encode())
        note(f"Session {id} is written to {file}.")


@app.command()
def delete(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID", show_default=False)],
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete sessions for good: turns, feedback, episodes. Facts learned from them stay.

    \b
    loci sessions delete 3 --dry-run
    loci sessions delete 3 --yes

    They go from the backups that this profile knows, too, and a receipt tells of a search of every byte: what it
    names as kept says the same and was not deleted. Exit code 4: something of them is left.
    """
    from app.cli.purging import purging
    from app.purge import purge_sessions

    with workspace(ctx) as opened, purging(opened, as_json, dry_run) as (report, earlier):
        ended = earlier.ended if earlier else ()
        found = [opened.memory.session(id) for id in dict.fromkeys(ids) if id not in ended]
        for session in found:
            if not dry_run:
                confirm(f"Delete session {session.id}, “{session.title}”?", yes)
        if found:
            report(purge_sessions(opened, [session.id for session in found], dry_run=dry_run))


def _minute(stamp: str) -> str:
    """Of a stored moment, which is in UTC."""
    return f"{stamp[:16].replace('T', ' ')}Z"


def _turn(turn: "Turn") -> dict[str, Any]:
    row = asdict(turn)
    stored = row.pop("answer_json")
    return row | {"result": json.loads(stored) if stored else None}
