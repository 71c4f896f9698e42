"""Why a memory is there, was recalled, and is kept: what `MemoryStore.why` tells, in lines for any door."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memory.types import Source


def reasons(source: "Source", why: Mapping[str, Any]) -> list[str]:
    """Where a memory comes from and what it was used for, as `MemoryStore.why` tells."""
    said = why["said"]
    origins = {
        "command": "added by a command",
        "import": "imported",
        "summary": f"sum of session {source.session}",
        "told": f"told as feedback on turn {source.turn}",
    }
    origin = origins.get(source.how, f"learnt from turn {source.turn}")
    lines = [f"said on {said['asked_at'][:10]}: “{said['question']}”" if said else origin]
    if why["sums_up"]:
        lines.append(f"sums up memories {', '.join(str(one) for one in why['sums_up'])}")
    lines += [f"replaced memory {old['id']}: “{old['text']}”" for old in why["replaced"]]
    lines.append(f"confirmed {why['confirmations']}, recalled {why['recalled']}, cited {why['cited']} times")
    for shown in why["exposures"]:
        parts = {"meaning": shown["dense"], "words": shown["lexical"]}
        near = "".join(f", {name} {value:.2f}" for name, value in parts.items() if value is not None)
        cited = ", cited" if shown["cited"] else ""
        lines.append(f"  turn {shown['turn']} on {shown['at'][:10]}, rank {shown['rank']}{near}{cited}")
    return lines


def retention_reasons(why: Mapping[str, Any] | None) -> list[str]:
    """Why a memory is likely to be used, or not, as `MemoryStore.why` tells under `retention`."""
    if why is None:
        return []
    lines = [f"likely to be used: {why['probability']:.3f} (decided by {why['decided_by']})"]
    lines += [f"  {part:+.2f}  {name.replace('_', ' ')}" for name, part in why["contributions"].items()]
    if why["labels"]:
        told = ", ".join(f"{cause} {count}" for cause, count in why["labels"].items())
        lines.append(f"learned from it: {told}")
    for gone in why["evictions"]:
        back = f", brought back on {gone['restored_at'][:10]}" if gone["restored_at"] else ""
        lines.append(f"archived on {gone['at'][:10]}{back}")
    return lines
