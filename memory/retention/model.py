"""The learned model of a store: labels come in after every turn, the scorer follows, and a gate lets it decide or not.

Labels are split by time: the scorer, the constant and the incumbent (how recently and how often a memory was used)
learn from the earlier part and are judged on the later. Then the scorer that is kept learns from all.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from memory.errors import NoSuchModel
from memory.retention import rows
from memory.retention.features import HISTORY, NAMES, Floats
from memory.retention.gate import Verdict, judge
from memory.retention.learner import HELD_OUT, WINDOW, learned
from memory.retention.scorer import Scorer, fit
from memory.schema import retention_labels, retention_models, retention_state

VERSIONS = 20
"""Models that are kept to go back to."""
WEIGHTS = {"cited": 1.0, "unused": 1.0, "corrected": 2.0, "confirmed": 0.5, "good": 0.5, "bad": 0.5}
"""How much each cause of a label counts. Showings count alike, used or in vain: weights would bend probabilities, and
of .1, .3 and 1 for those in vain none kept more."""
_LEARNED = "learned"
"""The entry of `retention_state` with the highest label that was learned from."""
_USED = {"cited", "confirmed", "good"}
_INCUMBENT = tuple(NAMES.index(name) for name in (*HISTORY, "younger_than"))


@dataclass(frozen=True, slots=True)
class Model:
    """A version; `active` if it decides."""

    id: int
    at: str
    scorer: Scorer
    verdict: Verdict
    active: bool


@cache
def shipped_prior() -> Scorer:
    """The scorer that a new profile begins with: data/retention.json, made by `loci memory train --from`."""
    return Scorer.from_json(json.loads(files("data").joinpath("retention.json").read_text("utf-8")))


def label(connection: Connection, ids: Collection[int], cause: str, at: str) -> None:
    """Note what came of memories. They need features: `rows.catch_up` gives them."""
    if not ids:
        return
    found = rows.table(connection, at, ids)
    row = {"at": at, "cause": cause, "used": cause in _USED, "weight": WEIGHTS[cause]}
    made = [
        row | {"memory": int(key), "features": rows.pack(features)}
        for key, features in zip(found.ids, found.features, strict=True)
    ]
    if made:
        connection.execute(sa.insert(retention_labels), made)


def learn_new(connection: Connection, at: str) -> None:
    """`learn` if labels have come since the last time."""
    newest = connection.execute(sa.select(sa.func.max(retention_labels.c.id))).scalar() or 0
    known = sa.select(retention_state.c.value).where(retention_state.c.name == _LEARNED)
    if newest > (connection.execute(known).scalar() or 0):
        learn(connection, at)
        stored = sa.insert(retention_state).prefix_with("OR REPLACE")
        connection.execute(stored.values(name=_LEARNED, value=newest))


def learn(connection: Connection, at: str) -> Model | None:
    """Judge and refit on the labels of the window; None while there are too few for either."""
    latest = sa.select(retention_labels).order_by(retention_labels.c.id.desc()).limit(WINDOW)
    found = connection.execute(latest).all()[::-1]
    used = np.array([row.used for row in found], np.float64)
    if not found:
        return None
    features = rows.unpack([row.features for row in found])
    weight = np.array([row.weight for row in found])
    made = learned(features, used, weight, NAMES, shipped_prior())
    if made is None:
        return None
    scorer, early = made
    return _store(connection, at, scorer, _verdict(early, features, used, weight))


def _verdict(scorer: Scorer, features: Floats, used: Floats, weight: Floats) -> Verdict:
    """`scorer` saw the labels before the held-out part alone."""
    cut = round(len(used) * (1 - HELD_OUT))
    early, late = slice(None, cut), slice(cut, None)
    recent = features[:, _INCUMBENT]
    names = tuple(NAMES[index] for index in _INCUMBENT)
    incumbent = fit(recent[early], used[early], weight[early], names=names, strength=1.0)
    constant = float(np.average(used[early], weights=weight[early]))
    return judge(
        scorer.probability(features[late]), incumbent.probability(recent[late]), constant, used[late], weight[late]
    )


def _store(connection: Connection, at: str, scorer: Scorer, verdict: Verdict) -> Model:
    connection.execute(sa.update(retention_models).values(active=False))
    values = {"at": at, "scorer": json.dumps(scorer.to_json()), "verdict": json.dumps(asdict(verdict))}
    made = sa.insert(retention_models).values(**values, active=verdict.active).returning(retention_models.c.id)
    fresh = int(connection.execute(made).scalar_one())
    connection.execute(sa.delete(retention_models).where(retention_models.c.id <= fresh - VERSIONS))
    return Model(fresh, at, scorer, verdict, verdict.active)


def models(connection: Connection) -> list[Model]:
    """Every version, the latest first."""
    found = connection.execute(sa.select(retention_models).order_by(retention_models.c.id.desc()))
    return [_model(row) for row in found]


def active(connection: Connection) -> Model | None:
    """The version that decides; None while the gate is shut."""
    row = connection.execute(sa.select(retention_models).where(retention_models.c.active)).first()
    return None if row is None else _model(row)


def roll_back(connection: Connection, version: int) -> Model:
    """Let an earlier version decide, until labels bring a new one. Raises NoSuchModel."""
    found = connection.execute(sa.select(retention_models).where(retention_models.c.id == version)).first()
    if found is None:
        raise NoSuchModel(
            f"There is no version {version} of the retention model.", "`loci memory stats` names the versions."
        )
    connection.execute(sa.update(retention_models).values(active=retention_models.c.id == version))
    return _model(connection.execute(sa.select(retention_models).where(retention_models.c.id == version)).one())


def _model(row: sa.Row[Any]) -> Model:
    scorer, verdict = json.loads(row.scorer), json.loads(row.verdict)
    return Model(row.id, row.at, Scorer.from_json(scorer), Verdict(**verdict), row.active)


def probability(connection: Connection, table: rows.Table) -> Floats:
    """[N] by the active model; without one by recency of use, or of writing: it halves every 30 days."""
    model = active(connection)
    if model is not None:
        return model.scorer.probability(table.features)
    since = np.expm1(table.features[:, NAMES.index("since_use")])
    seen = table.features[:, NAMES.index("uses")] > 0
    stale: Floats = 0.5 ** (np.where(seen, since, table.ages) / 30.0)
    return stale
