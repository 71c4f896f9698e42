"""Which turn of a session follows which. A question that is edited or asked anew opens a branch, and none is lost.

A turn follows the one stored before it in its session, unless the table `branches` names another, or none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from memory.schema import branches, turns

OPENING = 0
"""In place of a turn's number: the beginning of the session, before any turn."""


@dataclass(frozen=True, slots=True)
class Branches:
    """The turns of one session, in the order in which they were asked, as a tree."""

    parents: Mapping[int, int]
    """By turn, the one that it follows; `OPENING` for one that opens the session."""

    def path(self, upto: int | None = None) -> tuple[int, ...]:
        """The turns that lead to `upto` (None: the latest), itself included; none lead to `OPENING`."""
        at = max(self.parents, default=OPENING) if upto is None else upto
        found: list[int] = []
        while at in self.parents:
            found.append(at)
            at = self.parents[at]
        return tuple(reversed(found))

    def versions(self, turn: int) -> tuple[int, ...]:
        """The turns that follow what `turn` follows, itself included: the versions of one question."""
        return tuple(one for one, parent in self.parents.items() if parent == self.parents[turn])

    def latest(self, turn: int) -> int:
        """The turn that was asked last among those that `turn` led to; itself where it led to none."""
        led = {turn}
        for one, parent in self.parents.items():  # a turn stands after the one that it follows
            if parent in led:
                led.add(one)
        return max(led)


def of_session(connection: Connection, session: int) -> Branches:
    """The tree of a session, from its rows."""
    query = (
        sa.select(turns.c.id, branches.c.turn, branches.c.parent)
        .join(branches, branches.c.turn == turns.c.id, isouter=True)
        .where(turns.c.session == session)
        .order_by(turns.c.id)
    )
    parents: dict[int, int] = {}
    before = OPENING
    for id, opens, parent in connection.execute(query):
        parents[id] = before if opens is None else (parent or OPENING)
        before = id
    return Branches(parents)


def follow(connection: Connection, session: int, turn: int, after: int) -> None:
    """Note that the new `turn` follows `after`, if that is not the one stored before it."""
    others = [one for one in of_session(connection, session).parents if one != turn]
    if after != max(others, default=OPENING):
        connection.execute(sa.insert(branches).values(turn=turn, parent=after or None))
