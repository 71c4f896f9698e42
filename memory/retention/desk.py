"""The retention methods of a memory store: the model, its versions, and forgetting within a budget."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from memory.clock import stamp
from memory.retention import forgetting, model, report, rows
from memory.retention.forgetting import Pass
from memory.settings import MemorySettings
from retrieval.sqlite import reading, writing


class RetentionDesk:
    """What `MemoryStore` can do about keeping and forgetting; it needs the store's engine, settings and embedder."""

    engine: Engine
    settings: MemorySettings
    embedder_id: str
    ghosts: forgetting.Ghosts

    def shrink(self, *, dry_run: bool = False, now: datetime | None = None) -> Pass:
        """Archive what is least worth its tokens, down to the budget of the settings; `dry_run` only tells."""
        at = stamp(now)
        with writing(self.engine) as connection:
            rows.catch_up(connection, self.embedder_id, everything=True)
            budgets = self.settings.budget_tokens, self.settings.budget_rows
            done = forgetting.forget_least(connection, at, *budgets, dry_run)
            if dry_run:
                connection.rollback()
        return done

    def tidy(self, now: datetime | None = None) -> Pass | None:
        """What waits until an answer is out: the model learns from new labels, and a pass is made if the budget is
        exceeded, which takes seconds in a store of 100,000 memories. None where there was none."""
        at = stamp(now)
        budgets = self.settings.budget_tokens, self.settings.budget_rows
        with writing(self.engine) as connection:
            model.learn_new(connection, at)
            if not forgetting.over_budget(connection, *budgets):
                return None
            rows.catch_up(connection, self.embedder_id)
            return forgetting.forget_least(connection, at, *budgets, False)

    def train(self, now: datetime | None = None) -> model.Model | None:
        """Judge and refit the retention model on what was labelled; None while that is too little."""
        with writing(self.engine) as connection:
            return model.learn(connection, stamp(now))

    def roll_back(self, version: int) -> model.Model:
        """Let an earlier version of the model decide. Raises NoSuchModel."""
        with writing(self.engine) as connection:
            return model.roll_back(connection, version)

    def retention_of(
        self, connection: Connection, memory_id: int, now: datetime | None = None
    ) -> dict[str, Any] | None:
        return report.why(connection, memory_id, stamp(now))

    def retention_stats(self, connection: Connection, now: datetime | None = None) -> dict[str, Any]:
        return report.stats(connection, stamp(now))

    # --- for the parts of this room

    def label(self, connection: Connection, causes: Mapping[str, Collection[int]], at: str) -> None:
        """Note by cause what came of memories; `tidy` learns from it."""
        rows.catch_up(connection, self.embedder_id)
        for cause, ids in causes.items():
            model.label(connection, ids, cause, at)

    def _summon(self, query: NDArray[np.float32], scopes: Sequence[str], best: float, now: datetime | None) -> bool:
        """Bring back archived memories that are nearer to a question than all that was found. Whether any came."""
        bar = max(best, self.settings.min_similarity)
        with reading(self.engine) as connection:
            hits = self.ghosts.better(connection, query, scopes, bar)
        if not hits:
            return False
        with writing(self.engine) as connection:
            return bool(forgetting.bring_back(connection, hits, stamp(now)))
