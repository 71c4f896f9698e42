"""A profile's folders exchanged for others together: both or neither, whenever the process is killed.

A successor is made in `.NAME-restoring-*`, which is scrap once nobody holds it; a folder moves aside to
`.NAME-replaced-*` before its successor comes. While one of the data folder's stands there the
exchange is not done, and the next opening of the profile takes it back; its renaming to `.NAME-restoring-*`, which is
scrap, is the moment at which the exchange counts.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.answer import Profile


@contextmanager
def staging(profile: Profile) -> Iterator[dict[str, Path]]:
    """Folders `data` and `config` for what is to take the places of the profile's; they go with the block, or after a
    kill when the profile is opened again."""
    for target in (profile.data, profile.config):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as held:
        with _alone(profile):  # until they are held, they look abandoned
            staged = {
                part: held.enter_context(_held(folder))
                for part, folder in (("data", profile.data), ("config", profile.config))
            }
        yield staged


@contextmanager
def _held(target: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-restoring-", dir=target.parent))
    descriptor = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield made
    finally:
        os.close(descriptor)
        shutil.rmtree(made, ignore_errors=True)


def exchange(profile: Profile, data: Path, config: Path) -> None:
    """Put the folders `data` and `config` in the profile's places. Models stay: they are not in a backup.

    :raises OSError: one could not be put there; all is as before.
    """
    profile.data.mkdir(parents=True, exist_ok=True)  # there must be one to move aside
    with _alone(profile):
        _take_back(profile)
        try:
            for new, target in ((data, profile.data), (config, profile.config)):
                if target.exists():
                    target.rename(target.with_name(f".{target.name}-replaced-{secrets.token_hex(4)}"))
                new.replace(target)
            for old in _replaced(profile.data):
                _move_models(old, profile.data)
        except OSError:
            _take_back(profile)
            raise
        _discard(profile)


def recover(profile: Profile) -> None:
    """Take back an exchange that was killed before it counted, and sweep what is left of one that did; waits for one
    that is under way."""
    if any(_replaced(one) or _scraps(one) for one in (profile.data, profile.config)):
        with _alone(profile):
            _take_back(profile)


def _take_back(profile: Profile) -> None:
    if not _replaced(profile.data):
        _discard(profile)  # it counted, and only the tidying was cut short
        return
    for target in (profile.config, profile.data):  # the data folder last: it is the mark of what is not done
        for old in _replaced(target):
            if target.exists():
                _move_models(target, old)
                target.rename(_scrap(target))
            old.rename(target)
    _sweep(profile)


def _discard(profile: Profile) -> None:
    for target in (profile.data, profile.config):
        for old in _replaced(target):
            old.rename(_scrap(target))
    _sweep(profile)


def _sweep(profile: Profile) -> None:
    for target in (profile.data, profile.config):
        for scrap in _scraps(target):
            if _is_abandoned(scrap):
                shutil.rmtree(scrap, ignore_errors=True)


def _scraps(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f".{target.name}-restoring-*"))


def _is_abandoned(scrap: Path) -> bool:
    descriptor = os.open(scrap, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def _replaced(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f".{target.name}-replaced-*"))


def _scrap(target: Path) -> Path:
    return target.with_name(f".{target.name}-restoring-old-{secrets.token_hex(4)}")


def _move_models(source: Path, target: Path) -> None:
    if (source / "models").is_dir() and not (target / "models").exists():
        (source / "models").replace(target / "models")


@contextmanager
def _alone(profile: Profile) -> Iterator[None]:
    with profile.data.with_name(f"{profile.name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
