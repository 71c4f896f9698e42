"""Pinned documents are read once: their part of the model's cache is kept on disk and opens the prompt of a question.

Knows nothing about how that is stored.
"""

from app import prompts
from app.context import SLACK, openings
from app.profile import shelves
from app.prose import whole_document
from app.workspace import Workspace
from model.engine import KeepsShelves


def label(collection: str) -> str:
    return f"pinned in {collection}"


def keep(workspace: Workspace, collection: str) -> int | None:
    """Let the model read the pinned documents of `collection`, as far as its window has room, and keep that.

    Returns the tokens. None where there is nothing to keep: no document is pinned, or the model is not one that reads
    whole documents here.

    :raises ModelError: the model cannot be loaded, or there is no room on disk.
    """
    documents = [one for one in workspace.library.documents((collection,)) if one.pinned]
    info = workspace.model_info()
    if not documents or info.engine != "torch" or "chat" not in info.capabilities:
        forget(workspace, collection)
        return None
    engine = workspace.engine()
    if not isinstance(engine, KeepsShelves):
        return None
    passages = [whole_document(one, workspace.library.text(one.id)) for one in documents]
    room = engine.describe().context // 2 - SLACK  # the rest is for question, passages and answer
    while passages and engine.count_tokens(openings(prompts.SYSTEM, passages)[0]) > room:
        passages.pop()
    if not passages:
        return None
    return engine.shelve(openings(prompts.SYSTEM, passages), label(collection))


def forget(workspace: Workspace, collection: str) -> None:
    """Remove from disk what models read of the pinned documents of `collection`."""
    folder = shelves(workspace.profile)
    if not folder.exists():
        return
    from model.shelves import Shelves  # loads torch: about 2 s

    kept = Shelves(folder, 0)
    for shelf in kept.all():
        if shelf.label == label(collection):
            kept.remove(shelf.key)
