"""Deletion that can be proven: of memories or documents, from wherever the profile has them, down to the bytes.

What is deleted is written to a journal first, and the journal goes last: after a kill, the deletion is as if it had not
begun, done, or taken up again by the next one, by the same command or by `loci doctor --fix`.
"""

import glob
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.answer import Profile
from app.backup import back_up, unpack
from app.backup_register import REGISTER, known_backups, no_copies
from app.errors import LociError
from app.pinned import forget, forget_sessions
from app.profile_files import SCRATCH
from app.purge_journal import Ending, Going, Task, done, journal, read, write
from app.traces import Left, Search, every_file, search
from app.workspace import Workspace
from memory.store import MemoryStore
from memory.types import NOTHING, Purged, joined
from retrieval.cipher import Key
from retrieval.library import Library


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted, where words were blotted out, and what a search of all bytes found afterwards."""

    memories: tuple[int, ...]
    turns: tuple[int, ...]
    sessions: tuple[int, ...]
    """whose titles were changed"""
    feedback: tuple[int, ...]
    documents: tuple[str, ...]
    backups: tuple[str, ...]
    """that were written anew without it"""
    texts: int
    words: int
    """that stood nowhere else"""
    files: int
    bytes: int
    left: tuple[Left, ...]
    ended: tuple[int, ...] = ()
    """Sessions that were deleted, with their turns."""

    @property
    def clean(self) -> bool:
        """Nothing is left but what was not deleted and says the same."""
        return all(one.kept for one in self.left)


def purge_memories(workspace: Workspace, ids: Sequence[int], *, dry_run: bool = False) -> Receipt:
    """Delete memories with their earlier wordings, what they superseded and what quotes them.

    :raises NoSuchMemory: there is no such memory.
    :raises DatabaseProblem: another process keeps a file from being rewritten; the deletion is taken up later.
    """
    told = workspace.memory.purge(*ids, elsewhere=workspace.library.holds, dry_run=True)
    if dry_run:
        return _receipt(told, (), (), Search(0, 0, ()))
    return _run(workspace, Task(trial=told))


def purge_documents(workspace: Workspace, references: Sequence[str], *, dry_run: bool = False) -> Receipt:
    """Delete documents from the library, and what turns have of them; the files they were read from stay.

    :raises NoSuchDocument: there is no such document.
    :raises DatabaseProblem: as for memories.
    """
    library = workspace.library
    found = [library.document(reference) for reference in references]
    going = tuple(
        Going(one.id, one.collection, one.path, one.title, one.text_sha256, library.text(one.id), one.pinned)
        for one in found
    )
    if dry_run:
        elsewhere = partial(library.holds, but=[one.id for one in going])
        told = workspace.memory.erase((), [one.gone() for one in going], elsewhere=elsewhere, dry_run=True)
        return _receipt(joined(told), [one.id for one in going], (), Search(0, 0, ()))
    return _run(workspace, Task(documents=going))


def purge_sessions(workspace: Workspace, ids: Sequence[int], *, dry_run: bool = False) -> Receipt:
    """Delete sessions with their turns, feedback and episodes; facts learned from them stay.

    :raises NoSuchSession: there is no such session.
    :raises DatabaseProblem: as for memories.
    """
    memory = workspace.memory
    going = [
        Ending(
            id, memory.session(id).started, memory.delete_session(id, elsewhere=workspace.library.holds, dry_run=True)
        )
        for id in ids
    ]
    if dry_run:
        return _receipt(joined([one.trial for one in going]), (), (), Search(0, 0, ()), ids)
    return _run(workspace, Task(sessions=tuple(going)))


def resume(workspace: Workspace) -> Receipt | None:
    """End the deletion that was interrupted; None where there is none."""
    task = read(workspace.profile, workspace.key)
    return _run(workspace, task) if task else None


def unfinished(profile: Profile) -> bool:
    return journal(profile).exists()


def _run(workspace: Workspace, task: Task) -> Receipt:
    profile = workspace.profile
    with no_copies(profile):
        # 1. What is to go, on disk: from here on it can be taken up again.
        write(profile, task, workspace.key)
        # 2. Rows, in one transaction for each database.
        purged = _delete(workspace.memory, workspace.library, task)
        # 3. What models read and may hold of it, and what interrupted copies left.
        forget_sessions(workspace)
        for document in task.documents:
            if document.pinned:
                forget(workspace, document.collection)
        _sweep(profile)
        # 4. Backups.
        rewritten: list[str] = []
        searched = Search(0, 0, ())
        for file in known_backups(profile):
            changed, found = _clean_backup(workspace, file, task, purged.words)
            rewritten += [str(file)] * changed
            searched += found
        # 5. The bytes that are free now.
        workspace.memory.scrub()
        if task.documents:
            workspace.library.scrub()
        # 6. The proof.
        searched += search(every_file(profile), task.texts, purged.words, workspace.key)
        done(profile)
    return _receipt(purged, [one.id for one in task.documents], rewritten, searched, [one.id for one in task.sessions])


def _delete(memory: MemoryStore, library: Library, task: Task) -> Purged:
    """The rows of one profile; doing it again finds nothing more. Returns what went, now or before."""
    there = {(one.collection, one.path): one.id for one in library.documents()} if task.documents else {}
    for document in task.documents:
        if id := there.get((document.collection, document.path)):
            library.remove(id)
    gone = [one.gone() for one in task.documents]
    ended = [one.gone() for one in task.sessions]
    found = memory.erase(task.trial.texts, gone, ended, elsewhere=library.holds)
    return joined([task.trial, *(one.trial for one in task.sessions), *found])


def _clean_backup(workspace: Workspace, file: Path, task: Task, words: Sequence[str]) -> tuple[bool, Search]:
    """Take it out of a backup, which is packed anew if it was there; and search what is packed."""
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=workspace.profile.data) as scratch:
            folders = {part: Path(scratch) / part for part in ("data", "config", "cache")}
            for folder in folders.values():
                folder.mkdir()
            manifest = unpack(file, folders, workspace.keys)
            inside = Profile(manifest["profile"], folders["data"], folders["cache"], folders["config"])
            key = workspace.keys.of(inside)  # of its time: the profile may be encrypted now, or no longer
            named = [(f"{file}: {path.relative_to(scratch)}", path) for _, path in every_file(inside)]
            traces = any(not one.kept for one in search(named, task.texts, words, key).left)
            with (
                closing(_memory(workspace, inside, key)) as memory,
                closing(_library(workspace, inside, key)) as library,
            ):
                held = len(library.documents())
                sessions = tuple(replace(one, trial=NOTHING) for one in task.sessions)
                anew = replace(task, trial=replace(NOTHING, texts=task.trial.texts), sessions=sessions)
                purged = _delete(memory, library, anew)
                rows = (purged.memories, purged.turns, purged.sessions, purged.feedback)
                changed = traces or any(rows) or held > len(library.documents())
                memory.scrub()
                library.scrub()
            if changed:
                back_up(inside, file, key, force=True, created=manifest["created"])
            return changed, search(named, task.texts, words, key)
    except (*LociError, OSError) as error:
        return False, Search(0, 0, (Left(f"{file}: not searched ({error})", kept=False),))


def _memory(workspace: Workspace, profile: Profile, key: Key | None) -> MemoryStore:
    embedder = workspace.embedder
    return MemoryStore(profile.data, workspace.settings.memory, embedder.encode, embedder.id, key)


def _library(workspace: Workspace, profile: Profile, key: Key | None) -> Library:
    return Library(profile.data, profile.cache, workspace.settings.retrieval, lambda: workspace.embedder, key)


def _sweep(profile: Profile) -> None:
    """What a backup, a restore or a deletion left that was killed: no other runs meanwhile."""
    for part in (profile.data, profile.config):
        for scrap in (*part.glob(f"{SCRATCH}*"), *part.parent.glob(f".{part.name}-restoring-*")):
            shutil.rmtree(scrap, ignore_errors=True)
    for file in (journal(profile), profile.data / REGISTER, *known_backups(profile)):
        for begun in file.parent.glob(f"{glob.escape(file.name)}.*.part"):  # as `private_file` names them
            begun.unlink(missing_ok=True)


def _receipt(
    purged: Purged, documents: Iterable[str], backups: Iterable[str], searched: Search, ended: Sequence[int] = ()
) -> Receipt:
    return Receipt(
        purged.memories,
        purged.turns,
        tuple(id for id in purged.sessions if id not in ended),
        purged.feedback,
        tuple(documents),
        tuple(backups),
        len(purged.texts),
        len(purged.words),
        searched.files,
        searched.bytes,
        searched.left,
        tuple(ended),
    )
