"""`loci backup` and `loci restore`: a profile in one file, and back."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.door import AsJson, Force, Yes, asker, confirm, counted, note, print_json, profile_name


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write the profile to one file; Loci may be running meanwhile.

    \b
    loci backup loci-2026-01-31.zip

    Documents' texts, memories, sessions and settings are in it; models and caches are not. The backup of an encrypted
    profile is encrypted, and opens with the passphrase of its time.
    """
    from app.backup import back_up
    from app.keys import Keys
    from app.profile import locate_profile

    profile = locate_profile(profile_name(ctx))
    manifest = back_up(profile, file, Keys(asker()).of(profile), force=force)
    _report(f"{file}: {counted(len(manifest['files']), 'file')}, {file.stat().st_size / 1e6:.1f} MB", manifest, as_json)


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `loci backup` wrote.", show_default=False)],
    force: Force = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Bring a profile back from a backup, whole or not at all.

    \b
    loci --profile second restore loci-2026-01-31.zip
    loci restore loci-2026-01-31.zip --force --yes

    A profile that holds anything is replaced only with --force.
    """
    from app.backup import restore as bring_back
    from app.errors import BadInput
    from app.keys import Keys
    from app.profile import locate_profile

    if not file.is_file():
        raise BadInput(f"{file} is no file.", "Give a file that `loci backup` wrote.")
    profile = locate_profile(profile_name(ctx))
    if force:
        confirm(f"Replace the profile {profile.name!r}?", yes)
    manifest = bring_back(file, profile, Keys(asker()), force=force)
    _report(f"Restored {profile.name!r} as of {manifest['created']}", manifest, as_json)


def _report(text: str, manifest: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(manifest)
    else:
        note(text)
