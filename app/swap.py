"""A profile's folders exchanged for others together: both or neither, whenever the process is killed.

A folder moves aside to `.NAME-replaced-*` before its successor comes. While one of the data folder's stands there the
exchange is not done, and the next opening of the profile takes it back; its renaming to `.NAME-restoring-*`, which is
scrap, is the moment at which the exchange counts.
"""

import fcntl
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.answer import Profile


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
            shutil.rmtree(scrap, ignore_errors=True)


def _scraps(target: Path) -> list[Path]:
    return sorted(target.parent.glob(f".{target.name}-restoring-old-*"))


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
