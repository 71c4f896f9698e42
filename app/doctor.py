"""What is well and what is not with this installation and profile, each with its mend."""

import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from app.answer import Profile
from app.errors import BadSettings, LociError
from app.foreign import MEND, beyond_embedder
from app.profile import PRIVATE, make_private, shelves
from app.workspace import Workspace
from model.errors import install_command
from retrieval.cipher import is_encrypted

SPACE = 1 << 30
"""Bytes free from which a profile's disk counts as well."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `warning` is something that works but should be known."""

    check: str
    state: Literal["ok", "warning", "problem"]
    detail: str
    mend: str = ""


def examine(
    profile: Profile, opening: Callable[[], AbstractContextManager[Workspace]], *, fix: bool = False
) -> Iterator[Finding]:
    """Every check in turn; with `fix` the ones that can mend what they find do so, and report what is left.

    :param opening: opens the profile; with settings that cannot be, nothing behind them is checked.
    """
    yield from _installation()
    yield from _folders(profile, fix)
    try:
        with opening() as workspace:
            yield Finding("settings", "ok", "")
            try:
                yield _encryption(workspace, fix)
            except LociError as error:
                yield Finding("encryption", "problem", error.message, error.mend)
                return
            yield from _rooms(workspace, fix)
    except BadSettings as error:
        yield Finding("settings", "problem", error.message, error.mend)


def _rooms(workspace: Workspace, fix: bool) -> Iterator[Finding]:
    yield from _deletion(workspace, fix)
    for room, check in (
        ("library", lambda: workspace.library.check(fix)),
        ("memory", lambda: workspace.memory.check(fix)),
        ("embedder", lambda: _embedder(workspace)),
        ("model", lambda: _model(workspace)),
    ):
        yield from _room(room, check)
    if workspace.settings.retrieval.reranker:
        yield from _room("reranker", lambda: _reranker(workspace))
    yield from _languages(workspace)


def _languages(workspace: Workspace) -> Iterator[Finding]:
    """Languages of documents that the embedder hardly reads."""
    try:
        found = workspace.library.languages_beyond()
        name = workspace.library.embedder.id
    except LociError:
        return  # said of the library or the embedder already
    for language, count in sorted(found.items()):
        yield Finding("languages", "warning", f"{count} documents in {language}, which {beyond_embedder(name)}", MEND)


def _installation() -> Iterator[Finding]:
    yield Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))
    try:
        sqlite3.connect(":memory:").execute("CREATE VIRTUAL TABLE t USING fts5(x)")
        yield Finding("sqlite", "ok", f"{sqlite3.sqlite_version} with FTS5")
    except sqlite3.OperationalError:
        yield Finding("sqlite", "problem", "no FTS5", "Use a Python whose SQLite has full-text search.")
    if find_spec("faiss"):
        yield Finding("faiss", "ok", "installed")
    else:
        yield Finding("faiss", "problem", "not installed", f"{install_command('cpu')}, or [gpu]")
    yield _gguf()


def _gguf() -> Finding:
    if not find_spec("llama_cpp"):
        return Finding("gguf", "warning", "GGUF models cannot be opened", install_command("gguf"))
    from model.llama_library import uses_gpus
    from model.plan.machine import visible_gpus
    from model.plan.make import IDLE_GPUS, WITH_CUDA

    if visible_gpus() and not uses_gpus():
        return Finding("gguf", "warning", IDLE_GPUS, WITH_CUDA)
    return Finding("gguf", "ok", "llama-cpp-python is installed")


def _folders(profile: Profile, fix: bool) -> Iterator[Finding]:
    for name, folder in (("data", profile.data), ("cache", profile.cache), ("config", profile.config)):
        if fix:
            make_private(folder)
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode == PRIVATE:
            yield Finding(name, "ok", str(folder))
        else:
            yield Finding(name, "problem", f"{folder} is open to others ({mode:o})", "loci doctor --fix")
    free = shutil.disk_usage(profile.data).free
    state: Literal["ok", "warning"] = "ok" if free >= SPACE else "warning"
    yield Finding("disk", state, f"{free / 1e9:.1f} GB free", "" if state == "ok" else "Free some space.")


def _encryption(workspace: Workspace, fix: bool) -> Finding:
    """Whether the profile is encrypted, can be opened, and has nothing that is not."""
    if workspace.key is None:
        return Finding("encryption", "ok", "off; `loci encrypt` turns it on")
    profile = workspace.profile
    plain = [file for file in profile.data.glob("*.db") if not is_encrypted(file)]
    caches = [*profile.cache.rglob("*.faiss"), *shelves(profile).glob("*")]
    if fix:
        for file in caches:
            file.unlink(missing_ok=True)
    if left := plain or ([] if fix else caches):
        names = ", ".join(file.name for file in left[:3])
        mend = "Restore a backup (`loci restore FILE`)." if plain else "loci doctor --fix"
        return Finding("encryption", "problem", f"the profile is encrypted, and these are not: {names}", mend)
    return Finding("encryption", "ok", "AES-256: databases by SQLCipher; no caches are written")


def _deletion(workspace: Workspace, fix: bool) -> Iterator[Finding]:
    """A deletion for good that was killed in its middle."""
    from app.purge import resume, unfinished

    if not unfinished(workspace.profile):
        return
    if not fix:
        yield Finding("purge", "problem", "a deletion for good was interrupted", "loci doctor --fix")
        return
    receipt = resume(workspace)
    if receipt and not receipt.clean:
        left = ", ".join(one.place for one in receipt.left if not one.kept)
        yield Finding("purge", "problem", f"a deletion was ended, and traces are left: {left}", "loci doctor --fix")


def _embedder(workspace: Workspace) -> list[str]:
    workspace.embedder.encode(["one sentence"])
    return []


def _reranker(workspace: Workspace) -> list[str]:
    workspace.library.second_look.check()
    return []


def _model(workspace: Workspace) -> list[str]:
    workspace.load()
    return []


def _room(room: str, check: Callable[[], list[str]]) -> Iterator[Finding]:
    try:
        problems = check()
    except LociError as error:
        yield Finding(room, "problem", error.message, error.mend)
        return
    except ImportError as error:
        yield Finding(room, "problem", f"a package is missing: {error}", "Reinstall Loci.")
        return
    for problem in problems:
        yield Finding(room, "problem", problem, "loci doctor --fix")
    if not problems:
        yield Finding(room, "ok", "")
