"""How much of what answers a question enters a prompt of few tokens: the packer beside whole passages by rank."""

from collections.abc import Callable, Sequence

from app.context import rendered
from app.packing import fitted
from app.settings_assistant import AssistantSettings
from retrieval.types import Passage

BUDGETS = (250, 500, 1500, 4000)
"""Tokens of the embedder that the passages may take, with what fences them in the prompt."""


def packed(question: str, found: Sequence[Passage], count: Callable[[str], int], room: int) -> list[Passage]:
    """The passages, whole or in part, that the assistant would put into `room` tokens."""

    def size(passage: Passage) -> int:
        return count(rendered(1, passage))

    taken = found[: AssistantSettings().passages]
    return flat([one for one in fitted(question, taken, size, room) if one is not None], count, room)


def flat(found: Sequence[Passage], count: Callable[[str], int], room: int) -> list[Passage]:
    """Whole passages by rank, as many as fit."""
    kept = []
    for one in found[: AssistantSettings().passages]:
        size = count(rendered(1, one))
        if size <= room:
            kept.append(one)
            room -= size
    return kept
