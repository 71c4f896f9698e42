"""Memories as `loci memory` prints them, for people or as JSON."""

from typing import TYPE_CHECKING

from app.cli.door import note, print_json, say, table
from app.cli.show import memory_json

if TYPE_CHECKING:
    from memory.types import Memory

_STATES = {"active": "active", "archived": "archived", "tombstone": "forgotten"}
"""As the commands call them."""


def show_one(memory: "Memory", as_json: bool) -> None:
    """A memory with its traits below."""
    if as_json:
        print_json(memory_json(memory))
        return
    traits = [memory.kind, _state(memory), *(["pinned"] if memory.pinned else []), f"in {memory.scope}"]
    say(f"{memory.id}  {memory.text}\n    {', '.join(traits)}, since {memory.created}")
    if memory.valid_to is not None:
        by = "" if memory.superseded_by is None else f", superseded by {memory.superseded_by}"
        say(f"    held until {memory.valid_to}{by}")


def show_list(found: "list[Memory]", as_json: bool) -> None:
    """Memories, one a row."""
    if as_json:
        print_json([memory_json(memory) for memory in found])
    elif found:
        rows = [
            [item.id, item.kind, item.scope, item.created[:10], _state(item), "yes" * item.pinned, item.text]
            for item in found
        ]
        table(["id", "kind", "in", "since", "state", "pinned", "text"], rows)
    else:
        note("Nothing remembered yet.")


def _state(memory: "Memory") -> str:
    """In a word; what holds no more is kept, and is told from what does."""
    return "superseded" if memory.state == "active" and memory.valid_to is not None else _STATES[memory.state]
