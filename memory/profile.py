"""The profile: the few statements that say most about the user, short enough to read and plain enough to edit.

It is a view of the memories, not a copy: an edited line is an edited memory, a deleted one a forgotten memory.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memory.types import Memory

WORDS = 200
"""What a person reads at a glance."""

_SHARE = {"instruction": 3, "preference": 2, "fact": 1, "event": 0, "episode": 0}
_HINT = ": change a line to correct it, delete it to forget it, add one without a number"
_HEAD = re.compile(r"^#((?:\s+\d+)+):")
_LINE = re.compile(r"^\s*(\d+)\s*[:.]\s*(.*\S)\s*$")


@dataclass(frozen=True, slots=True)
class Edits:
    """What a person did to a profile: new wordings by id, lines taken out, lines added."""

    changed: dict[int, str]
    removed: tuple[int, ...]
    added: tuple[str, ...]


def profile(memories: Sequence[Memory], words: int = WORDS) -> list[Memory]:
    """The valid statements that matter most, best first, within `words`.

    Pinned ones come first, then standing orders, preferences and facts, the more used before the less, the later before
    the earlier. Events and episodes pass; they are recalled when asked for.
    """
    lasting = [m for m in memories if m.valid_to is None and m.state == "active" and (m.pinned or _SHARE[m.kind])]
    lasting.sort(key=lambda m: (m.pinned, _SHARE[m.kind], m.uses, m.valid_from, m.id), reverse=True)
    chosen, left = [], words
    for memory in lasting:
        length = len(memory.text.split())
        if length <= left:
            chosen.append(memory)
            left -= length
    return chosen


def written(chosen: Sequence[Memory]) -> str:
    """The profile as lines to read or edit, under a line that names the memories that were there."""
    head = f"# {' '.join(str(memory.id) for memory in chosen)}{_HINT}\n" if chosen else ""
    return head + "".join(f"{memory.id}: {' '.join(memory.text.split())}\n" for memory in chosen)


def edits(known: Mapping[int, str], text: str) -> Edits:
    """What a person did to a profile that `written` gave, `text` being what became of it; `known`: wordings by id.

    Only what its first line names can be missing: what the store learned meanwhile is left alone.
    """
    first, _, rest = text.partition("\n")
    head = _HEAD.match(first)
    there = [int(number) for number in head[1].split()] if head else []
    after: dict[int, str] = {}
    added = []
    for line in (rest if head else text).splitlines():
        numbered = _LINE.match(line)
        if numbered and int(numbered[1]) in known:
            after[int(numbered[1])] = numbered[2]
        elif line.strip() and not line.lstrip().startswith("#"):
            added.append(line.strip())
    changed = {key: said for key, said in after.items() if said != " ".join(known[key].split())}
    return Edits(changed, tuple(key for key in there if key in known and key not in after), tuple(added))
