"""`loci settings`: what can be set, what is set, and in which file."""

import typer

from app.cli.door import AsJson, note, print_json, say, workspace


def register(app: typer.Typer) -> None:
    app.command()(settings)


def settings(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print all settings in force with what they mean, as a config.toml.

    A flag goes over the environment (LOCI_GROUP__KEY), that over config.toml in the profile's configuration folder.
    The file need not exist, and needs only the keys that you change.

    \b
    loci settings
    loci settings --json
    LOCI_MODEL__DEVICE=cpu loci ask "Who signed it?"
    """
    from app.profile import config_file
    from app.settings_text import as_toml, leaves, origins

    with workspace(ctx) as opened:
        file, values = config_file(opened.profile), opened.settings
    origin = origins(file)
    if as_json:
        rows = [
            {"key": f"{group}.{name}", "value": value, "from": origin[f"{group}.{name}"], "help": meant}
            for group, name, meant, value in leaves(values)
        ]
        print_json({"file": str(file), "exists": file.exists(), "settings": rows})
        return
    say(as_toml(values, origin).rstrip())
    changed = [key for key, where in origin.items() if where == "file"]
    if not file.exists():
        note(f"There is no {file} yet; make it with the keys to change.")
    else:
        note(f"{file} sets {', '.join(changed) or 'nothing'}.")
