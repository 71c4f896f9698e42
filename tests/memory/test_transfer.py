"""A store exported and imported is the store that it was, numbers included; and into another it fits itself."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from memory.retention.features import NAMES
from memory.retention.gate import Verdict
from memory.retention.scorer import Scorer
from memory.store import MemoryStore
from memory.types import Source

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def live(store: MemoryStore) -> int:
    """A session with a told fact, its correction and a follow-up; returns the turn of the fact."""
    said = "Remember that my office is in B12. I walked along the shore with Anna all day."
    session = store.start_session(now=NOW)
    turn = store.begin_turn(session, said, now=NOW)
    [fact] = store.observe(turn, said, recalled=[], cited=[], scope="main", now=NOW)
    result = {"question": said, "answer": "Noted.", "session": session, "turn": turn, "memories": []}
    store.finish_turn(turn, "Noted.", json.dumps(result), True)
    asked = store.begin_turn(session, "Where is my office?", now=NOW + timedelta(minutes=1))
    recalled = store.recall("Where is my office?", scopes=["main"])
    store.observe(asked, "Where is my office?", recalled=recalled, cited=[fact.id], scope="main", now=NOW)
    store.feedback(asked, "correct", "My office is in C3", now=NOW + timedelta(minutes=2))
    store.add("my office is in C3", source=Source("command"))
    store.pin(fact.id)
    store.forget(store.add("I like fish", kind="preference", source=Source("command"), now=NOW).id)
    return turn


def test_an_empty_store_becomes_what_was_exported_in_any_order_of_lines(
    store: MemoryStore, opener: Callable[..., MemoryStore], tmp_path: Path
) -> None:
    turn = live(store)
    lines = [json.dumps(row) for row in store.export()]
    assert {json.loads(line).get("table") for line in lines} >= {None, "sessions", "turns", "exposures", "feedback"}
    other = opener(folder=tmp_path / "other")
    report = other.import_(lines[::-1])
    assert (report.added, report.bad, report.others >= 5) == (4, (), True)
    assert [json.dumps(row) for row in other.export()] == lines
    assert other.import_(lines) == type(report)(0, 4, (), 0, 0)
    assert [json.dumps(row) for row in other.export()] == lines
    assert other.why(1) == store.why(1) and other.why(1)["said"]["question"].startswith("Remember that")
    assert other.check() == [] and [hit.turn.id for hit in other.search_turns("shore")] == [turn]
    fresh = other.add("My dog is called Rex", source=Source("command"))
    assert fresh.id == max(json.loads(line).get("id") or 0 for line in lines) + 1


def test_in_a_store_that_has_others_rows_get_fresh_numbers_and_references_follow(
    store: MemoryStore, opener: Callable[..., MemoryStore], tmp_path: Path
) -> None:
    live(store)
    other = opener(folder=tmp_path / "other")
    own = other.begin_turn(other.start_session(), "Hello")
    kept = other.add("My dog is called Rex", source=Source("command"))
    other.import_(store.export())
    assert other.get(kept.id).text == "My dog is called Rex" and other.turn(own).question == "Hello"
    [fact] = [one for one in other.list() if one.text == "my office is in B12"]
    [later] = [one for one in other.list() if one.text == "My office is in C3"]
    assert fact.id != 1 and fact.superseded_by == later.id and fact.source.turn == 2
    why = other.why(fact.id)
    assert why["said"]["question"].startswith("Remember that") and [one["turn"] for one in why["exposures"]] == [3]
    result = json.loads(other.turn(2).answer_json)
    assert (result["session"], result["turn"]) == (2, 2)
    assert other.check() == []


def row_of(table: str, **values: object) -> dict[str, object]:
    """A line of an export as it could be, but for `values`."""
    at, scorer = NOW.isoformat(), Scorer(NAMES, *np.ones((3, len(NAMES))), bias=0.0)
    rows: dict[str, dict[str, object]] = {
        "turns": {"session": 1, "asked_at": at, "question": "?", "answer": "!", "answer_json": "", "complete": True},
        "exposures": {"memory": 1, "at": at, "rank": 0, "cited": True},
        "rankings": {"at": at, "weights": "[]", "turns": 1, "gain": 0.1, "error": 0.1, "active": True},
        "retention_models": {
            "at": at,
            "scorer": json.dumps(scorer.to_json()),
            "verdict": json.dumps(asdict(Verdict(True, 50, 0.1, 0.2, 0.3, ""))),
            "active": True,
        },
        "retention_features": {"memory": 1},
        "retention_labels": {"memory": 1, "at": at, "cause": "cited", "used": True, "weight": 1.0},
    }
    return {"table": table, "row": {"id": 1} | rows[table] | values}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"table": "users", "row": {}}, "table: 'users'"),
        ({"table": "turns", "row": 5}, "row: is no object"),
        ({"table": "sessions", "row": {"id": 1, "scope": "main", "title": 3, "started": "x"}}, "title: 3"),
        ({"table": "sessions", "row": {"id": 1, "scope": "main", "started": "x"}}, "title: is missing"),
        ({"text": "x", "confirmations": "many"}, "confirmations: 'many'"),
        ({"text": "x", "source": {"how": "magic"}}, "source.how"),
        ({"text": "x", "id": 2**63}, "id: "),
        ({"text": "x", "confirmations": 2**63}, "confirmations: is too large"),
        (
            {"table": "sessions", "row": {"id": 1, "scope": "main", "title": "\ud800", "started": "x"}},
            "title: holds half",
        ),
        (5, "the row"),
        ({"text": "x", "uses": -1}, "uses: "),
        ({"text": "x", "retention": float("inf")}, "retention: "),
        ({"text": "x", "created": "0001-01-01T00:00:00+14:00"}, "date value out of range"),
        ({"table": "sessions", "row": {"id": 1, "scope": "main", "title": "t", "started": "x"}}, "started: 'x'"),
        (row_of("turns", answer_json="null"), "answer_json: is no object"),
        (row_of("exposures", measured="[1]"), "measured: is no object"),
        (row_of("exposures", measured="no JSON"), "measured: is not JSON"),
        (row_of("exposures", score=float("nan")), "score: nan"),
        (row_of("rankings", weights="{}"), "weights: "),
        (row_of("retention_models", scorer="{}"), "scorer: "),
        (row_of("retention_models", verdict="{}"), "verdict: "),
        (row_of("retention_features", written={"base64": "AAAA"}), "written: 3 bytes"),
        (row_of("retention_labels", features={"base64": ""}), "features: 0 bytes"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_in(store: MemoryStore, line: object, reason: str) -> None:
    report = store.import_([json.dumps(line), '{"text": "A plain statement"}'])
    assert report.added == 1 and report.bad[0].line == 1 and report.bad[0].reason.startswith(reason)


def test_a_line_of_brackets_without_end_is_named_and_the_rest_goes_in(store: MemoryStore) -> None:
    report = store.import_(['{"text": ' + "[" * 100_000, '{"text": "A plain statement"}'])
    assert report.added == 1 and report.bad[0].line == 1 and "too deeply" in report.bad[0].reason


def test_the_last_number_of_all_is_not_kept_as_no_row_could_come_after_it(store: MemoryStore) -> None:
    store.import_([{"text": "My boat is red", "id": 2**63 - 1}])
    assert store.add("My dog is called Rex", source=Source("command")).id < 2**62
