"""What sequences of tokens begin with in common."""

from collections.abc import Sequence


def common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Tokens that both begin with."""
    shorter = min(len(ours), len(theirs))
    return next((n for n in range(shorter) if ours[n] != theirs[n]), shorter)


def shared(rows: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all of one or more `rows` begin with."""
    first = rows[0]
    return list(first[: min(common(first, row) for row in rows)])
