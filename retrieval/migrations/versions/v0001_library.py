"""Documents, their extractions and spans, chunks with vectors, the full-text index, epochs.

Chunk ids are AUTOINCREMENT, so that an id in a vector cache can never come to mean another chunk.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """CREATE TABLE documents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        collection TEXT NOT NULL,
        path TEXT NOT NULL,
        title TEXT NOT NULL,
        media_type TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        file_sha256 TEXT NOT NULL,
        pages INTEGER,
        metadata TEXT NOT NULL,
        ingested_at TEXT NOT NULL,
        pinned INTEGER NOT NULL DEFAULT 0,
        chunker TEXT NOT NULL,
        generation INTEGER NOT NULL,
        UNIQUE (collection, path)
    )""",
    "CREATE INDEX documents_by_file ON documents (file_sha256)",
    """CREATE TABLE extractions (
        document INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
        text TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        characters INTEGER NOT NULL,
        reader TEXT NOT NULL
    )""",
    """CREATE TABLE spans (
        document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        kind TEXT NOT NULL,
        page INTEGER,
        section TEXT,
        sheet TEXT,
        cells TEXT,
        slide INTEGER,
        PRIMARY KEY (document, start)
    ) WITHOUT ROWID""",
    """CREATE TABLE chunks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
        generation INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        start INTEGER NOT NULL,
        "end" INTEGER NOT NULL,
        line INTEGER NOT NULL,
        page INTEGER,
        section TEXT,
        sheet TEXT,
        cells TEXT,
        slide INTEGER,
        heading TEXT NOT NULL,
        text TEXT NOT NULL,
        vector BLOB NOT NULL
    )""",
    "CREATE INDEX chunks_by_document ON chunks (document, generation, epoch)",
    """CREATE VIRTUAL TABLE chunks_fts USING fts5 (
        heading, body, tokenize = "porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
    )""",
    """CREATE TRIGGER chunk_leaves_fts AFTER DELETE ON chunks BEGIN
        DELETE FROM chunks_fts WHERE rowid = old.id;
    END""",
    """CREATE TABLE epochs (
        epoch INTEGER PRIMARY KEY,
        token TEXT NOT NULL,
        removed INTEGER NOT NULL
    )""",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
