"""Tables of memory.db. The migrations create them; this module is how the code names them.

Full-text tables (`memories_fts`, `turns_fts`) are virtual and written by hand beside their rows: what goes in is
`retrieval.sqlite.fts_text` of the text, which SQL triggers could not compute.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

FTS_TABLES = ("memories_fts", "turns_fts")

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)
"""`revision` rises with each change of a memory, `erased` with each deletion: how caches of other processes notice."""

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("tags", sa.Text),  # words with a space between them
    sqlite_autoincrement=True,
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("asked_at", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("answer_json", sa.Text, nullable=False),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("request", sa.Text),  # what asked it, where that may ask again: at most one turn has it
    sa.Index("ix_turns_request", "request", sqlite_where=sa.text("request IS NOT NULL")),
    sqlite_autoincrement=True,
)

branches = sa.Table(
    "branches",
    metadata,
    sa.Column("turn", sa.ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("parent", sa.ForeignKey("turns.id", ondelete="SET NULL")),
)
"""Turns that do not follow the one stored before them; without a parent, a turn opens its session anew."""

memories = sa.Table(
    "memories",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("slot", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("pinned", sa.Boolean, nullable=False),
    sa.Column("retention", sa.Float),
    # Bi-temporal: when it holds in the world, and when the store learned of it.
    sa.Column("valid_from", sa.Text, nullable=False),
    sa.Column("valid_to", sa.Text),
    sa.Column("recorded_at", sa.Text, nullable=False),
    sa.Column("superseded_by", sa.ForeignKey("memories.id", ondelete="SET NULL")),
    sa.Column("event_date", sa.Text),
    sa.Column("uses", sa.Integer, nullable=False),
    sa.Column("last_used", sa.Text),
    sa.Column("confirmations", sa.Integer, nullable=False),
    # Provenance. A deleted session leaves `how` alone.
    sa.Column("how", sa.Text, nullable=False),
    sa.Column("speaker", sa.Text),  # NULL: the user
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="SET NULL"), index=True),
    sa.Column("turn", sa.ForeignKey("turns.id", ondelete="SET NULL"), index=True),
    sa.Column("start", sa.Integer),
    sa.Column("end", sa.Integer),
    sa.Column("revision", sa.Integer, nullable=False, index=True),
    sa.Index("ix_memories_scope_hash", "scope", "content_hash"),
    sa.Index("ix_memories_scope_slot", "scope", "slot"),
    sa.Index("ix_memories_superseded_by", "superseded_by"),
    sqlite_autoincrement=True,
)

vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("memory", sa.ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("embedder", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
"""Little-endian float32, L2-normalised, of the dimension that `embedder` has; of two only while all are made anew."""

moved_vectors = sa.Table(
    "moved_vectors",
    metadata,
    sa.Column("memory", sa.ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("embedder", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
"""Where use has moved some of the vectors; recall takes these while they are there."""

exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("memory", sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("turn", sa.ForeignKey("turns.id", ondelete="SET NULL"), index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("dense", sa.Float),
    sa.Column("lexical", sa.Float),
    sa.Column("cited", sa.Boolean, nullable=False),
    sa.Column("measured", sa.Text),  # JSON: the terms of the score before their weights
    sqlite_autoincrement=True,
)
"""Which memories a turn was shown, and which its answer used. Outlives the turn: these are the labels of retention."""

rankings = sa.Table(
    "rankings",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("weights", sa.Text, nullable=False),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("gain", sa.Float, nullable=False),
    sa.Column("error", sa.Float, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)
"""Weights of recall as learned at a time; the last row is in force if it is active."""

readings = sa.Table(
    "readings",
    metadata,
    sa.Column("turn", sa.ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
)
"""Turns that a language model has read for what is worth remembering."""

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("turn", sa.ForeignKey("turns.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("correction", sa.ForeignKey("memories.id", ondelete="SET NULL"), index=True),
    sqlite_autoincrement=True,
)

retention_features = sa.Table(
    "retention_features",
    metadata,
    sa.Column("memory", sa.ForeignKey("memories.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("written", sa.LargeBinary, nullable=False),
)
"""What was known of a memory when it was written: little-endian float32, in the order of `retention.features`."""

retention_labels = sa.Table(
    "retention_labels",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("memory", sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Column("features", sa.LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
"""What came of a memory, with its features (little-endian float32) as they were before."""

retention_models = sa.Table(
    "retention_models",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("scorer", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sqlite_autoincrement=True,
)
"""Versions of the learned scorer and of the gate's verdict, as JSON; the active one decides, or none does."""

retention_evictions = sa.Table(
    "retention_evictions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("memory", sa.ForeignKey("memories.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("worth", sa.Float, nullable=False),
    sa.Column("price", sa.Float, nullable=False),
    sa.Column("restored_at", sa.Text),
    sqlite_autoincrement=True,
)
"""Memories archived to stay within the budget, and when a question brought them back."""

retention_state = sa.Table(
    "retention_state",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)
"""The price below which memories leave, under `price`; the last label that was learned from, under `learned`; what the
last moving of vectors came to, under `vectors.`"""
