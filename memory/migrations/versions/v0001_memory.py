"""Sessions, turns, memories with their vectors, exposures and feedback."""

from alembic import op

revision = "0001"
down_revision = None

_FTS = "tokenize=\"porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'\""

_SCHEMA = (
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO counters VALUES ('revision', 0), ('erased', 0)",
    """CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope TEXT NOT NULL,
        title TEXT NOT NULL,
        started TEXT NOT NULL)""",
    """CREATE TABLE turns (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        asked_at TEXT NOT NULL,
        question TEXT NOT NULL,
        answer TEXT NOT NULL,
        answer_json TEXT NOT NULL,
        complete BOOLEAN NOT NULL)""",
    "CREATE INDEX ix_turns_session ON turns (session)",
    """CREATE TABLE memories (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('fact', 'preference', 'event', 'instruction', 'episode')),
        text TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        slot TEXT,
        state TEXT NOT NULL CHECK (state IN ('active', 'archived', 'tombstone')),
        pinned BOOLEAN NOT NULL,
        retention FLOAT,
        valid_from TEXT NOT NULL,
        valid_to TEXT,
        recorded_at TEXT NOT NULL,
        superseded_by INTEGER REFERENCES memories (id) ON DELETE SET NULL,
        event_date TEXT,
        uses INTEGER NOT NULL,
        last_used TEXT,
        confirmations INTEGER NOT NULL,
        how TEXT NOT NULL,
        session INTEGER REFERENCES sessions (id) ON DELETE SET NULL,
        turn INTEGER REFERENCES turns (id) ON DELETE SET NULL,
        "start" INTEGER,
        "end" INTEGER,
        revision INTEGER NOT NULL)""",
    "CREATE INDEX ix_memories_turn ON memories (turn)",
    "CREATE INDEX ix_memories_session ON memories (session)",
    "CREATE INDEX ix_memories_revision ON memories (revision)",
    "CREATE INDEX ix_memories_scope_hash ON memories (scope, content_hash)",
    "CREATE INDEX ix_memories_scope_slot ON memories (scope, slot)",
    "CREATE INDEX ix_memories_superseded_by ON memories (superseded_by)",
    """CREATE TABLE vectors (
        memory INTEGER PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        vector BLOB NOT NULL)""",
    """CREATE TABLE exposures (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        memory INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
        turn INTEGER REFERENCES turns (id) ON DELETE SET NULL,
        at TEXT NOT NULL,
        rank INTEGER NOT NULL,
        score FLOAT,
        dense FLOAT,
        lexical FLOAT,
        cited BOOLEAN NOT NULL)""",
    "CREATE INDEX ix_exposures_memory ON exposures (memory)",
    "CREATE INDEX ix_exposures_turn ON exposures (turn)",
    """CREATE TABLE feedback (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        turn INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('good', 'bad', 'correct')),
        text TEXT,
        correction INTEGER REFERENCES memories (id) ON DELETE SET NULL)""",
    "CREATE INDEX ix_feedback_turn ON feedback (turn)",
    "CREATE INDEX ix_feedback_correction ON feedback (correction)",
    f"CREATE VIRTUAL TABLE memories_fts USING fts5 (text, {_FTS})",
    f"CREATE VIRTUAL TABLE turns_fts USING fts5 (question, answer, {_FTS})",
)


def upgrade() -> None:
    for statement in _SCHEMA:
        op.get_bind().exec_driver_sql(statement)
