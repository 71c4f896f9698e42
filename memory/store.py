"""`MemoryStore`: what a profile remembers, in one memory.db. Every write is synchronous and needs no language model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from memory import learning, maintenance, moving, records
from memory.banks import Bank
from memory.cache import RecallCache
from memory.clock import stamp, utc
from memory.consolidation import consolidate, unsay
from memory.dates import find_date
from memory.deletion import DeletionDesk
from memory.profile import profile
from memory.reading import Complete, read_turns
from memory.recall import recall
from memory.records import Draft
from memory.retention import forgetting
from memory.retention.desk import RetentionDesk
from memory.schema import memories
from memory.settings import MemorySettings
from memory.transfer import export_store, import_store, parse, without_secrets
from memory.types import ImportReport, Kind, Memory, Recalled, Source, State
from retrieval.cipher import Key
from retrieval.sqlite import open_database, reading, writing

MIGRATIONS = Path(__file__).parent / "migrations"
_BATCH = 256  # texts embedded at once on import


# The method `list` hides the type inside the class.
Memories = list[Memory]
Recollection = list[Recalled]
Problems = list[str]


class MemoryStore(DeletionDesk, RetentionDesk):
    """Memories, conversations and feedback of one profile. Safe for several threads and processes.

    `embed` turns N texts into [N, D] float32, L2-normalised; `embedder_id` names it, and vectors of another are not
    compared with its own. Times are passed in as `now` (aware); None means the present.

    :raises DatabaseProblem: memory.db is damaged, of a newer schema, locked for too long, or the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        settings: MemorySettings,
        embed: Callable[[Sequence[str]], NDArray[np.float32]],
        embedder_id: str,
        key: Key | None = None,
    ) -> None:
        """With a `key`, the file is encrypted."""
        self.settings = settings
        self.embedder_id = embedder_id
        self.engine = open_database(folder / "memory.db", MIGRATIONS, key=key)
        self._embed = embed
        self._cache = RecallCache(embedder_id)
        self.ghosts = forgetting.Ghosts(embedder_id)

    def close(self) -> None:
        self.engine.dispose()

    # --- memories

    def add(
        self, text: str, *, kind: Kind = "fact", scope: str = "main", source: Source, now: datetime | None = None
    ) -> Memory:
        """Remember `text`; a duplicate returns the memory that already says it, a changed fact supersedes the old.

        Raises ValueError for an empty text, OnlySecrets for one that says nothing else.
        """
        text = self.statement(text)
        dated = find_date(text, utc(now).date())
        draft = self.draft(text, kind, scope, source, self.embed([text])[0], dated.day if dated else None)
        with writing(self.engine) as connection:
            return records.add(connection, draft, stamp(now), self.settings.duplicate_similarity)

    def get(self, memory_id: int) -> Memory:
        """Raises NoSuchMemory."""
        with reading(self.engine) as connection:
            return records.get(connection, memory_id)

    def list(
        self,
        scopes: Sequence[str] | None = None,
        states: Sequence[State] = ("active",),
        kind: Kind | None = None,
    ) -> Memories:
        """Memories of the scopes (None: all) and states, the latest first; superseded ones have a `valid_to`."""
        query = sa.select(memories).where(memories.c.state.in_([*states]))
        if scopes is not None:
            query = query.where(memories.c.scope.in_([*scopes]))
        if kind is not None:
            query = query.where(memories.c.kind == kind)
        with reading(self.engine) as connection:
            return [records.memory(row) for row in connection.execute(query.order_by(memories.c.id.desc()))]

    def edit(self, memory_id: int, text: str, now: datetime | None = None) -> Memory:
        """Replace the wording: a new memory supersedes the old, which is archived and can be restored.

        Raises as `add`, and NoSuchMemory.
        """
        text = self.statement(text)
        vector = self.embed([text])[0]
        with writing(self.engine) as connection:
            old = records.get(connection, memory_id)
            if old.text == text:
                return old
            dated = find_date(text, utc(now).date())
            draft = self.draft(text, old.kind, old.scope, old.source, vector, dated.day if dated else None, old.pinned)
            at = stamp(now)
            fresh = records.insert(
                connection, draft, recorded_at=at, valid_from=old.valid_from, uses=old.uses, last_used=old.last_used
            )
            records.change(connection, memory_id, state="archived", valid_to=at, superseded_by=fresh)
            unsay(connection, old)
            records.settle(connection, fresh)
            return records.get(connection, fresh)

    def pin(self, memory_id: int, on: bool = True) -> None:
        """Keep a memory from ever being forgotten by itself. Raises NoSuchMemory."""
        with writing(self.engine) as connection:
            records.get(connection, memory_id)
            records.change(connection, memory_id, pinned=on)

    def forget(self, memory_id: int) -> Memory:
        """Never recall a memory again. It can be restored until it is purged. Raises NoSuchMemory."""
        with writing(self.engine) as connection:
            unsay(connection, records.get(connection, memory_id))
            records.change(connection, memory_id, state="tombstone")
            return records.get(connection, memory_id)

    def restore(self, memory_id: int, now: datetime | None = None) -> Memory:
        """Undo a forgetting, an edit or a supersession: the memory holds again, what replaced it is archived."""
        with writing(self.engine) as connection:
            old = records.get(connection, memory_id)
            forgetting.mark_restored(connection, [memory_id], stamp(now))
            records.change(connection, memory_id, state="active", valid_to=None, superseded_by=None)
            if old.superseded_by is not None:
                later = records.get(connection, old.superseded_by)
                if later.state == "active":
                    replaced = {"state": "archived", "valid_to": stamp(now), "superseded_by": memory_id}
                    records.change(connection, later.id, **replaced)
            return records.get(connection, memory_id)

    def why(self, memory_id: int) -> dict[str, Any]:
        """Where a memory came from, in the user's own words, when it was recalled and used, what it replaced, and how
        probable its use is by what features."""
        with reading(self.engine) as connection:
            return maintenance.why(connection, memory_id) | {"retention": self.retention_of(connection, memory_id)}

    # --- recall

    def recall(
        self,
        query: str,
        *,
        scopes: Sequence[str],
        limit: int = 8,
        budget: Mapping[Bank, int] | None = None,
        now: datetime | None = None,
    ) -> Recollection:
        """The memories of `scopes` that bear on `query`, best first; fewer than `limit` where fewer are relevant.

        `budget`: how many may come of each bank; one that it does not name gives none. `now` resolves "last week". An
        archived memory that is nearer to the query than all that was found comes back.
        """
        if not query.strip() or not scopes:
            return []
        vector = self.embed([query])[0]
        found = self._recall(query, vector, scopes, limit, budget, now)
        best = max((one.dense for one in found if one.dense is not None), default=-1.0)
        if self._summon(vector, scopes, best, now):
            found = self._recall(query, vector, scopes, limit, budget, now)
        return found

    def _recall(
        self,
        query: str,
        vector: NDArray[np.float32],
        scopes: Sequence[str],
        limit: int,
        budget: Mapping[Bank, int] | None,
        now: datetime | None,
    ) -> Recollection:
        with reading(self.engine) as connection:
            return recall(connection, self._cache, query, vector, scopes, self.settings, limit, budget, now)

    def profile(self, scopes: Sequence[str] | None = None) -> Memories:
        """The few statements that say most about the user, best first (`memory.profile`)."""
        return profile(self.list(scopes))

    def consolidate(self, limit: int = 10, now: datetime | None = None, *, dry_run: bool = False) -> Memories:
        """Sum up sessions that rest, the latest first, at most `limit`; returns the summaries written.

        `dry_run` writes nothing and tells what would be; the ids are then of no memory.
        """
        return consolidate(self, limit, now, dry_run)

    def read_turns(self, complete: Complete, calls: int, *, dry_run: bool = False) -> Memories:
        """Let a language model read the latest turns that none has, for what the rules missed; returns what is new.

        `complete` is called at most `calls` times. `dry_run` as in `consolidate`. See `memory.reading`.
        """
        return read_turns(self, complete, calls, dry_run)

    # --- learning from turns

    def observe(
        self,
        turn_id: int,
        question: str,
        *,
        recalled: Sequence[Recalled],
        cited: Sequence[int],
        scope: str,
        now: datetime | None = None,
    ) -> Memories:
        """Log which memories a turn was shown and which its answer cited, and remember what the user said in it.

        `question` is the user's own message, never recalled or retrieved text. Returns what was remembered, and what a
        "forget that ..." of exactly these words turned into a tombstone; the episode is stored but not returned.
        """
        return learning.observe(self, turn_id, self.plain(question), recalled, cited, scope, now)

    def feedback(
        self,
        turn_id: int | None,
        verdict: Literal["good", "bad", "correct"],
        text: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """Record a verdict on a turn (None: the last). A correction is remembered and supersedes what it corrects.

        Raises OnlySecrets for a correction that says nothing else.
        """
        if text:
            text = self.statement(text) if verdict == "correct" else self.plain(text)
        learning.feedback(self, turn_id, verdict, text, now)

    def move_vectors(self) -> moving.Moves | None:
        """Let vectors follow what memories were used for, if that wins and enough turns came (`memory.moving`)."""
        if self.settings.move_vectors:
            return moving.learn(self)
        self.reset_vectors()
        return None

    def reset_vectors(self) -> None:
        """Put the vectors that use has moved back where they were."""
        with writing(self.engine) as connection:
            moving.reset(connection)

    # --- in and out

    def export(self) -> Iterator[dict[str, Any]]:
        """Every memory as an object of `loci memory export`, and the rows they refer to, from one snapshot."""
        with reading(self.engine) as connection:
            yield from export_store(connection)

    def import_(self, rows: Iterable[Mapping[str, Any] | str], now: datetime | None = None) -> ImportReport:
        """Take in an export (objects, or lines of JSON), all or nothing of it; bad lines are reported and left out, as
        are memories that tell nothing but a secret."""
        parsed, redacted, hollow = without_secrets(parse(rows), self.plain)
        texts = [row.text for row in parsed.memories]
        parts = [self.embed(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        vectors = [vector for part in parts for vector in part]
        with writing(self.engine) as connection:
            counts = import_store(connection, parsed, vectors, self.embedder_id, stamp(now))
        return ImportReport(counts[0], counts[1], tuple(parsed.bad), redacted, counts[2], hollow)

    def stats(self) -> dict[str, Any]:
        """Counts by state, kind and scope, of sessions and turns, uses, the size of the file in bytes, and how good
        the retention model is."""
        with reading(self.engine) as connection:
            counts = maintenance.stats(connection, Path(str(self.engine.url.database)), self.embedder_id)
            counts["unembedded"] = maintenance.unembedded(connection, self.embedder_id)
            return counts | {"retention": self.retention_stats(connection)}

    def unembedded(self) -> int:
        """How many memories have no vector of the embedder in use: until `reindex` they are recalled by words alone."""
        with reading(self.engine) as connection:
            return maintenance.unembedded(connection, self.embedder_id)

    def reindex(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Embed every memory with the embedder in use; those of another serve until all are done."""
        maintenance.reindex(self, progress)

    def check(self, fix: bool = False) -> Problems:
        """Problems found, in words; `fix` rebuilds full text and vectors from the rows, which are the truth."""
        return maintenance.check(self, fix)

    # --- for the parts of this room

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N, D], L2-normalised."""
        return self._embed(texts)

    def draft(
        self,
        text: str,
        kind: Kind,
        scope: str,
        source: Source,
        vector: NDArray[np.float32],
        event_date: date | None = None,
        pinned: bool = False,
    ) -> Draft:
        return Draft(text, kind, scope, source, vector, self.embedder_id, event_date, pinned)
