"""What belongs to a profile and goes where it goes, into a backup or under a key: the files of its folders.

Not what belongs to a running process, and not models, which are large and come from elsewhere.
"""

from collections.abc import Iterator
from pathlib import Path

SCRATCH = "loci-backup-"
"""How the name of a folder begins in which copies are made."""
_PASSING = ("-wal", "-shm", "-journal", ".lock", ".journal", ".part")
"""Ends of names that belong to a running process, or are left of one that was killed. What logs of databases hold comes
with the databases: by SQLite's backup, or because nobody else has them open."""


def own_files(folder: Path) -> Iterator[Path]:
    """Files, and links as links, of a profile's data or config folder, in a fixed order."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        first = path.relative_to(folder).parts[0]
        if (
            (path.is_file() or path.is_symlink())
            and not path.name.endswith(_PASSING)
            and first != "models"
            and not first.startswith(SCRATCH)
        ):
            yield path
