"""What is being deleted for good, kept until it is done: a deletion that was killed is taken up again.

The journal holds the very text that is to go, so it is removed last, and no backup takes it.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.answer import Profile
from app.files import private_file
from memory.ended import GoneSession
from memory.erase import GoneDocument
from memory.quoting import Document
from memory.types import NOTHING, Purged
from retrieval.cipher import Key


@dataclass(frozen=True, slots=True)
class Going:
    """A document on its way out of the library."""

    id: str
    collection: str
    path: str
    title: str
    sha256: str
    text: str
    pinned: bool

    def gone(self) -> GoneDocument:
        """As the memory looks for it in turns: by what cites it, by its words, by its path and the name of its file."""
        return GoneDocument(self.id, self.sha256, Document(self.text, (self.path, Path(self.path).name)))


@dataclass(frozen=True, slots=True)
class Ending:
    """A session on its way out, as a trial found what would go."""

    id: int
    started: str
    trial: Purged

    def gone(self) -> GoneSession:
        return GoneSession(self.id, self.started)


@dataclass(frozen=True, slots=True)
class Task:
    """One deletion: of documents, of sessions, or of memories, as a trial found what would go."""

    documents: tuple[Going, ...] = ()
    trial: Purged = NOTHING
    sessions: tuple[Ending, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is to be looked for afterwards."""
        ended = (text for one in self.sessions for text in one.trial.texts)
        return (*self.trial.texts, *(one.text for one in self.documents), *ended)


def journal(profile: Profile) -> Path:
    return profile.data / "purge.journal"


def write(profile: Profile, task: Task, key: Key | None = None) -> None:
    """Put the journal on disk, under the profile's `key`; from here on the deletion can be taken up again."""
    content = json.dumps(asdict(task)).encode()
    with private_file(journal(profile), force=True) as out:
        out.write(content if key is None else key.seal(content))
    folder = os.open(profile.data, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(profile: Profile, key: Key | None = None) -> Task | None:
    """The deletion that was not ended; None if there is none."""
    try:
        content = journal(profile).read_bytes()
    except FileNotFoundError:
        return None
    kept = json.loads(content if key is None else key.unseal(content))
    sessions = tuple(Ending(one["id"], one["started"], _purged(one["trial"])) for one in kept.get("sessions", ()))
    return Task(tuple(Going(**one) for one in kept["documents"]), _purged(kept["trial"]), sessions)


def _purged(kept: dict[str, Any]) -> Purged:
    return Purged(**{name: tuple(values) for name, values in kept.items()})


def done(profile: Profile) -> None:
    journal(profile).unlink(missing_ok=True)
