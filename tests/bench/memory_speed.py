"""Writing, recall and what a turn teaches among 100,000 memories, in milliseconds without the embedder, and forgetting
a tenth of them, in seconds; one JSON object.

    PYTHONPATH=. OMP_NUM_THREADS=2 python tests/bench/memory_speed.py [--encrypted]

Words are drawn as in natural text, few often and many seldom (Zipf), so that queries meet common words. Processor time
(`cpu`) is what a quiet machine takes; wall time also has the disk's syncs and what else runs.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from memory.duplicates import content_hash
from memory.retention import rows as features
from memory.schema import memories, sessions, vectors
from memory.settings import MemorySettings
from memory.store import MemoryStore
from memory.types import Source
from retrieval.cipher import Key
from retrieval.sqlite import writing

VOCABULARY = np.array([f"w{number}" for number in range(30_000)])
AT = "2026-01-01T00:00:00.000Z"


def drawn(texts: Sequence[str]) -> NDArray[np.float32]:
    """Any unit vectors [N, 384]: only their number matters here."""
    rows = np.random.default_rng(abs(hash(texts[0])) % 2**32).standard_normal((len(texts), 384), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sentence(rng: np.random.Generator, length: int) -> str:
    return " ".join(VOCABULARY[np.minimum(rng.zipf(1.3, length), len(VOCABULARY)) - 1])


def fill(store: MemoryStore, texts: list[str], turns: int = 20) -> None:
    """Rows as the store writes them, many at once; `turns` of them to a session."""
    plain = {"scope": "main", "kind": "fact", "state": "active", "pinned": False, "uses": 0, "confirmations": 0}
    plain |= {"how": "told", "valid_from": AT, "recorded_at": AT}
    rows = [
        plain
        | {"id": n, "text": text, "content_hash": content_hash(text), "revision": n, "session": (n - 1) // turns + 1}
        for n, text in enumerate(texts, 1)
    ]
    held = [
        {"id": n + 1, "scope": "main", "title": "", "started": AT} for n in range((len(texts) + turns - 1) // turns)
    ]
    matrix = drawn(texts)
    with writing(store.engine) as connection:
        connection.execute(sa.insert(sessions), held)
        connection.execute(sa.insert(memories), rows)
        blobs = [{"memory": n, "embedder": "drawn", "vector": row.tobytes()} for n, row in enumerate(matrix, 1)]
        connection.execute(sa.insert(vectors), blobs)
        connection.exec_driver_sql("INSERT INTO memories_fts (rowid, text) SELECT id, text FROM memories")
        connection.exec_driver_sql("UPDATE counters SET value = ? WHERE name = 'revision'", (len(rows),))


def timed(times: int, act: Callable[[int], object]) -> dict[str, float]:
    wall, cpu = [], []
    for number in range(times):
        started, worked = time.perf_counter(), time.process_time()
        act(number)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - worked)
    return {
        f"{name} p{percent}": round(float(np.percentile(values, percent)) * 1e3, 2)
        for name, values in (("wall", wall), ("cpu", cpu))
        for percent in (50, 95)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--encrypted", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        key = Key(os.urandom(32)) if options.encrypted else None
        store = MemoryStore(Path(folder), MemorySettings(), drawn, "drawn", key)
        fill(store, [f"{sentence(rng, 14)} n{number}" for number in range(options.memories)])
        started = time.perf_counter()
        store.recall("w5 w900", scopes=["main"])
        first = time.perf_counter() - started
        recall = timed(options.times, lambda _: store.recall(sentence(rng, 9), scopes=["main"]))
        add = timed(options.times, lambda n: store.add(f"{sentence(rng, 14)} fresh{n}", source=Source("command")))
        with writing(store.engine) as connection:  # a store in use has them; turn by turn, some hundreds at once
            features.catch_up(connection, "drawn", everything=True)
        session = store.start_session()
        questions = [sentence(rng, 9) for _ in range(options.times)]
        asked = [(store.begin_turn(session, one), store.recall(one, scopes=["main"])) for one in questions]

        def learn(number: int) -> None:
            turn, found = asked[number]
            cited = [found[0].memory.id] if found else []
            store.observe(turn, questions[number], recalled=found, cited=cited, scope="main")

        observe = timed(options.times, learn)
        store.settings = MemorySettings(budget_tokens=None, budget_rows=options.memories * 9 // 10)
        started, worked = time.perf_counter(), time.process_time()
        passed = store.shrink()
        took = {"wall": round(time.perf_counter() - started, 2), "cpu": round(time.process_time() - worked, 2)}
        store.close()
    forgot = {"evicted": len(passed.evicted)} | took
    print(
        json.dumps(
            {"memories": options.memories, "first recall s": round(first, 2), "recall": recall, "add": add}
            | {"observe": observe, "encrypted": options.encrypted}
            | {"forgetting s": forgot}
        )
    )


if __name__ == "__main__":
    main()
