"""What the texts and bytes of an exported row must be, so that recall, retention and deletion can read them again.

A file may come from anywhere: one row that cannot be read would keep every later command from its work.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa

from memory.clock import moment
from memory.ranking import WEIGHTS
from memory.retention.features import CONTENT, NAMES, STORE
from memory.retention.gate import Verdict
from memory.retention.scorer import Scorer
from memory.schema import exposures, rankings, retention_features, retention_labels, retention_models, turns

_MOMENTS = ("at", "asked_at", "started", "restored_at")
_BYTES = {
    (retention_features.name, "written"): len(CONTENT) + len(STORE),
    (retention_labels.name, "features"): len(NAMES),
}
"""Numbers of 4 bytes in a column."""


def check_content(table: sa.Table, values: Mapping[str, Any]) -> None:
    """Raises ValueError or OverflowError with what is wrong in words."""
    for name in _MOMENTS:
        if values.get(name) is not None:
            _moment(name, values[name])
    for (owner, name), numbers in _BYTES.items():
        if owner == table.name and len(values[name]) != 4 * numbers:
            raise ValueError(f"{name}: {len(values[name])} bytes instead of {4 * numbers}")
    if table is turns and values["answer_json"]:
        _object("answer_json", values["answer_json"])
    if table is exposures and values["measured"]:
        _numbers("measured", list(_object("measured", values["measured"]).values()))
    if table is rankings:
        _numbers("weights", _json("weights", values["weights"]), len(WEIGHTS))
    if table is retention_models:
        _scorer(_object("scorer", values["scorer"]))
        _verdict(_object("verdict", values["verdict"]))


def _moment(name: str, text: str) -> None:
    try:
        moment(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no moment with a time zone") from None


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: is not JSON: {error.msg}") from None


def _object(name: str, text: str) -> dict[str, Any]:
    found = _json(name, text)
    if not isinstance(found, dict):
        raise ValueError(f"{name}: is no object")
    return found


def _numbers(name: str, found: Any, count: int | None = None) -> None:
    if not isinstance(found, list) or count not in (None, len(found)):
        raise ValueError(f"{name}: are not {count} numbers")
    if not all(isinstance(one, int | float) and np.isfinite(one) for one in found):
        raise ValueError(f"{name}: are not all finite numbers")


def _scorer(row: Mapping[str, Any]) -> None:
    try:
        made = Scorer.from_json(row)
    except (KeyError, TypeError, ValueError):
        raise ValueError("scorer: is no retention model") from None
    parts = (made.mean, made.scale, made.weights)
    if made.names != NAMES or any(part.shape != (len(NAMES),) or not np.isfinite(part).all() for part in parts):
        raise ValueError("scorer: is of other features than this version has")


def _verdict(row: Mapping[str, Any]) -> None:
    try:
        Verdict(**row)
    except TypeError:
        raise ValueError("verdict: is none of a retention model") from None
