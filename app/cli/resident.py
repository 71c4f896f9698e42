"""`loci resident`: the process that holds model and embedder between commands."""

import typer

from app.cli.door import NOTHING, AsJson, group, leave, note, print_json, profile_name, say

app = group("The process that holds model and embedder between commands.")


@app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Say whether it runs, what it holds and how long it will stay.

    \b
    loci resident status
    loci resident status --json

    Exit code 3: none runs.
    """
    from app.profile import locate_profile
    from app.resident.client import status as ask
    from app.resident.place import Place

    place = Place.of(locate_profile(profile_name(ctx)))
    found = ask(place)
    if as_json:
        print_json({"running": found is not None, "log": str(place.log)} | (found or {}))
    elif found is not None:
        holds = f"the model {found['model']}" if found["model"] else "no model yet"
        size = f", {found['memory_bytes'] / 1e9:.1f} GB of memory" if found["memory_bytes"] else ""
        say(f"It runs (process {found['pid']}) and holds {holds}{size}.")
        if found["busy"]:
            say(f"It is at work: {found['busy']} under way or waiting.")
        else:
            say(f"Unless it is asked something, it ends in {found['ends_in_seconds'] / 60:.0f} minutes.")
    if found is None:
        note("No resident runs for this profile.")
        leave(NOTHING)


@app.command()
def stop(ctx: typer.Context, as_json: AsJson = False) -> None:
    """End it now, and give its memory back; an answer under way is cut off, and kept as far as it came.

    \b
    loci resident stop

    The next command that needs it starts another.
    """
    from app.profile import locate_profile
    from app.resident.client import stop as end
    from app.resident.place import Place

    ended = end(Place.of(locate_profile(profile_name(ctx))))
    if as_json:
        print_json({"stopped": ended})
    else:
        note("It has ended." if ended else "No resident runs for this profile.")
