"""`loci encrypt` and `loci decrypt`: a profile that only its passphrase opens, and back."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.door import AsJson, Yes, asker, confirm, counted, note, print_json, profile_name

if TYPE_CHECKING:
    from app.encryption import Converted
    from app.keys import Keys


def register(app: typer.Typer) -> None:
    app.command()(encrypt)
    app.command()(decrypt)


def encrypt(
    ctx: typer.Context,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="Let the OS keyring hold the key, too: nobody is asked on this machine.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Encrypt the profile: both databases, with all that was read, asked and remembered (AES-256, SQLCipher).

    \b
    loci encrypt
    LOCI_PASSPHRASE_FD=3 loci encrypt --yes 3< passphrase.txt

    From then on commands need the passphrase: from the resident, which holds the key in memory while it runs; the OS
    keyring; LOCI_PASSPHRASE; a descriptor whose number is in LOCI_PASSPHRASE_FD; or they ask for it. A lost passphrase
    cannot be replaced. Caches are no longer written: vectors are indexed in memory, which takes each new process a
    moment in a large library, and models read pinned documents and old conversations anew. Not encrypted are settings,
    models and what was written elsewhere: exports, and backups from before. A disk may keep bytes of files that were
    overwritten.

    Exit code 1: the passphrase is wrong, or the packages are missing (`pip install 'loci-assistant[encryption]'`).
    Exit code 2: there is no passphrase, and nobody to ask.
    """
    from app.encryption import encrypt as convert
    from app.keys import Keys
    from app.profile import open_profile

    profile = open_profile(profile_name(ctx))
    passphrase = _new_passphrase(Keys(asker()))
    confirm(f"Encrypt the profile {profile.name!r}? Without the passphrase it is lost.", yes)
    _report(f"The profile {profile.name!r} is encrypted", convert(profile, passphrase, keyring=keyring), as_json)


def decrypt(ctx: typer.Context, yes: Yes = False, as_json: AsJson = False) -> None:
    """Write the profile without encryption again.

    \b
    loci decrypt
    """
    from app.encryption import decrypt as convert
    from app.keys import Keys
    from app.profile import open_profile

    profile = open_profile(profile_name(ctx))
    key = Keys(asker()).of(profile)
    confirm(f"Let everybody who has the files read the profile {profile.name!r}?", yes)
    _report(f"The profile {profile.name!r} is not encrypted any more", convert(profile, key), as_json)


def _new_passphrase(keys: "Keys") -> str:
    """Given to the process, or typed twice.

    :raises BadInput: neither, or not twice the same.
    """
    from app.errors import BadInput
    from app.keys import DESCRIPTOR, PASSPHRASE

    if given := keys.passphrases():
        return given[0]
    if keys.ask is None:
        raise BadInput("There is no passphrase, and nobody can be asked here.", f"Set {PASSPHRASE} or {DESCRIPTOR}.")
    first = keys.ask("New passphrase: ")
    if first != keys.ask("The same again: "):
        raise BadInput("These are two passphrases.", "Try again.")
    return first


def _report(text: str, done: "Converted", as_json: bool) -> None:
    if as_json:
        print_json({"databases": done.databases, "backups": done.backups})
        return
    note(f"{text}: {counted(len(done.databases), 'database')}.")
    for file in done.backups:
        note(f"As it was before: the backup {file}.")
