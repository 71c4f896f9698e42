"""What the retention model can say for itself: why a memory is kept, how good it is, how memories survive."""

from dataclasses import asdict
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from memory.clock import moment
from memory.retention import model, rows
from memory.retention.gate import calibration_error, reliability
from memory.retention.learner import WINDOW
from memory.schema import memories, retention_evictions, retention_labels, retention_state

_SAID = 8
"""Contributions that are told; the rest are small."""
_BUCKETS = (1, 7, 30, 90, 365)
"""Days that bound the buckets of the retention curve."""


def why(connection: Connection, memory_id: int, at: str) -> dict[str, Any] | None:
    """How probable the use of a memory is and what says so; None before it has features."""
    table = rows.table(connection, at, [memory_id])
    if not len(table.ids):
        return None
    deciding = model.active(connection)
    scorer = deciding.scorer if deciding is not None else model.shipped_prior()
    parts = scorer.contributions(table.features[0])
    away = sa.select(retention_evictions).where(retention_evictions.c.memory == memory_id)
    return {
        "probability": float(model.probability(connection, table)[0]),
        "decided_by": f"model {deciding.id}" if deciding is not None else "recency",
        "contributions": dict(list(parts.items())[:_SAID]),
        "labels": _labels(connection, memory_id),
        "evictions": [
            {"at": row.at, "probability": row.probability, "restored_at": row.restored_at}
            for row in connection.execute(away.order_by(retention_evictions.c.id))
        ],
    }


def stats(connection: Connection, at: str) -> dict[str, Any]:
    """The versions and the gate, calibration over the labels, the curve of memories by age, price and evictions."""
    versions = model.models(connection)
    deciding = next((one for one in versions if one.active), None)
    gone = sa.func.count(), sa.func.count(retention_evictions.c.restored_at)
    evicted, restored = connection.execute(sa.select(*gone)).one()
    price = sa.select(retention_state.c.value).where(retention_state.c.name == "price")
    return {
        "model": deciding.id if deciding is not None else None,
        "versions": [one.id for one in versions],
        "verdict": asdict(versions[0].verdict) if versions else None,
        "calibration": _calibration(connection),
        "curve": _curve(connection, at),
        "evicted": evicted,
        "restored": restored,
        "price": connection.execute(price).scalar(),
    }


def _labels(connection: Connection, memory_id: int) -> dict[str, int]:
    counted = sa.select(retention_labels.c.cause, sa.func.count()).where(retention_labels.c.memory == memory_id)
    return dict(connection.execute(counted.group_by(retention_labels.c.cause)).tuples().all())


def _calibration(connection: Connection) -> dict[str, Any] | None:
    """Predictions of the latest scorer against the labels of the window; None before there is one."""
    versions = model.models(connection)
    found = connection.execute(sa.select(retention_labels).order_by(retention_labels.c.id.desc()).limit(WINDOW)).all()
    if not versions or not found:
        return None
    p = versions[0].scorer.probability(rows.unpack([row.features for row in found]))
    used = np.array([row.used for row in found], np.float64)
    return {
        "labels": len(found),
        "error": calibration_error(p, used),
        "bins": [asdict(part) for part in reliability(p, used)],
    }


def _curve(connection: Connection, at: str) -> list[dict[str, Any]]:
    """By age, how many memories there are, how many were not archived or forgotten, and how many were ever used."""
    now = moment(at)
    found = connection.execute(sa.select(memories.c.recorded_at, memories.c.state, memories.c.uses)).all()
    ages = np.array([(now - moment(row.recorded_at)).total_seconds() / 86400 for row in found])
    bucket = np.searchsorted(_BUCKETS, ages, side="right")
    states = np.array([row.state == "active" for row in found], np.float64)
    used = np.array([row.uses > 0 for row in found], np.float64)
    curve = []
    for place in range(len(_BUCKETS) + 1):
        here = bucket == place
        if here.any():
            until = _BUCKETS[place] if place < len(_BUCKETS) else None
            row = {"until_days": until, "memories": int(here.sum())}
            curve.append(row | {"active": float(states[here].mean()), "used": float(used[here].mean())})
    return curve
