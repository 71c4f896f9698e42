"""What models read is kept on disk: pinned documents, whose part of the cache opens the prompt of a question, and
conversations. It goes when its text does.

Knows nothing about how that is stored.
"""

from dataclasses import dataclass

from app import prompts
from app.context import SLACK, openings
from app.keys import is_encrypted
from app.profile import shelves
from app.prose import whole_document
from app.workspace import Workspace
from model.engine import SESSION, KeepsShelves


def label(collection: str) -> str:
    return f"pinned in {collection}"


@dataclass(frozen=True, slots=True)
class Kept:
    tokens: int
    documents: int
    """of the pinned ones, those that the window has room for"""
    pinned: int


def keep(workspace: Workspace, collection: str) -> Kept | None:
    """Let the model read the pinned documents of `collection`, as far as its window has room, and keep that.

    None where there is nothing to keep: no document is pinned or fits, the model is not one that reads whole documents
    here, or the profile is encrypted.

    :raises ModelError: the model cannot be loaded, or there is no room on disk.
    """
    documents = [one for one in workspace.library.documents((collection,)) if one.pinned]
    info = workspace.model_info()
    if documents and info.engine != "remote" and "chat" in info.capabilities and not is_encrypted(workspace.profile):
        engine = workspace.engine()
        passages = [whole_document(one, workspace.library.text(one.id)) for one in documents]
        room = engine.describe().context // 2 - SLACK  # the rest is for question, passages and answer
        while passages and engine.count_tokens(openings(prompts.SYSTEM, passages)[0]) > room:
            passages.pop()
        if passages and isinstance(engine, KeepsShelves):
            tokens = engine.shelve(openings(prompts.SYSTEM, passages), label(collection))
            return Kept(tokens, len(passages), len(documents))
    forget(workspace, collection)
    return None


def forget(workspace: Workspace, collection: str) -> bool:
    """Remove from disk what models read of the pinned documents of `collection`; whether there was anything."""
    return _discard(workspace, label(collection))


def forget_sessions(workspace: Workspace) -> None:
    """Remove from disk what models read in conversations: it may hold what was just deleted, and tokens do not tell.

    The resident forgets them too. A conversation that another process holds open meanwhile is still kept when it ends.
    """
    from app.resident.client import tell_to_forget

    tell_to_forget(workspace.profile)
    forget_own_sessions(workspace)


def forget_own_sessions(workspace: Workspace) -> None:
    """The same, of this process's model alone."""
    engine = workspace.engine() if workspace.model_loaded else None
    if isinstance(engine, KeepsShelves):
        engine.forget_sessions()
    else:
        _discard(workspace, SESSION)


def _discard(workspace: Workspace, label: str) -> bool:
    folder = shelves(workspace.profile)
    if not any(folder.glob("*.json")):
        return False
    from model.shelves import Shelves  # loads torch: about 2 s

    return Shelves(folder, 0).discard(label)
