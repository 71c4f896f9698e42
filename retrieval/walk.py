"""Which files an ingest takes: folders walked in a fixed order, under .gitignore and .lociignore."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import NoSuchPath

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_IGNORE_FILES = (".gitignore", ".lociignore")
"""In one folder the later of these two has the last word."""
_LARGEST = 2**20
"""Bytes of such a file; what is larger holds no rules."""

_Rules = list[tuple[Path, "GitIgnoreSpec"]]


def walk(paths: Sequence[Path]) -> Iterator[Path]:
    """The files under `paths`, each once, sorted by name within each folder.

    A path that is named is taken even if it is hidden, ignored or a link. Below a named folder, hidden entries and
    what its ignore files (and those above it, up to the repository's root) exclude are left out, and links are not
    followed: what they point to inside the tree is met anyway. A folder that cannot be opened is given as a path of
    its own, so that reading it reports why.

    Raises NoSuchPath, before the first file, when a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise NoSuchPath(f"{path} does not exist.", "Check the spelling.")
    return _walk_all(paths)


def _walk_all(paths: Sequence[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in paths:
        found = _walk_folder(path, _rules_above(path)) if path.is_dir() else iter((path,))
        for file in found:
            key = Path(os.path.abspath(file))  # noqa: PTH100  resolve() would follow the link that was named
            if key not in seen:
                seen.add(key)
                yield file


def _walk_folder(folder: Path, rules: _Rules) -> Iterator[Path]:
    """With what is left of each folder on the way down in a list: a tree may be deeper than Python's stack."""
    left = [_entries(folder, rules)]
    while left:
        path, inner = next(left[-1], (None, None))
        if path is None:
            left.pop()
        elif inner is None:
            yield path
        else:
            left.append(_entries(path, inner))


def _entries(folder: Path, rules: _Rules) -> Iterator[tuple[Path, _Rules | None]]:
    """What is taken of a folder: files, and folders with the rules that hold beside their own."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError:
        yield folder, None
        return
    rules = rules + _rules_of(folder)
    base = folder.absolute()
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if _ignored(base / entry.name, is_folder, rules):
            continue
        if is_folder:
            yield folder / entry.name, rules
        elif entry.is_file(follow_symlinks=False):
            yield folder / entry.name, None


def _rules_above(folder: Path) -> _Rules:
    """Rules of the repository that holds a named folder, unless they exclude the very folder that was named."""
    folder = folder.absolute()
    root = next((up for up in folder.parents if (up / ".git").exists()), None)
    if root is None or (folder / ".git").exists():
        return []
    above = [up for up in reversed(folder.parents) if up == root or root in up.parents]
    rules = [rule for up in above for rule in _rules_of(up)]
    return [] if any(_ignored(up, True, rules) for up in (folder, *folder.parents) if root in up.parents) else rules


def _rules_of(folder: Path) -> _Rules:
    from retrieval.ignore_rules import ignore_rules

    rules: _Rules = []
    for name in _IGNORE_FILES:
        file = folder / name
        try:
            if not file.is_file() or file.stat().st_size > _LARGEST:
                continue  # a pipe or a device may never end
            lines = file.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        rules.append((folder.absolute(), ignore_rules(lines)))
    return rules


def _ignored(path: Path, is_folder: bool, rules: _Rules) -> bool:
    """The innermost rule that speaks about the path decides, as in git."""
    for base, spec in reversed(rules):
        relative = path.relative_to(base).as_posix() + ("/" if is_folder else "")
        if (verdict := spec.check_file(relative).include) is not None:
            return verdict
    return False
