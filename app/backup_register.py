"""Which backups this profile wrote or came from, so that what is deleted for good can be taken out of them, too."""

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.answer import Profile
from app.files import private_file

REGISTER = "backups.json"


@contextmanager
def no_copies(profile: Profile) -> Iterator[None]:
    """Held while the profile is copied, or copies are hunted: a backup must not be written of what is being deleted."""
    with (profile.data / "copies.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def known_backups(profile: Profile) -> list[Path]:
    """Those that are still where they were."""
    try:
        names = json.loads((profile.data / REGISTER).read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return [Path(name) for name in names if Path(name).is_file()]


def remember_backups(profile: Profile, files: Iterable[Path]) -> None:
    """Add `files` to the known ones; those that are gone are dropped."""
    with private_file(profile.data / REGISTER, force=True) as out:
        out.write(register([*known_backups(profile), *files]))


def register(files: Iterable[Path]) -> bytes:
    """The content of the file `REGISTER`."""
    return json.dumps(sorted({str(file.absolute()) for file in files if file.is_file()})).encode()
