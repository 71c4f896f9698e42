"""Where a profile lives: XDG folders, or all under `LOCI_HOME`. The one module that knows the paths."""

import os
import re
import stat
from pathlib import Path

from app.answer import Profile
from app.errors import BadInput
from app.swap import recover

DEFAULT = "default"
PRIVATE = 0o700
SERVE_TOKEN = "serve-token"


def locate_profile(name: str | None = None, home: Path | None = None) -> Profile:
    """Folders of the profile `name` (None: `LOCI_PROFILE`, else "default"), none of which need exist.

    :param home: holds everything; None is `LOCI_HOME`, and XDG's folders where that is unset.
    :raises BadInput: if the name could leave its parent folder.
    """
    name = name or os.environ.get("LOCI_PROFILE") or DEFAULT
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise BadInput(f"{name!r} cannot name a profile.", "Use letters, digits, - and _.")
    chosen = home or os.environ.get("LOCI_HOME")
    if chosen:
        root = Path(chosen).expanduser().absolute()
        return Profile(name, root / "data" / name, root / "cache" / name, root / "config" / name)
    import platformdirs

    return Profile(
        name,
        platformdirs.user_data_path("loci") / name,
        platformdirs.user_cache_path("loci") / name,
        platformdirs.user_config_path("loci") / name,
    )


def open_profile(name: str | None = None, home: Path | None = None) -> Profile:
    """`locate_profile`, with its folders made and closed to other users; a restore that was killed is taken back."""
    profile = locate_profile(name, home)
    recover(profile)
    for folder in (profile.data, profile.cache, profile.config):
        make_private(folder)
    return profile


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter; an existing one is closed to others."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        if stat.S_IMODE(folder.stat().st_mode) != PRIVATE:
            folder.chmod(PRIVATE)
    except OSError as error:
        raise BadInput(f"{folder} cannot be used: {error.strerror}.", "Set LOCI_HOME to a folder you own.") from None


def config_file(profile: Profile) -> Path:
    return profile.config / "config.toml"


def templates(profile: Profile) -> Path:
    """Folder of the templates for `loci ask -t NAME`: files `NAME.txt` or `NAME.md`."""
    return profile.config / "templates"


def serve_token(profile: Profile) -> Path:
    """File of the secret that front ends show to `loci serve`; no part of a backup."""
    return profile.config / SERVE_TOKEN


def said_once(profile: Profile) -> Path:
    """File of the lines that are told once and then known; where it is deleted they are told again."""
    return profile.cache / "said-once"


def others(profile: Profile) -> list[str]:
    """Names of the other profiles beside this one."""
    folders = profile.data.parent.iterdir() if profile.data.parent.exists() else ()
    return sorted(one.name for one in folders if one.is_dir() and one.name != profile.name and one.name[0] != ".")


def shelves(profile: Profile) -> Path:
    """Folder of what models have read and need not read again; it can be deleted at any time."""
    return profile.cache / "shelves"


def plan_notes(profile: Profile) -> Path:
    """File of what plans for models got wrong here; it can be deleted at any time."""
    return profile.cache / "plans.json"


def runtime(profile: Profile) -> Path:
    """Folder of the resident's socket, lock and log: the login session's own where there is one.

    That is of this machine alone, while a home, with the cache in it, may be shared by several.
    """
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and Path(session).is_dir() and not os.environ.get("LOCI_HOME"):
        return Path(session) / "loci" / profile.name
    return profile.cache / "run"
