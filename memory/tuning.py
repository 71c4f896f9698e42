"""The weights that recall uses: learned ones while they win, else the shipped ones. Inside the caller's transaction."""

import json
from collections.abc import Mapping
from itertools import groupby

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from memory.ranking import WEIGHTS
from memory.schema import exposures, rankings
from memory.weighing import Floats, Use, judge

_EVERY = 10
"""New turns with a cited memory after which the weights are learned again."""
_TURNS = 1000
"""Latest such turns that are learned from."""


def weights(connection: Connection) -> Mapping[str, float]:
    """The weights in force, by the names of `WEIGHTS`."""
    latest = _latest(connection)
    return (
        dict(zip(WEIGHTS, json.loads(latest.weights), strict=True)) if latest is not None and latest.active else WEIGHTS
    )


def learn(connection: Connection, at: str) -> None:
    """Learn the weights anew if enough turns have come since the last time; they are in force only if they win.

    Every version is kept; one that no longer wins gives way to the shipped weights.
    """
    telling = sa.select(exposures.c.turn).where(exposures.c.cited, exposures.c.measured.is_not(None))
    turns = connection.execute(telling.distinct().order_by(exposures.c.turn.desc()).limit(_TURNS)).scalars().all()
    latest = _latest(connection)
    seen = connection.execute(telling.with_only_columns(sa.func.count(exposures.c.turn.distinct()))).scalar_one()
    if seen < (latest.turns if latest is not None else 0) + _EVERY:
        return
    judged = judge(_uses(connection, [turn for turn in turns if turn is not None]), _vector(WEIGHTS))
    row = {"at": at, "weights": json.dumps([round(weight, 6) for weight in judged.weights.tolist()]), "turns": seen}
    row |= {"gain": judged.gain, "error": judged.error, "active": judged.wins}
    connection.execute(sa.insert(rankings).values(row))


def report(connection: Connection) -> Mapping[str, object] | None:
    """What the last learning came to, for `stats`; None before there was one."""
    latest = _latest(connection)
    if latest is None:
        return None
    return {"learned": latest.active, "turns": latest.turns, "gain": latest.gain, "error": latest.error}


def _latest(connection: Connection) -> "sa.Row[*tuple[object, ...]] | None":
    return connection.execute(sa.select(rankings).order_by(rankings.c.id.desc()).limit(1)).first()


def _uses(connection: Connection, turns: list[int]) -> list[Use]:
    query = sa.select(exposures).where(exposures.c.turn.in_(turns), exposures.c.measured.is_not(None))
    rows = connection.execute(query.order_by(exposures.c.turn, exposures.c.rank))
    found = []
    for _, group in groupby(rows, key=lambda row: row.turn):
        shown = list(group)
        measured = np.array([_vector(json.loads(row.measured)) for row in shown])
        found.append(Use(measured, np.array([row.cited for row in shown], bool)))
    return found


def _vector(named: Mapping[str, float]) -> Floats:
    return np.array([named.get(name, 0.0) for name in WEIGHTS])
